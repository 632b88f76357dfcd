# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. The Gaussian bottleneck
#
# [Notebook 1](1_the_posterior_is_a_mixture.ipynb) showed that the true backward step is a mixture and
# that a Gaussian step cannot equal it. The paper *Soft Mixture Denoising* calls this the expressive
# bottleneck and claims that it makes the error of a diffusion model unbounded, one step at a time
# (its Theorem 3.1) and as a whole (Theorem 3.2). How bad is it, for which denoiser, at which number of steps?
#
# What this notebook shows, in order:
#
# 1. the ladder of Gaussian families, and the smallest error that each can reach at each step;
# 2. how their total falls with the number of steps $T$;
# 3. where the error sits: the last step, $M_1$, against all the others;
# 4. that the error is an area under one curve, and depends on nothing but two signal-to-noise ratios;
# 5. what holds for *every* data distribution;
# 6. the error of the whole sampler, stochastic and deterministic;
# 7. what survives of the claim.
#
# It defines nothing: every number comes from `smdtheory`. It takes about a minute on two cores. With
# the environment variable `SMDTHEORY_FAST=1` it runs a smaller version in a few seconds; its numbers
# then differ from those in the text, and its figures go to `runs/` and not to `figures/`. Sections
# (§) are those of [docs/theory.md](../docs/theory.md). Everything is in nats.

# %%
import os
from pathlib import Path

import pandas as pd
import torch

from smdtheory import FAMILIES, GaussianMixture, Schedule, plots, posterior, presets
from smdtheory.measure import (
    best_gaussian_errors,
    ddim_global_error,
    error_table,
    global_error,
    local_error,
    local_errors,
)
from smdtheory.models.oracle import BestGaussian, ExactSoftMixture
from smdtheory.theory import (
    first_order_cap,
    first_order_sum,
    fixed_variance_floor,
    local_cap,
    negentropy_sum,
    pairwise_bounds,
    sandwich,
)
from smdtheory.truth.information import mmse

# %matplotlib inline
# %config InlineBackend.figure_formats = ["retina"]
FAST = os.environ.get("SMDTHEORY_FAST") == "1"
FIGURES = Path("../runs/fast" if FAST else "../figures")
STEM = "2_the_gaussian_bottleneck"
pd.set_option("display.float_format", "{:.3g}".format)

# %% [markdown]
# ## 2.1 A ladder of families
#
# "The Gaussian error" is not one number: it depends on which covariances the denoiser may use. Six
# families, each taken at its best, with the exact mean:
#
# | family | covariance of $p(x_s \mid x_t)$ | seen in |
# |---|---|---|
# | `fixed_small` | $\tilde\beta_{s\vert t} I$ | DDPM, small variance |
# | `fixed_large` | $\beta_{t\vert s} I$ | DDPM, large variance |
# | `isotropic` | the best multiple of $I$ for each $t$ | analytic-DPM |
# | `isotropic_x` | the best multiple of $I$ for each $x_t$ | |
# | `diagonal` | the best diagonal for each $x_t$ | learned diagonal variances |
# | `full` | the best matrix for each $x_t$ | the bottleneck proper |
#
# The error of each, averaged over $x_t$, has a formula that needs no sampling (§5.1). With
# $\gamma = \bar\alpha / (1 - \bar\alpha)$ the signal-to-noise ratio, $\Delta\gamma = \gamma_s - \gamma_t$, and
# $I(\gamma)$ the mutual information of $x_0$ and $x_t$,
#
# $$M(s, t) = \tfrac12\, \mathbb E \sum_{i=1}^d \log(1 + \Delta\gamma\, v_i) - \big[ I(\gamma_s) - I(\gamma_t) \big],$$
#
# where $v_i$ are the variances of $x_0$ given $x_t$ that the family can express: for `full`, the eigenvalues of
# $\mathrm{Cov}(x_0 \mid x_t)$. The schedule is gone: two signal-to-noise ratios decide.
#
# Eight modes on a ring, the paper's kind of toy, and a chain of twenty steps:

# %%
ring = presets.ring(8)
chain = Schedule.cosine(5 if FAST else 20)
errors = {family: best_gaussian_errors(ring, chain, family).value for family in FAMILIES}
fig = plots.error_along_chain(
    errors,
    title="Six families, six errors",
    subtitle=f"ring of 8 modes, std 0.1, d = 2, cosine schedule, T = {chain.steps}",
)
plots.save(fig, FIGURES / f"{STEM}_chain")
fig

# %%
worst = {family: int(m.argmax()) for family, m in errors.items()}
pd.DataFrame(
    {
        "largest M_t": {family: float(m.max()) for family, m in errors.items()},
        "at t": worst,
        "at SNR": {family: float(chain.snr[t]) for family, t in worst.items()},
        "M_1": {family: float(m[1]) for family, m in errors.items()},
        "Σ M_t": {family: float(m.sum()) for family, m in errors.items()},
    }
)

# %% [markdown]
# PROSE 2.1
#
# ## 2.2 The total against the number of steps
#
# The sum of local errors and the gap between $q(x_T)$ and the sampler's $\mathcal N(0, I)$ bound the
# error of the samples (§6.9), and up to constants of the data the sum *is* the training loss (§5.8). Here it is for one to a
# thousand steps, and beside it the soft mixture whose latent follows $q(x_0 \mid x_t)$, measured by sampling up to 20 steps.

# %%
counts = (1, 2, 3, 5, 10, 20) if FAST else (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
rows = []
for steps in counts:
    chain = Schedule.cosine(steps)
    for family in FAMILIES:
        m = best_gaussian_errors(ring, chain, family)
        total, rest = m.sum(), m[2:].sum()
        rows.append((family, steps, float(m[1]), float(rest), float(total), float(total.error)))
soft, generator = ExactSoftMixture(ring), torch.Generator().manual_seed(0)
for steps in counts[: 3 if FAST else 6]:
    m = local_errors(ring, Schedule.cosine(steps), soft, samples=512, generator=generator)
    total, rest = m.sum(), m[2:].sum()
    rows.append(("soft_mixture", steps, float(m[1]), float(rest), float(total), float(total.error)))
rows = pd.DataFrame(rows, columns=["arm", "steps", "M_1", "M_rest", "M_sum", "M_sum_error"])
fig = plots.error_against_steps(
    rows,
    title="Every Gaussian loses; its covariance decides how much",
    subtitle="best of each family; ring of 8, std 0.1, d = 2, cosine schedule",
)
plots.save(fig, FIGURES / f"{STEM}_steps")
fig

# %%
sums = rows.pivot(index="steps", columns="arm", values="M_sum")[[*FAMILIES]]
sums.index.name = "T"
sums

# %%
last, before = counts[-1], counts[-2]
slope = torch.tensor((sums.loc[last] / sums.loc[before]).to_numpy()).log() / torch.tensor(last / before).log()
for family, value in zip(FAMILIES, slope.tolist(), strict=True):
    print(f"{family:>12}: ΣM falls like T^{value:.2f} between T = {before} and {last}")

# %% [markdown]
# PROSE 2.2
#
# ## 2.3 Where the error sits
#
# The last step, from $x_1$ to the data, is unlike the others: its target is not noisy. Split the totals
# into $M_1$ and the rest.

# %%
split_up = rows[rows["arm"].isin(["isotropic", "full"])].set_index(["steps", "arm"])
split_up[["M_1", "M_rest"]].unstack("arm").loc[[T for T in (1, 3, 5, 10, 20, 100) if T in counts]]

# %% [markdown]
# With few steps nearly all of it is the last step; with many, hardly anything. The claim that errors
# are unbounded lives on $M_1$. To see it, fix the schedule and let the modes get thinner: two modes at
# $\pm 1$, $T = 3$.

# %%
chain = Schedule.cosine(3)
stds = (1e-1, 1e-2) if FAST else (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
table = {}
for std in stds:
    pair = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std**2)
    for family in ("isotropic", "full"):
        m = best_gaussian_errors(pair, chain, family).value
        table[family, "M_1"] = [*table.get((family, "M_1"), []), float(m[1])]
        table[family, "M_2 + M_3"] = [*table.get((family, "M_2 + M_3"), []), float(m[2:].sum())]
print(f"cap on M_2 + M_3, for every data distribution: {float(first_order_sum(1, chain)):.2f} nats")
pd.DataFrame(table, index=pd.Index(stds, name="std of a mode"))

# %% [markdown]
# PROSE 2.3
#
# ## 2.4 The error is an area
#
# Why do two signal-to-noise ratios decide everything? Let $\mathrm{mmse}(\gamma)$ be the error of the best
# estimate of $x_0$ from $x_t$ at ratio $\gamma$, which falls as $\gamma$ grows. Information is half its integral (I-MMSE,
# §4.1), and so (§5.9)
#
# $$M^{\text{fixed small}}(s, t) = \tfrac12 \int_{\gamma_t}^{\gamma_s} \big( \mathrm{mmse}(\gamma_t) - \mathrm{mmse}(\gamma) \big)\, d\gamma .$$
#
# The denoiser with the small fixed variance acts as if $x_0$ were as uncertain at the end of the step as at its
# start. The sum of its errors is that of a staircase over a curve. The other families
# replace each stair by a curve that bends towards the truth.

# %%
line = presets.line(4).standardized()
chain = Schedule.cosine(10)
gamma = torch.logspace(-2.2, float(chain.snr[1].log10()), 200 if FAST else 2000, dtype=torch.float64)
curve, stairs = mmse(line, gamma).value, mmse(line, chain.snr[1:]).value
total = float(best_gaussian_errors(line, chain, "fixed_small").value[2:].sum())
fig = plots.mmse_staircase(
    gamma,
    curve,
    snr=chain.snr,
    grid_mmse=torch.cat([torch.zeros(1, dtype=torch.float64), stairs]),
    total=total,
    dim=1,
    title="The error of a chain is a staircase over the MMSE curve",
    subtitle="4 equal modes, d = 1, cosine schedule, T = 10, fixed small variance",
)
plots.save(fig, FIGURES / f"{STEM}_area")
fig

# %%
widths = chain.snr[1:-1] - chain.snr[2:]
fine = torch.logspace(float(chain.snr[-1].log10()), float(chain.snr[1].log10()), 4001, dtype=torch.float64)
staircase = float((widths * stairs[1:]).sum())
under = float(torch.trapezoid(mmse(line, fine).value * fine, fine.log()))
print(f"half the area: {(staircase - under) / 2:.6f} nats")
print(f"Σ_{{t ≥ 2}} M_t:  {total:.6f} nats")

# %% [markdown]
# PROSE 2.4
#
# ### Every jump at once, and why refining never hurts
#
# Since a pair of ratios decides, one table answers for every schedule through the same levels: $M[s, t]$ for
# all $s < t$. Splitting a jump never costs anything (§5.6): $M[r, t] \ge M[r, s] + M[s, t]$.

# %%
chain = Schedule.cosine(12 if FAST else 60)
table = error_table(line, chain, "full").value
fig = plots.error_map(
    table,
    family="full",
    snr=chain.snr,
    title="One map for every schedule through these levels",
    subtitle=f"4 equal modes, d = 1, the {chain.steps} levels of a cosine schedule",
)
plots.save(fig, FIGURES / f"{STEM}_map")
fig

# %%
saved = table[:, None, :] - table[:, :, None] - table[None, :, :]  # [r, s, t]: M[r,t] - M[r,s] - M[s,t]
triples = ~torch.isnan(saved)
print(f"{int(triples.sum())} triples r < s < t; least saving {float(saved[triples].min()):.1e} nats")
for times in ((1, 2, 4, 8), (1, 2, 5, 10, 20, 30, 60)):
    T = chain.steps
    grid = chain.respace(sorted({-(-T // n) for n in times}))
    print(f"T = {grid.steps}: ΣM = {float(best_gaussian_errors(line, grid, 'full').sum()):.4f}")

# %% [markdown]
# PROSE map
#
# ### Two schedules, one pair
#
# Three chains with nothing in common but one pair of neighbouring levels. The step between them has the same error in each, by
# the formula and by brute force (nested quadrature over $x_t$ and $x_s$ of the densities themselves).

# %%
high, low = 6.0, 1.5
chains = {
    "one step more": [high, low],
    "a fine grid": [50.0, 20.0, 9.0, high, low, 0.8, 0.2, 0.01],
    "a steep one": [1e4, high, low, 1e-6],
}
rows_pair = {}
for name, levels in chains.items():
    schedule = Schedule.from_snr(levels)
    t = 1 + levels.index(low)
    for family in ("isotropic", "full"):
        formula = float(best_gaussian_errors(line, schedule, family)[t])
        brute = float(local_error(line, schedule, BestGaussian(line, family), t))
        rows_pair[name, family] = {"t": t, "formula": formula, "relative gap to brute force": brute / formula - 1}
pd.DataFrame(rows_pair).T

# %% [markdown]
# ## 2.5 What holds for every data distribution
#
# The paper's Theorem 3.1 says, in substance: for each $N$ there is a mixture with $M_t > N$ for every
# $t$. The order of the quantifiers decides. Fix $d$ and the schedule first. Whatever the
# data are, $\mathrm{mmse}(\gamma) \le d/\gamma$, and it follows (§6.3) that for $t \ge 2$
#
# $$M_t^{\text{isotropic}} \le \frac d2 \log \frac{\gamma_{t-1}}{\gamma_t}, \qquad
# \sum_{t \ge 2} M_t^{\text{isotropic}} \le \frac d2 \log \frac{\gamma_1}{\gamma_T},$$
#
# and every family below is smaller. Caps that know the mixture are sharper and reach $t = 1$ as well: by the
# smallest eigenvalue (§6.6), by negentropy (§6.7), by shape (§6.8). The library takes the smallest of all.

# %%
chain = Schedule.cosine(20)
snr = chain.snr
anyone = torch.cat([torch.tensor([0.0, torch.inf]).double(), first_order_cap(1, snr[2:], snr[1:-1])])
own = local_cap(line, chain, "full")
fig = plots.error_along_chain(
    {
        "cap, any data": anyone,
        "cap, these data": own.cap.value,
        "isotropic": best_gaussian_errors(line, chain, "isotropic").value,
        "full": best_gaussian_errors(line, chain, "full").value,
    },
    title="No data distribution passes the upper line",
    subtitle="4 equal modes, d = 1, cosine schedule, T = 20; second line: cap on full",
)
plots.save(fig, FIGURES / f"{STEM}_caps")
fig

# %%
print(f"ΣM full       {float(best_gaussian_errors(line, chain, 'full').sum()):.4f} at T = {chain.steps}")
print(f"ΣM isotropic  {float(best_gaussian_errors(line, chain, 'isotropic').sum()):.4f}")
print(f"cap on both, at every T and schedule, by negentropy: {negentropy_sum(line, None, 'full')}")
print("the cap on these data comes from:", ", ".join(sorted(set(own.source[1:]))))

# %% [markdown]
# How close can a mixture come to the cap for any data? Two narrow modes, at the separation that is
# worst for the step, for steps of growing ratio $r = \gamma_s / \gamma_t$:

# %%
distances = torch.logspace(-0.5, 1.5, 9 if FAST else 41, dtype=torch.float64)
ratios = (2.0, 1000.0) if FAST else (1.05, 2.0, 5.0, 20.0, 1000.0)
best = {}
for r in ratios:
    step = Schedule.from_snr([r, 1.0])
    for family in ("isotropic", "full"):
        found = [
            float(
                best_gaussian_errors(
                    GaussianMixture([0.5, 0.5], [[-a / 2], [a / 2]], 1e-8), step, family
                )[2]
            )
            for a in distances.tolist()
        ]
        best[family, "largest M"] = [*best.get((family, "largest M"), []), max(found)]
    best["any data", "cap"] = [*best.get(("any data", "cap"), []), float(first_order_cap(1, 1.0, r))]
pd.DataFrame(best, index=pd.Index(ratios, name="r"))

# %% [markdown]
# PROSE caps
#
# ### At one point: the sandwich
#
# At a given $x_t$ the error of the best `full` Gaussian has closed-form bounds from both sides (§6.1,
# §6.2): the outer pair differ by the entropy of the responsibilities, the inner use distances between components. Between them
# the number itself, integrated on a grid.

# %%
chain, t = Schedule.cosine(10), 2
points = torch.tensor([[0.0], [0.2], [0.4], [0.8], [1.6]], dtype=torch.float64)
x = torch.linspace(-4, 4, 2001, dtype=torch.float64).unsqueeze(-1)
truth = posterior(line, chain, points.unsqueeze(1), t)
model = BestGaussian(line, "full")(points.unsqueeze(1), chain.snr[t], chain.snr[t - 1])
log_q, log_p = truth.log_prob(x), model.log_prob(x)
lower, upper = sandwich(line, points, chain.snr[t], chain.snr[t - 1])
inner, outer = pairwise_bounds(line, points, chain.snr[t], chain.snr[t - 1])
pd.DataFrame(
    {
        "lower": lower,
        "pairwise lower": inner,
        "KL(q ‖ best Gaussian)": torch.trapezoid(log_q.exp() * (log_q - log_p), x[:, 0]),
        "pairwise upper": outer,
        "upper": upper,
    },
    index=pd.Index(points[:, 0].tolist(), name=f"x_{t}"),
)

# %% [markdown]
# ## 2.6 The error of the whole sampler
#
# Local errors bound the error of the samples, $E = \mathrm{KL}(q(x_0) \Vert p(x_0))$, from above: $E \le \mathrm{KL}(q_T \Vert p_T) + \sum_t M_t$
# (§6.9). In one dimension $E$ itself can be computed, by carrying the density back through the chain (§8.2).
# And there is a sampler to which local errors do not apply at all: DDIM, deterministic, whose steps are point masses. With the exact
# score, does it escape the bottleneck? (§8.5)

# %%
counts = (1, 3, 10) if FAST else (1, 2, 3, 5, 10, 20, 50, 100)
rows = []
for steps in counts:
    chain = Schedule.cosine(steps)
    for family in ("isotropic", "full"):
        m = best_gaussian_errors(line, chain, family)
        found = global_error(
            line, chain, BestGaussian(line, family), samples=2048, local_errors=m, generator=generator
        )
        rows.append((family, steps, float(found.value), float(found.value.error), float(found.upper), float(found.lower)))
    ddim = ddim_global_error(line, chain)
    rows.append(("DDIM", steps, float(ddim), float(ddim.error), float("inf"), 0.0))
columns = ["arm", "steps", "global_value", "global_value_error", "upper", "lower"]
whole = pd.DataFrame(rows, columns=columns)
fig = plots.error_against_steps(
    whole,
    quantity="global_value",
    title="A deterministic sampler does not escape",
    subtitle="global error with the exact mean; 4 equal modes, d = 1, cosine schedule",
)
plots.save(fig, FIGURES / f"{STEM}_global")
fig

# %%
whole.pivot(index="steps", columns="arm")[["lower", "global_value", "upper"]].drop(
    columns=[("lower", "DDIM"), ("upper", "DDIM")]
)
