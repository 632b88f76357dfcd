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
# the truth is known, on mixtures in a plane, with a handful of modes. Diffusion models are made
# for pictures, which have many dimensions and no formula for their posterior. This one asks the
# same questions of pictures, small ones, with U-Nets for denoisers.
#
# What it shows, in order:
#
# 1. what is compared, and on which pictures;
# 2. pictures whose posterior is known: local errors, beside the least of any Gaussian;
# 3. real digits: bits, and what is drawn;
# 4. whether the latent is used, and under which objective;
# 5. what theory forecasts, beside what was measured;
# 6. a summary, and what was not measured.
#
# It defines nothing: every number comes from `smdtheory`. It takes about ten seconds, because the
# training is not repeated here: about an hour of a processor core for each of the two sets of
# pictures, with three trainings of every network. The commands that make the stored
# numbers anew are
#
#     python -m smdtheory.images --data mixture --steps 800 --repeats 3 --measured 64
#     python -m smdtheory.images --data digits --steps 800 --repeats 3 --measured 64
#
# each with an `--out` of its own, where they leave what is read below. `SMDTHEORY_FAST=1` changes
# nothing but where the figures go. Sections (§) are those of [docs/theory.md](../docs/theory.md).
# Error bars are 95 % intervals over the three trainings; those of `best …` and of images of the
# data are two standard errors. "Clear" is said of a gain within trainings that is larger than such
# an interval. Many are looked at: a single one that is clear, and barely so, means little.

# %%
import os
from pathlib import Path

import pandas as pd

from smdtheory import plots
from smdtheory.images.findings import read_findings
from smdtheory.images.forecast import agreement
from smdtheory.images.report import tables
from smdtheory.images.summary import by_steps, gains, summary

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
# | `soft_likelihood` | soft mixture, likelihood of $R = 16$ values, 16 images a step |
#
# The soft mixture wraps the U-Net: a latent, made of noise and $x_t$, shifts and scales the
# features of every block, and bends those of each pixel after the first and before the last
# convolution, as the authors published.
#
# One thing is different from two dimensions, and it matters for all that follows (§13.4). A soft
# mixture has no density in closed form; what is measured is the mixture over $R$ values of its
# noise. In the plane 256 values cover all that the noise can make. In 64 dimensions 16 do not:
# what they gain is a floor of what the noise could. Draws do not have that limit, each has a
# noise of its own. So there are two questions: how many nats $R$ values can save, and how good
# the draws are.
#
# ## 6.2 Where the posterior is known
#
# On `mixture` the sum of the local errors $\sum_t M_t$ can be measured, and the least of every
# Gaussian family with the exact mean computed: `best isotropic`, `best diagonal`, `best full`. No
# network with one variance for each level can pass the first, none with a variance for each pixel
# the second, and no Gaussian of any kind the third.

# %%
shown = ["gaussian", "diagonal", "soft_mse", "soft_energy", "soft_likelihood"]
fig = mixture.errors(
    [*shown, "best isotropic", "best full"],
    title="With one step a soft mixture passes what binds the Gaussian it is built on",
    width=plots.COLUMN,
    quantities=["M_sum"],
)
plots.save(fig, FIGURES / f"{STEM}_mixture")
fig

# %%
kept = ["arm", "steps", "M_sum", "M_sum_error"]
print(tables(mixture.means[kept]))

# %% [markdown]
# By how much the soft mixtures are below the Gaussians, within a training (the arms of a training
# share the seed, the noise and the draws of the data), in nats and by two routes: the sum of the
# local errors, which is sampled from the known posterior, and the bound on the code length of
# held-out pictures (`nats`), which knows nothing of it. A star marks what is clear.

# %%
stored = pd.read_csv(ROWS / "images-mixture" / "rows.csv")
by_steps(gains(stored, ["M_sum", "nats"]), most=20)

# %% [markdown]
# With one step, `soft_likelihood` makes 40 nats of error, where `gaussian` makes 50 and no Gaussian
# with one variance for each level can make less than 48.5: the soft mixture is past what binds the
# Gaussian that it is built on, with 16 values of its noise. A wider Gaussian is not
# (`gaussian_wide`, 50; at this size the soft mixture has only 2 % more parameters). A variance for
# each pixel is, and further: `diagonal` makes 37, and 2.9 ± 0.4 nats less than `soft_likelihood` on
# held-out pictures; the best full covariance would leave 18. With two steps nothing is clear
# against `gaussian`, and from three on the soft mixture has more error than it, not less.
#
# But it has seen fewer pictures. Each of its 16 values goes through the network, and so that a
# training step stays affordable, it has 16 pictures where the others have 64. What do Gaussians
# make of 16?
#
#     python -m smdtheory.images --data mixture --steps 800 --repeats 3 --measured 64 --batch 16 \
#         --arms gaussian gaussian_wide diagonal --iterations 1 2 3 5 10 20

# %%
few = pd.read_csv(ROWS / "images-mixture-batch16.csv")
even = pd.concat([few, stored[(stored["arm"] == "soft_likelihood") & (stored["steps"] <= 20)]])
print(tables(summary(even)[["arm", "steps", "M_sum", "M_sum_error"]]))
by_steps(gains(even, ["M_sum", "nats"]))

# %% [markdown]
# With as many pictures the gain on `gaussian` is clear up to five steps by both routes, 5.5 ± 1.9
# nats at two and 3.0 ± 1.3 at five, and on `gaussian_wide` up to three. After that nothing is
# clear, and against `diagonal` only that it is ahead with one step and with two. Given 16 pictures
# in a step, a Gaussian is as far behind at $T = 20$ (21 nats, with 64 it is 15) as the soft mixture
# (20.5). A soft mixture given 64 was not trained, and computing was not made equal: its 16 pictures
# are 256 passes through the network.
#
# Most of the Gaussians' error at many steps is not the bottleneck. At $T = 20$ the best with
# one variance for each level would leave 2 nats and the best full one 0.12; the trained ones make
# 14 and more. After 800 training steps what they have not learned is the larger part from five
# steps on (at five, 20 nats, of which the least is 8).
#
# By this measure `soft_energy` is worse at every $T$ than every Gaussian with learned variances:
# its draws are spread as the posterior is, or more, and 16 of them are a poor cover of 64
# dimensions (§13.4). That says what its density with 16 values is, not what it draws.
#
# What it draws can be judged here too, for the modes are known. A mode counts as covered if at
# least half of its share of the draws is near it:

# %%
kept = ["modes_covered", "modes_covered_error", "outside", "outside_error"]
print(tables(mixture.means[["arm", "steps", *kept]]))

# %% [markdown]
# That is hard on all of them: with three steps or fewer nine in ten draws of every network, or
# more, are outside every mode, where no picture of the data is. With ten and twenty steps the
# learned Gaussians, and `soft_mse`, find at most two modes of the ten on average, `fixed_small`
# three and five, `soft_energy` and `soft_likelihood` none. In 64 dimensions modes are thin, and
# draws that are a little off in all of them are outside. By energy distance neither of these two is
# clearly different from `diagonal` here, and only `soft_likelihood`, at $T = 2$, from `gaussian`.
# (At $T = 3$ one draw of `soft_energy` ran away in one training, at $T = 5$ in another; the energy
# distance hardly notices, a sliced Wasserstein distance does: 0.97 and 0.25, where it is 0.11 in
# the others.)
#
# ## 6.3 Digits
#
# Of real pictures nobody knows $M_t$. But the bits that a denoiser needs for a held-out digit can
# be bounded (§13.2), and draws can be set beside digits: three distances of 128 draws from them.

# %%
arms = ["gaussian", "diagonal", "soft_mse", "soft_energy", "soft_likelihood", "training images"]
fig = digits.errors(
    arms[:-1],
    title="Digits, one step: the likelihood's soft mixture beats the Gaussian it is built on",
    width=plots.COLUMN,
    quantities=["bits"],
)
plots.save(fig, FIGURES / f"{STEM}_bits")
fig

# %%
gained = by_steps(digits.gains, most=20)
gained.loc[["bits"]]

# %% [markdown]
# As on `mixture`: with one step `soft_likelihood` needs 0.185 ± 0.13 bits per dimension less than
# `gaussian`, 8 nats for a digit, and as much less than `gaussian_wide`; with two nothing is clear;
# from three on it needs more than `gaussian`, and from ten on more than the wider one, with a
# quarter of their pictures. A variance for each pixel is worth much more on digits, of whose 64
# pixels ten vary less than the noise of the grey levels: `diagonal` needs 0.57 bits less than
# `soft_likelihood` at one step. (From 50 steps on it needs more than `gaussian`, by 0.13 ± 0.05 and
# then 0.27 ± 0.02 at 1000.) Under the squared error the soft mixture is the Gaussian here too.
#
# The draws:

# %%
fig = digits.errors(
    arms,
    title="Digits: nearer draws with one step (likelihood) and with two (energy score)",
    width=plots.COLUMN,
    quantities=["energy_distance", "sliced_wasserstein", "frechet"],
)
plots.save(fig, FIGURES / f"{STEM}_digits")
fig

# %%
gained.loc[["energy_distance", "sliced_wasserstein", "frechet"]]

# %% [markdown]
# With one step the draws of `soft_likelihood` are clearly nearer to the data than those of every
# Gaussian with learned variances, in all three distances, and those of `soft_energy` in energy
# distance. With two, those of `soft_energy` are, in energy distance (by 0.041 ± 0.017 than those of
# `gaussian`) and in sliced Wasserstein distance; in the features of a classifier nothing is clear.
# At ten steps the Gaussians with one variance are ahead of both in the features. So the draws of
# soft mixtures follow the data more closely at one step and at two, and at ten no longer more
# closely than those of such Gaussians. (Beside `diagonal`, whose draws are further off from five
# steps on, they still do.)
#
# (What can be told apart is limited by 128 draws: images of the training set score −0.02 ± 0.03
# in energy distance and 6 ± 7 in the features. Energy distances that are estimated below 0 are
# not in the figure.)

# %%
fig = digits.draws(
    arms,
    title="What is drawn with one, two and five steps",
    width=plots.COLUMN,
    counts=[1, 2, 5],
)
plots.save(fig, FIGURES / f"{STEM}_draws")
fig

# %% [markdown]
# ## 6.4 Is the latent used?
#
# The share of the posterior variance that the latent carries (§13.3), the largest of a few levels
# of each chain: 0 for a latent that is ignored, 1 for draws as spread as the posterior.

# %%
kept = ["arm", "steps", "latent_share", "latent_share_error"]
print(tables(mixture.means[kept]))

# %% [markdown]
# As in two dimensions. Under the squared error the latent carries next to nothing, and `soft_mse`
# is `gaussian` in every column above. Under the energy score its draws are spread as the
# posterior is, or more: a share above 1 is too much noise. Under the likelihood
# of 16 values it is about a third.
#
# ## 6.5 What theory forecasts
#
# A mixture fitted to the pictures has a bottleneck that can be computed: $\sum_t M_t$ of the best
# Gaussian of each family, at each $T$. An exact soft mixture would gain all of it (§13.5). Each
# marker below is one Gaussian and one $T$: to the right what theory says before anything is
# trained, upwards what was measured.

# %%
fig = mixture.forecast(
    "Forecast and measured gains: alike in order, not in size", width=plots.COLUMN
)
plots.save(fig, FIGURES / f"{STEM}_forecast")
fig

# %%
free = ["gaussian", "gaussian_wide", "diagonal"]
ranks = {}
for name, found in {"mixture": mixture, "digits": digits}.items():
    for soft, table in found.forecasts.groupby("soft"):
        learned = table[table["arm"].isin(free)]
        for which, part in {"all": table, "variances learned": learned}.items():
            by_count = part.assign(forecast=-part["steps"])
            ranks[name, soft, which] = {
                "rank correlation": agreement(part).correlation,
                "of fewer steps alone": agreement(by_count).correlation,
                "clear gains": int((part["measured"] > part["measured_error"]).sum()),
                "clear losses": int((part["measured"] < -part["measured_error"]).sum()),
                "of": len(part),
            }
pd.DataFrame(ranks).T

# %% [markdown]
# In order, forecast and measured gains agree over all 50: 0.85 for `soft_likelihood` and 0.94 for
# `soft_energy` on `mixture`, 0.70 and 0.80 on digits, where the mixture is only fitted. Much of
# that says no more than that few steps help a soft mixture more, which "of fewer steps alone" would
# say as well; among the Gaussians with learned variances it is all, and on digits that is little
# (0.22) for `soft_likelihood`. What theory adds is the order of the families: how much more a
# variance that is fixed loses.
#
# In size they come near only for `soft_likelihood` beside `fixed_small`, on `mixture` and from
# $T = 20$ on (at $T = 50$, 41 nats were forecast and 36 measured; with one step 65 and 26). Against
# Gaussians with learned variances all forecast gains are above 0, and of 60 measured ones two
# clearly are, on either set: `soft_likelihood` at one step, on `gaussian` and on `gaussian_wide`. A
# soft mixture with 16 values of its noise, after a few minutes of training, gains a small part of
# what theory has to give.
#
# ## 6.6 Summary
#
# - *Does the advantage of the soft mixture appear at few steps?* In nats with one step, trained on
#   the likelihood: 10 less than the Gaussian on `mixture`, less than any of its family could make,
#   and 8 on digits. Beside Gaussians that see as few pictures, up to five steps. In draws, on
#   digits, with one step, trained on the likelihood, by all three distances; with two, trained on
#   the energy score, by two of them.
# - *Under which objective?* Not under the paper's: `soft_mse` is the Gaussian, its latent unused.
# - *Does it survive equal capacity?* Yes: what `gaussian_wide` and `soft_no_noise` gain on
#   `gaussian` is nothing of that size. But at this size the soft mixture is hardly larger.
# - *Does it survive the best covariance?* In nats no: a variance for each pixel does better at one
#   step, by 3 nats on `mixture` and by 25 on digits; the best full covariance would leave less than
#   half. In draws yes, on digits, with one and with two steps.
# - *Is it a matter of few steps only?* Yes, and of few indeed, at this size and training. What is
#   left of the Gaussians' errors from five steps on is for the most part not the bottleneck but
#   what networks have not learned.
#
# What was not measured: larger pictures, larger networks and longer training, on a GPU (the
# commands above with `--preset small --device cuda`, and `--size 32 --channels 3` for `mixture`);
# training with more values of the noise than 16; draws at more than 20 steps (`--longest`), and
# enough of them to tell small distances apart (`--draws 2048`).
