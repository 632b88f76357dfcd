# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Does it carry over?
#
# [Notebook 5](5_how_many_steps.ipynb) ended with a doubt: all that came before was computed where
# the truth is known, on mixtures in a plane, with a handful of modes. Diffusion models are made for
# pictures, which have many dimensions and no formula for their posterior. This one asks the same
# questions of pictures, small ones, with U-Nets for denoisers.
#
# What it shows, in order:
#
# 1. what is compared, and on which pictures;
# 2. pictures whose posterior is known: local errors, beside the least of any Gaussian;
# 3. real digits: bits for a held-out image, and what is drawn;
# 4. whether the latent is used, and under which objective;
# 5. what theory forecasts, beside what was measured;
# 6. a summary, and what was not measured.
#
# It defines nothing: every number comes from `smdtheory`. It takes ten seconds, because the
# training is not repeated here: about an hour and a half of a processor core for each of the two
# sets of pictures, with three trainings of every network. The commands that make the stored numbers anew are
#
#     python -m smdtheory.images --data mixture --steps 800 --repeats 3 --measured 64 --out runs/mixture
#     python -m smdtheory.images --data digits --steps 800 --repeats 3 --measured 64 --out runs/digits
#
# and leave what is read below in their output folders. `SMDTHEORY_FAST=1` changes nothing but where
# the figures go. Sections (§) are those of [docs/theory.md](../docs/theory.md). Error bars are 95 %
# intervals over the three trainings.

# %%
import os
from pathlib import Path

import pandas as pd

from smdtheory import plots
from smdtheory.images.findings import read_findings
from smdtheory.images.forecast import agreement
from smdtheory.images.report import tables

FAST = os.environ.get("SMDTHEORY_FAST") == "1"
FIGURES = Path("../runs/fast" if FAST else "../figures")
STEM = "6_does_it_carry_over"
ROWS = Path("rows")
pd.set_option("display.float_format", "{:.3g}".format)

mixture = read_findings(ROWS / "images-mixture")
digits = read_findings(ROWS / "images-digits")

# %% [markdown]
# ## 6.1 What is compared
#
# Two sets of grey pictures, 8 × 8 pixels, $d = 64$:
#
# - `digits`: the handwritten digits that come with scikit-learn, 1437 to train on, 360 held out.
# - `mixture`: draws from a mixture of ten Gaussians, each with eight directions of its own, fitted
#   to those digits (§13.1). It looks like blurred digits, and its posterior is known exactly.
#
# Seven networks, each trained once for every number of steps, under nine names:
#
# | arm | network and objective |
# |---|---|
# | `gaussian` | U-Net, squared error, one fitted variance for each level |
# | `fixed_small`, `fixed_large` | the same network, variances fixed by the schedule |
# | `diagonal` | U-Net with a variance for each pixel, likelihood |
# | `gaussian_wide` | `gaussian`, as many parameters as the soft mixture |
# | `soft_no_noise` | the soft mixture with its noise off |
# | `soft_mse` | soft mixture, the paper's squared error |
# | `soft_energy` | soft mixture, energy score |
# | `soft_likelihood` | soft mixture, likelihood of $R = 16$ values of the noise |
#
# The soft mixture wraps the U-Net: a latent, made of noise and $x_t$, shifts and scales the features
# of every block, and bends those of each pixel after the first and before the last convolution, as
# the authors published.
#
# One thing is different from two dimensions, and it matters for all that follows (§13.4). A soft
# mixture has no density in closed form; what is measured is the mixture over $R$ values of its
# noise. In the plane 256 values cover all that the noise can make. In 64 dimensions 16 do not: what
# they gain is a floor of what the noise could. Draws do not have that limit, each has a noise of its
# own. So there are two questions: how many nats $R$ values can save, and how good the draws are.
#
# ## 6.2 Where the posterior is known
#
# On `mixture` the sum of the local errors $\sum_t M_t$ can be measured, and the least of every
# Gaussian family with the exact mean computed: `best isotropic`, `best diagonal`, `best full`.
# No network with one variance for each level can pass the first, none with a variance for each pixel
# the second, and no Gaussian of any kind the third.

# %%
shown = ["gaussian", "diagonal", "soft_mse", "soft_energy", "soft_likelihood"]
fig = mixture.errors(
    [*shown, "best isotropic", "best full"],
    title="With one step a soft mixture passes what binds the Gaussian it is built on",
)
plots.save(fig, FIGURES / f"{STEM}_mixture")
fig

# %%
kept = ["arm", "steps", "M_sum", "M_sum_error"]
print(tables(mixture.means[kept]))

# %% [markdown]
# By how much the soft mixtures are below the Gaussians, within a training (the arms of a training
# share the seed, the noise and the draws of the data), in nats:

# %%
FEW = [1, 2, 3, 5, 10, 20]
gain = {name: f.gains.set_index(["quantity", "soft", "arm", "steps"]).sort_index() for name, f in
        {"mixture": mixture, "digits": digits}.items()}
gain["mixture"].loc["M_sum"].unstack("steps").swaplevel(axis=1)[FEW].sort_index(axis=1)

# %% [markdown]
# @MIX@
#
# ## 6.3 Digits
#
# On real pictures nobody knows $M_t$. But of two denoisers the difference of their bounds on
# $-\log p(x_0)$ is the difference of their $\sum_t M_t$ (§13.2), so the gains can be measured all
# the same: in bits for each pixel, on held-out digits. Beside them stands what is drawn with few
# steps.

# %%
fig = digits.errors(
    [*shown, "gaussian_wide", "training images"],
    title="Digits: the energy score's draws are nearest to the data at few steps",
)
plots.save(fig, FIGURES / f"{STEM}_digits")
fig

# %%
print(tables(digits.means[["arm", "steps", "bits", "bits_error"]]))

# %%
gain["digits"].loc["bits"].unstack("steps").swaplevel(axis=1)[FEW].sort_index(axis=1)

# %% [markdown]
# @BITS@

# %%
kept = ["energy_distance", "energy_distance_error", "frechet", "frechet_error"]
print(tables(digits.means[["arm", "steps", *kept]]))

# %%
gain["digits"].loc["energy_distance"].unstack("steps").swaplevel(axis=1)[FEW].sort_index(axis=1)

# %% [markdown]
# @DRAWS@

# %%
fig = digits.draws(
    ["gaussian", "diagonal", "soft_mse", "soft_energy", "soft_likelihood", "training images"],
    title="Draws with few steps: noise on a mean, or digits",
)
plots.save(fig, FIGURES / f"{STEM}_draws")
fig

# %% [markdown]
# ## 6.4 Is the latent used?
#
# The share of the posterior variance that the latent carries (§13.3), the largest of a few levels of
# each chain: 0 for a latent that is ignored, 1 for draws as spread as the posterior.

# %%
print(tables(digits.means[["arm", "steps", "latent_share", "latent_share_error"]]))

# %% [markdown]
# @SHARE@
#
# ## 6.5 What theory forecasts
#
# A mixture fitted to the pictures has a bottleneck that can be computed: $\sum_t M_t$ of the best
# Gaussian of each family, at each $T$. An exact soft mixture would gain all of it (§13.5). Each
# marker below is one Gaussian and one $T$: to the right what theory says before anything is
# trained, upwards what was measured.

# %%
fig = digits.forecast("The forecast holds in its order at few steps, not in its size")
plots.save(fig, FIGURES / f"{STEM}_forecast")
fig

# %%
ranks = {
    (name, soft, most): agreement(table[table["steps"] <= most]).correlation
    for name, found in {"mixture": mixture, "digits": digits}.items()
    for soft, table in found.forecasts.groupby("soft")
    for most in (5, 20, 1000)
}
pd.Series(ranks).unstack().rename(columns="T <= {}".format)

# %% [markdown]
# @FORECAST@
#
# ## 6.6 Summary
#
# @SUMMARY@
