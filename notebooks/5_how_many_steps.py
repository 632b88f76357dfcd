# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. How many steps?
#
# [Notebook 2](2_the_gaussian_bottleneck.ipynb) measured how wrong a Gaussian backward step has to
# be, and [notebook 4](4_the_theorems_audited.ipynb) how fast that fades as steps are added. This
# one turns the question round, for somebody who has to choose a sampler: given an error that can be
# borne, how many steps does each kind of denoiser need, and on which grid of noise levels?
#
# What this notebook shows, in order:
#
# 1. the steps needed against the error, by search, and how good the asymptotic formula is;
# 2. the best grid of ten steps, and what it saves over the usual ones;
# 3. what that means in network evaluations, and a recommendation;
# 4. where the bottleneck bites: steps needed by separation and number of modes;
# 5. the same for data of one's own;
# 6. a summary.
#
# It defines nothing: every number comes from `smdtheory`. It takes about two minutes on two
# cores. With the environment variable `SMDTHEORY_FAST=1` it runs a smaller version in a few
# seconds; its numbers then differ from those in the text, and its figures go to `runs/` and not to
# `figures/`. Sections (§) are those of [docs/theory.md](../docs/theory.md). Everything is in nats.

# %%
import os
from pathlib import Path

import pandas as pd
import torch

from smdtheory import FAMILIES, plots, presets
from smdtheory.steps import report
from smdtheory.steps.data import fit_samples
from smdtheory.sweep.phase.report import read_rows
from smdtheory.theory import best_grid, compare_grids, steps_needed
from smdtheory.theory.advice import choose, options

FAST = os.environ.get("SMDTHEORY_FAST") == "1"
FIGURES = Path("../runs/fast" if FAST else "../figures")
STEM = "5_how_many_steps"
pd.set_option("display.float_format", "{:.3g}".format)

# %% [markdown]
# ## 5.1 Steps needed
#
# The error allowed is $\varepsilon$, for the sum of the local errors $\sum_t M_t$ of the whole
# chain. For each Gaussian family at its best the smallest $T$ with $\sum_t M_t \le \varepsilon$ is
# found by search, on the cosine schedule: every $T$ up to 256 is looked at, beyond that the
# crossing is bisected (§12.1). Beside it stands an *estimate*: as $T$ grows, $\sum_t M_t$ goes like
# $C / T^p$ with known $C$ and $p$ (§11.4), so that $T \approx (C / \varepsilon)^{1/p}$. The exact
# soft mixture makes no local error, and needs one step.

# %%
ring = presets.line(2) if FAST else presets.ring(8)
families = ("isotropic", "full") if FAST else FAMILIES
allowed = (1.0, 0.1) if FAST else (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
rows = []
for error in allowed:
    for family in (*families, "soft_mixture"):
        found = steps_needed(ring, error, family)
        rows.append(
            {
                "arm": family,
                "error": error,
                "steps_needed": found.steps,
                "steps_estimated": found.asymptotic,
                "exhaustive": found.exhaustive,
                "reached": float(found.reached),
            }
        )
needed = pd.DataFrame(rows).astype({"steps_needed": "Int64", "steps_estimated": "Int64"})
fig = plots.steps_against_error(
    needed,
    title="The smaller the error, the more a full covariance saves",
    subtitle="best of each family; ring of 8 modes, std 0.1, d = 2, cosine schedule; "
    "above: by search, below: the leading term's estimate over it",
)
plots.save(fig, FIGURES / f"{STEM}_error")
fig

# %%
arms = [*families, "soft_mixture"]
needed.pivot(index="arm", columns="error", values="steps_needed").loc[arms, list(allowed)]

# %%
needed.pivot(index="arm", columns="error", values="steps_estimated").loc[arms[:-1], list(allowed)]

# %%
smallest = needed[(needed["arm"] == "fixed_small") & needed["steps_needed"].isna()]
for row in smallest.itertuples():
    print(f"fixed_small, error {row.error:g}: at the last T looked at ΣM is {row.reached:.3f}")

# %% [markdown]
# - For 0.1 nats the best `full` Gaussian needs 20 steps, `isotropic` 64 and `fixed_large` 186. For
#   0.01 they need 83, 616 and 1894: the smaller the error, the more a full covariance saves.
#   Halving the error doubles the steps of the families whose sums fade like $1/T$ (310 to 616 for
#   `isotropic`) and takes `full`, which fades like $1/T^2$, from 55 to 83.
# - `fixed_small` is there for 1 nat only. Its sum stays at 0.613 nats in 8192 steps, because near
#   the data its variance is wrong however many steps there are (§11.5).
# - The formula is what it says it is, an estimate for small errors. For `fixed_large` and
#   `isotropic` it is good to 4 % from 0.1 nats on. For `full` it asks for too many steps (33 where
#   20 are enough), for `diagonal` for too few (19 where 30 are needed), and at 0.01 it is still off
#   by a quarter and an eighth. All that follows comes from the search.
#
# ## 5.2 The best grid
#
# A schedule is a grid of signal-to-noise ratios $\gamma_1 > \dots > \gamma_T$, and nobody says that
# it has to be cosine. The sum depends on the levels alone, so the best grid is a shortest path,
# found by dynamic programming over a few hundred candidate levels and then moved off them (§12.2).
# The last level $\gamma_T$ is held fixed: where a chain starts is a question of its own. Ten steps,
# each family on its own best grid with the cosine schedule's $\gamma_T$, beside five usual grids
# (§12.3): the linear, cosine and sigmoid schedules, uniform in $\log \gamma$, and that of EDM,
# uniform in $\gamma^{-1/14}$ ($\rho = 7$). The last two are given the first level that suits them
# best.

# %%
T = 3 if FAST else 10
compared = {family: compare_grids(ring, T, family) for family in families}
best = {family: best_grid(ring, T, family) for family in families}
names = {"log_snr": "uniform log SNR", "edm": "EDM, ρ = 7"}
levels, sums = [], []
for row in compared["full"]:
    for t, snr in enumerate(row.schedule.snr[1:].tolist(), 1):
        levels.append({"grid": names.get(row.name, row.name), "arm": None, "t": t, "snr": snr})
for family in families:
    for t, snr in enumerate(best[family].schedule.snr[1:].tolist(), 1):
        levels.append({"grid": f"best for {family}", "arm": family, "t": t, "snr": snr})
    for row in compared[family]:
        grid = names.get(row.name, row.name)
        sums.append({"grid": grid, "arm": family, "M_sum": float(row.error), "saved": row.gain})
    sums.append({"grid": "best", "arm": family, "M_sum": float(best[family].error), "saved": 0.0})
levels, sums = pd.DataFrame(levels), pd.DataFrame(sums)
fig = plots.grid_comparison(
    levels,
    sums,
    title="The best grids leave out the levels at which nothing happens",
    subtitle=f"T = {T}; ring of 8 modes, std 0.1, d = 2; uniform log SNR and EDM above start "
    "where it suits full best",
)
plots.save(fig, FIGURES / f"{STEM}_grids")
fig

# %%
order = list(dict.fromkeys(sums["grid"]))
sums.pivot(index="arm", columns="grid", values="M_sum").loc[list(families), order]

# %% [markdown]
# Each usual grid has its own last level; what the best grid *with that same last level* saves over
# it, as a share:

# %%
saved = sums.pivot(index="arm", columns="grid", values="saved").loc[list(families), order[:-1]]
saved.map("{:.0%}".format)

# %%
pd.DataFrame({family: found.schedule.snr[1:].tolist() for family, found in best.items()})

# %% [markdown]
# - Every family wants the same thing: nearly all levels between $\gamma$ of about 1 and 60 (230 for
#   `fixed_large`), where it is decided which mode a sample belongs to and where in it, and then one
#   jump to the end. Below, $x_t$ knows next to nothing of $x_0$, and a Gaussian is good enough.
# - The usual grids spend their steps there: half of the levels of `linear` lie below $10^{-4}$. The
#   best grid saves 92 % of what it loses with `full`, and 68 % of what cosine and sigmoid lose.
# - Uniform log SNR and EDM put levels all the way down to $\gamma_T$, and lose more than cosine
#   with every family but `fixed_large`, where the first is its equal. That is no verdict on EDM,
#   which was made for another sampler and a larger $\gamma_T$.
# - With `fixed_small` the first level that suits these two is hard beside $\gamma_T$: their 2.54
#   nats are those of a single step (2.2 of notebook 2), and no other start does better.
#
# ## 5.3 In network evaluations
#
# A step is one evaluation of the network, whatever the family, so that $T$ is the price of a
# sample. What differs is what the network has to put out beside the mean. This is what `python -m
# smdtheory.steps --modes 8 --error 0.1` answers, through its functions: for each family the steps
# on the cosine schedule, and the fewest on a grid of its own; then the simplest family that needs
# hardly more than any other.

# %%
found = list(options(ring, 0.1, families))
print("\n".join(report.table_head()))
for option in found:
    print(report.table_line(option, ring.dim))
print("\n".join(report.notes(found)))

# %%
chosen = choose(found)
print(report.recommendation(found, chosen, None))

# %%
cheaper = {
    option.family: {
        "cosine schedule": option.needed.steps,
        "best grid": option.evaluations,
        "evaluations saved": 1 - option.evaluations / option.needed.steps,
    }
    for option in found
    if option.needed.steps and option.grid is not None
}
pd.DataFrame(cheaper).T

# %% [markdown]
# The grid is worth as much as a better family, and costs nothing: on its best grid each family
# needs about half the evaluations or less, `isotropic` 28 for 64. `full` is the cheapest at 10, for
# three numbers more at each point ($d(d+1)/2$ in general); `diagonal` needs 14. With nothing but a
# variance for each step, fitted once, it is 28, and with the two fixed ones 72 and 142. All of
# these are the least that a network with an exact mean could do; a trained one adds its own errors
# ([notebook 3](3_soft_mixtures_learn_it.ipynb)).
#
# ## 5.4 Where the bottleneck bites
#
# One ring is one point. Here are the steps needed for $\varepsilon = 0.1$ nats on rings of 2 to 16
# modes whose neighbours stand 1 to 32 standard deviations apart, each standardized (mean 0,
# variance 1 on average). The rows were written by
#
#     python -m smdtheory.sweep.phase
#
# and are read from [rows/phase.csv](rows/phase.csv).

# %%
phase = read_rows(Path("rows") / "phase.csv")
fig = plots.phase_diagram(
    phase,
    title="From 8 standard deviations on, only fixed variances need many more steps",
    subtitle="smallest T with ΣM ≤ 0.1 nats; ring, d = 2, standardized, cosine schedule",
)
plots.save(fig, FIGURES / f"{STEM}_phase")
fig

# %%
wide = phase.pivot(index=["modes", "ratio"], columns="arm", values="steps_needed")[[*FAMILIES]]
wide.loc[[2, 16]]

# %%
(wide["isotropic"] / wide["full"]).unstack("ratio").rename_axis("isotropic / full", axis=1)

# %% [markdown]
# - *Overlapping modes.* Two modes up to 2 standard deviations apart need one step, whatever the
#   family: the data are nearly a Gaussian. Sixteen modes need 2 or 3 at a distance of 1, but for
#   `fixed_small`.
# - *From 2 to 8 standard deviations* the bottleneck sets in, for all families: with 16 modes from
#   18 steps to 117 for `isotropic`, from 6 to 32 for `full`.
# - *Beyond that* a larger distance hardly matters: at 32, `isotropic` needs 137 and `full` 41. Only
#   `fixed_large` goes on, from 265 to 1539, because a fixed variance does not notice how narrow the
#   modes are. `fixed_small` gets there nowhere from 4 standard deviations on.
# - *The number of modes* does matter: 16 of them take five or six times the steps of two (41 for 8,
#   137 for 22, at 32 standard deviations).
# - A full covariance in place of one variance for each step divides the steps by 2.5 to 4.4
#   wherever modes stand 4 standard deviations apart or more.
#
# ## 5.5 Data of one's own
#
# A mixture fitted to samples stands in for the data: the number of components and the kind of
# covariances have the least BIC, and rows held out judge the fit. Here the samples are drawn, from
# five modes with random weights, means and covariances, so that the answer can be compared with the
# truth; `python -m smdtheory.steps --data FILE` does the same for a `.npy` or `.csv` file.

# %%
generator = torch.Generator().manual_seed(3)
truth = presets.random(2 if FAST else 5, 1 if FAST else 2, generator=generator)
samples = truth.sample((400 if FAST else 3000,), generator=generator)
fit = fit_samples(samples.numpy())
print(report.fit_lines(fit))

# %%
kinds = ("isotropic", "full")
answers = {
    "fitted": list(options(fit.mixture, 0.1, kinds)),
    "true, standardized": list(options(truth.standardized(), 0.1, kinds)),
}
pd.DataFrame(
    {
        (name, option.family): {
            "steps on the cosine schedule": option.needed.steps,
            "ΣM there": float(option.needed.reached),
            "steps on the best grid": option.evaluations,
        }
        for name, found in answers.items()
        for option in found
    }
).T

# %%
print(report.recommendation(answers["fitted"], choose(answers["fitted"]), fit))

# %% [markdown]
# The BIC settles for four components where five were drawn, and held-out rows see nothing wrong
# with that. For the steps it makes no difference: 53 where the true mixture needs 52, and 12 where
# it needs 12. Where something does speak against a fit, the answer says so.
#
# ## 5.6 Summary
#
# - *How many steps?* On eight separate modes, for 0.1 nats and at the least: 10 with a full
#   covariance on the best grid, 28 with one variance for each step, 72 and 142 with fixed
#   variances. For smaller errors the distance grows.
# - *Which grid?* Not the usual ones, with few steps. Levels belong where the posterior changes,
#   here between $\gamma$ of about 1 and 60. That saves half of the steps, in every family.
# - *Where does it matter?* Where modes are separate. How far apart they are hardly counts beyond 8
#   standard deviations, how many they are does. Data whose modes overlap need a few steps of any
#   kind.
# - *What of formulas?* The asymptotic one is good to a few per cent for the families it suits and
#   off by more than half for `full` at 0.1 nats. The search takes seconds.
# - The exact soft mixture needs one step. That is theory: what training makes of it is told in
#   [notebook 3](3_soft_mixtures_learn_it.ipynb), and with many steps its errors are no longer the
#   smaller ones.
#
# All of it was computed where the truth is known. The data that diffusion models are made for have
# no formula for $q(x_s \mid x_t)$. **Does any of this carry over to them?**
# [Notebook 6](6_does_it_carry_over.ipynb) asks it of pictures.
