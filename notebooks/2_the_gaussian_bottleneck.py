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
# [Notebook 1](1_the_posterior_is_a_mixture.ipynb) showed that the true backward step is a mixture
# and that a Gaussian step cannot equal it. The paper *Soft Mixture Denoising* calls this the
# expressive bottleneck and claims that it makes the error of a diffusion model unbounded, one
# step at a time (its Theorem 3.1) and as a whole (Theorem 3.2). How bad is it, for which
# denoiser, at which number of steps?
#
# What this notebook shows, in order:
#
# 1. the ladder of Gaussian families, and the smallest error that each can reach at each step;
# 2. how their total falls with the number of steps $T$;
# 3. where the error sits: the last step, $M_1$, against all the others;
# 4. that the error is an area under one curve, and depends on nothing but two signal-to-noise
#    ratios;
# 5. what holds for *every* data distribution;
# 6. the error of the whole sampler, stochastic and deterministic;
# 7. what survives of the claim.
#
# It defines nothing: every number comes from `smdtheory`. It takes about a minute on two cores.
# With the environment variable `SMDTHEORY_FAST=1` it runs a smaller version in ten seconds; its
# numbers then differ from those in the text, and its figures go to `runs/` and not to `figures/`.
# Sections (§) are those of [docs/theory.md](../docs/theory.md). Everything is in nats.

# %%
import math
import os
from pathlib import Path

import pandas as pd
import torch

from smdtheory import FAMILIES, GaussianMixture, Schedule, plots, posterior, presets
from smdtheory.explore import explore
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

FAST = os.environ.get("SMDTHEORY_FAST") == "1"
FIGURES = Path("../runs/fast" if FAST else "../figures")
STEM = "2_the_gaussian_bottleneck"
pd.set_option("display.float_format", "{:.3g}".format)

# %% [markdown]
# ## 2.1 A ladder of families
#
# "The Gaussian error" is not one number: it depends on which covariances the denoiser may use.
# Six families, each taken at its best, with the exact mean:
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
# $\gamma = \bar\alpha / (1 - \bar\alpha)$ the signal-to-noise ratio,
# $\Delta\gamma = \gamma_s - \gamma_t$, and $I(\gamma)$ the mutual information of $x_0$ and $x_t$,
#
# $$M(s, t) = \tfrac12\, \mathbb E \sum_{i=1}^d \log(1 + \Delta\gamma\, v_i)
# - \big[ I(\gamma_s) - I(\gamma_t) \big],$$
#
# where $v_i$ are the variances of $x_0$ given $x_t$ that the family can express (for `full`, the
# eigenvalues of $\mathrm{Cov}(x_0 \mid x_t)$; the fixed two have a formula of the same kind). The
# schedule is gone: two signal-to-noise ratios decide.
#
# Eight modes on a ring, the paper's kind of toy, and a chain of twenty steps:

# %%
ring = presets.ring(8)
chain = Schedule.cosine(5 if FAST else 20)
errors = {family: best_gaussian_errors(ring, chain, family) for family in FAMILIES}
fig = plots.error_along_chain(
    {family: m.value for family, m in errors.items()},
    title="Six families, six errors",
    subtitle=f"ring of 8 modes, std 0.1, d = 2, cosine schedule, T = {chain.steps}",
)
plots.save(fig, FIGURES / f"{STEM}_chain")
fig

# %%
worst = {family: int(m.value.argmax()) for family, m in errors.items()}
pd.DataFrame(
    {
        "largest M_t": {family: float(m.value.max()) for family, m in errors.items()},
        "at t": worst,
        "at SNR": {family: float(chain.snr[t]) for family, t in worst.items()},
        "M_1": {family: float(m[1]) for family, m in errors.items()},
        "Σ M_t": {family: float(m.sum()) for family, m in errors.items()},
    }
)

# %%
nested = torch.stack([errors[family].value for family in FAMILIES[2:]])  # each class in the next
fixed = torch.stack([errors[family].value for family in FAMILIES[:2]])
excess = max(float(nested.diff(dim=0).max()), float((nested[0] - fixed).max()))
doubt = max(float(m.error.max()) for m in errors.values())
print(f"largest violation of the order: {excess:.0e} nats; numerical error: up to {doubt:.0e}")

# %% [markdown]
# At every $t$ the order is that of the ladder, as it must be (§5.5): a richer class of
# covariances has a smaller infimum. But the ladder is long. Over the chain `fixed_small` loses
# 1.02 nats and `full` 0.099, ten times less, on the same data with the same exact mean: a plot of
# "the Gaussian error" that does not name the family can be off by an order of magnitude. (At
# $t = 1$, where $\tilde\beta = 0$ would be no density, `fixed_small` is given $\beta_1$.)
#
# ## 2.2 The total against the number of steps
#
# The sum of local errors and the gap between $q(x_T)$ and the sampler's $\mathcal N(0, I)$ bound
# the error of the samples (§6.9), and up to constants of the data the sum *is* the training loss
# (§5.8). Here it is for one to a thousand steps, and beside it that of the soft mixture whose
# latent follows $q(x_0 \mid x_t)$, measured by sampling up to 20 steps.

# %%
counts = (1, 2, 3, 5) if FAST else (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
soft, generator = ExactSoftMixture(ring), torch.Generator().manual_seed(0)
rows = []
for steps in counts:
    chain = Schedule.cosine(steps)
    found = {family: best_gaussian_errors(ring, chain, family) for family in FAMILIES}
    if steps <= (3 if FAST else 20):
        found["soft_mixture"] = local_errors(ring, chain, soft, samples=512, generator=generator)
    for arm, m in found.items():
        total = m.sum()
        rows.append(
            {
                "arm": arm,
                "steps": steps,
                "M_1": float(m[1]),
                "M_rest": float(m[2:].sum()),
                "M_sum": float(total),
                "M_sum_error": float(total.error),
            }
        )
rows = pd.DataFrame(rows)
fig = plots.error_against_steps(
    rows,
    title="Every Gaussian loses, each at its own pace",
    subtitle="best of each family; ring of 8, std 0.1, d = 2, cosine schedule",
)
plots.save(fig, FIGURES / f"{STEM}_steps")
fig

# %%
sums = rows.pivot(index="steps", columns="arm", values="M_sum")[[*FAMILIES]]
sums.rename_axis("T")

# %%
before, last = counts[-2:]
for family in FAMILIES:
    power = math.log(sums[family][last] / sums[family][before]) / math.log(last / before)
    print(f"{family:>12}: ΣM goes like T^{power:.2f} between T = {before} and {last}")

# %%
chains = {steps: Schedule.cosine(steps).snr for steps in counts[1:]}
pd.DataFrame(
    {
        "ΣM, fixed_small / full": sums["fixed_small"] / sums["full"],
        "β / β̃ at t = 2": {T: float((1 + snr[1]) / (1 + snr[2])) for T, snr in chains.items()},
    }
).T.rename_axis("T", axis=1)

# %% [markdown]
# - With one step all families lose the same 2.54 nats: $x_T$ is pure noise, and all that a
#   Gaussian can do is to be the one nearest to the data.
# - `fixed_large`, `isotropic`, `isotropic_x` and `diagonal` fade like $1/T$, `full` like $1/T^2$,
#   as the orders of a single step in notebook 1 announced. Of these step counts, 100 is the first
#   that brings `full` below 0.01 nats; for `isotropic` it is 1000.
# - `fixed_small` hardly fades: 0.75 nats are left at a thousand steps, 7700 times what `full`
#   loses. Near the data $\tilde\beta$ is too small, and more steps do not mend that: at $t = 2$,
#   $\beta$ is still 2.1 times $\tilde\beta$. Nor is its sum monotone: from 1 to 5 steps it rises
#   (2.54 to 3.23), for grids of different $T$ are not refinements of one another.
# - The soft mixture's error is 0 at every $T$ measured. This is what the paper promises, for a
#   latent that follows $q(x_0 \mid x_t)$ exactly.
#
# ## 2.3 Where the error sits
#
# The last step, from $x_1$ to the data, is unlike the others: its target is not noisy. Split the
# totals into $M_1$ and the rest.

# %%
split_up = rows[rows["arm"].isin(["isotropic", "full"])].set_index(["steps", "arm"])
split_up[["M_1", "M_rest"]].unstack("arm").loc[[T for T in (1, 3, 5, 10, 20, 100) if T in counts]]

# %% [markdown]
# With 3 steps nearly all of it is the last step (1.61 of 1.70 nats for `full`), with 100 hardly
# anything (4e-8 of 0.007). The claim that errors are unbounded lives on $M_1$. To see it, fix the
# schedule and let the modes get thinner: two modes at $\pm 1$, $T = 3$.

# %%
chain = Schedule.cosine(3)
rows_thin = {}
for std in (1e-1, 1e-2) if FAST else (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8):
    pair = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std**2)
    rows_thin[std] = {}
    for family in ("isotropic", "full"):
        m = best_gaussian_errors(pair, chain, family)
        rows_thin[std][family, "M_1"] = float(m[1])
        rows_thin[std][family, "M_2 + M_3"] = float(m[2:].sum())
print(f"cap on M_2 + M_3, for every data distribution: {float(first_order_sum(1, chain)):.2f} nats")
pd.DataFrame(rows_thin).T.rename_axis("std of a mode")

# %% [markdown]
# $M_1$ grows without bound, in both families: in the end every factor of 10 in the std adds 2.3
# nats, which is $\log 10$. The other steps do not notice: their sum stays at 0.097 and 0.084, and
# could not pass 4.68 for any data whatever (§6.3, and below). Noise of a fixed size hides how
# thin the modes are.
#
# ## 2.4 The error is an area
#
# Why do two signal-to-noise ratios decide everything? Let $\mathrm{mmse}(\gamma)$ be the error of
# the best estimate of $x_0$ from $x_t$ at ratio $\gamma$, which falls as $\gamma$ grows.
# Information is half its integral (I-MMSE, §4.1), and so (§5.9)
#
# $$M^{\text{fixed small}}(s, t) = \tfrac12 \int_{\gamma_t}^{\gamma_s}
# \big( \mathrm{mmse}(\gamma_t) - \mathrm{mmse}(\gamma) \big)\, d\gamma .$$
#
# The denoiser with the small fixed variance takes its guess of $x_0$ for certain and learns
# nothing more during the step, so that its error stays that of the start. Over a chain this is
# the area between a staircase and the curve below it. In the other families each stair bends down
# towards the curve, but starts from the same point.

# %%
line = presets.line(4).standardized()
chain = Schedule.cosine(10)
first = float(chain.snr[1].log10())
gamma = torch.logspace(-2.2, first, 200 if FAST else 2000, dtype=torch.float64)
curve, stairs = mmse(line, gamma).value, mmse(line, chain.snr[1:]).value
total = float(best_gaussian_errors(line, chain, "fixed_small").value[2:].sum())
fig = plots.mmse_staircase(
    gamma,
    curve,
    snr=chain.snr,
    grid_mmse=torch.cat([torch.zeros(1, dtype=torch.float64), stairs]),
    total=total,
    dim=1,
    title="A chain's error is an area above the MMSE curve",
    subtitle="4 equal modes, d = 1, cosine schedule, T = 10",
)
plots.save(fig, FIGURES / f"{STEM}_area")
fig

# %%
widths = chain.snr[1:-1] - chain.snr[2:]
fine = torch.logspace(float(chain.snr[-1].log10()), first, 4001, dtype=torch.float64)
staircase = float((widths * stairs[1:]).sum())
under = float(torch.trapezoid(mmse(line, fine).value * fine, fine.log()))
print(f"half the area: {(staircase - under) / 2:.6f} nats")
print(f"Σ_{{t ≥ 2}} M_t:  {total:.6f} nats")

# %% [markdown]
# (Over $\log\gamma$ the height is $\gamma \cdot \mathrm{mmse}$, so that areas are right; stairs
# become teeth.) The two numbers agree to all digits shown, by independent routes: one integrates
# the curve, the other never forms it but integrates
# $\mathbb E \Vert \mathrm{Cov}(x_0 \mid x_\gamma) \Vert_F^2$ or subtracts entropies (§5.3).
#
# ### Every jump at once, and why refining never hurts
#
# Since a pair of ratios decides, one table answers for every schedule through the same levels:
# $M[s, t]$ for all $s < t$. Splitting a jump never costs anything (§5.6):
# $M[r, t] \ge M[r, s] + M[s, t]$.

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
saved = table[:, None, :] - table[:, :, None] - table  # [r, s, t]: M[r,t] - M[r,s] - M[s,t]
saved = saved[~saved.isnan()]
print(f"{len(saved)} triples r < s < t; least saving {float(saved.min()):.1e} nats")
for count in (1, 2, 4, 12, *([] if FAST else [60])):
    total = float(best_gaussian_errors(line, chain.respace(count), "full").sum())
    print(f"{count:>2} steps, a refinement of the grid before: ΣM = {total:.4f}")

# %% [markdown]
# No triple contradicts it. The single jump from noise to data is the worst grid of all.
#
# ### Two schedules, one pair
#
# Three chains with nothing in common but one pair of neighbouring levels. The step between them
# has the same error in each, by the formula and by brute force (nested quadrature over $x_t$ and
# $x_s$ of the densities themselves).

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
        rows_pair[name, family] = {
            "t": t,
            "formula": formula,
            "relative gap to brute force": brute / formula - 1,
        }
pd.DataFrame(rows_pair).T

# %% [markdown]
# ## 2.5 What holds for every data distribution
#
# The paper's Theorem 3.1 says, in substance: for each $N$ there is a mixture with $M_t > N$ for
# every $t$. The order of the quantifiers decides. Fix $d$ and the schedule first. Whatever the
# data are, $\mathrm{mmse}(\gamma) \le d/\gamma$, and it follows (§6.3) that for $t \ge 2$
#
# $$M_t^{\text{isotropic}} \le \frac d2 \log \frac{\gamma_{t-1}}{\gamma_t}, \qquad
# \sum_{t \ge 2} M_t^{\text{isotropic}} \le \frac d2 \log \frac{\gamma_1}{\gamma_T},$$
#
# and every family below is smaller. Caps that know the mixture are sharper and reach $t = 1$ as
# well: by the smallest eigenvalue (§6.6), by negentropy (§6.7), by shape (§6.8). The library
# takes the smallest of all.

# %%
chain = Schedule.cosine(20)
snr = chain.snr
anyone = torch.cat(
    [torch.tensor([0.0, torch.inf]).double(), first_order_cap(1, snr[2:], snr[1:-1])]
)
own = local_cap(line, chain, "full")
fig = plots.error_along_chain(
    {
        "cap, any data": anyone,
        "cap, these data": own.cap.value,
        "isotropic": best_gaussian_errors(line, chain, "isotropic").value,
        "full": best_gaussian_errors(line, chain, "full").value,
    },
    title="No data distribution passes the upper line",
    subtitle="4 equal modes, d = 1, cosine schedule, T = 20",
)
plots.save(fig, FIGURES / f"{STEM}_caps")
fig

# %%
for family in ("isotropic", "full"):
    print(f"ΣM of {family}: {best_gaussian_errors(line, chain, family).sum()}")
print(f"cap on both, for every T and schedule, by negentropy: {negentropy_sum(line, None, 'full')}")
print("the cap on these data comes from:", ", ".join(sorted(set(own.source[1:]))))

# %% [markdown]
# How close can a mixture come to the cap for any data? Two narrow modes, at the separation that
# is worst for the step, for steps of growing ratio $r = \gamma_s / \gamma_t$:

# %%
distances = torch.logspace(-0.5, 1.5, 9 if FAST else 41, dtype=torch.float64).tolist()
pairs = [GaussianMixture([0.5, 0.5], [[-a / 2], [a / 2]], 1e-8) for a in distances]
best = {}
for r in (2.0, 1000.0) if FAST else (1.05, 2.0, 5.0, 20.0, 1000.0):
    step = Schedule.from_snr([r, 1.0])
    best[r] = {
        f"largest M, {family}": max(
            float(best_gaussian_errors(pair, step, family)[2]) for pair in pairs
        )
        for family in ("isotropic", "full")
    }
    best[r]["cap, any data"] = float(first_order_cap(1, 1.0, r))
pd.DataFrame(best).T.rename_axis("r")

# %% [markdown]
# For long steps two modes nearly use the cap up: at $r = 1000$ `isotropic` reaches 2.88 of 3.45
# nats, and `full` 2.44. For short steps they do not come near it (0.00034 of 0.0244 at
# $r = 1.05$), because errors are of second or third order in the step (§6.4). So for `isotropic`
# and the families below it an error above $N$ at some $t \ge 2$ needs a step with $r > e^{2N/d}$:
# a schedule chosen after $N$.
#
# ### At one point: the sandwich
#
# At a given $x_t$ the error of the best `full` Gaussian has closed-form bounds from both sides
# (§6.1, §6.2): the outer pair differ by the entropy of the responsibilities, the inner use
# distances between components. Between them the number itself, integrated on a grid.

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
        "H(r)": upper - lower,
    },
    index=pd.Index(points[:, 0].tolist(), name=f"x_{t}"),
)

# %% [markdown]
# Each row is in order. The outer pair leave up to 0.71 nats open (their gap $H(r)$ is at most
# $\log 4 = 1.39$), the inner pair 0.19. At $x_2 = 1.6$ the lower end is negative and says
# nothing.
#
# ## 2.6 The error of the whole sampler
#
# Local errors bound the error of the samples, $E = \mathrm{KL}(q(x_0) \Vert p(x_0))$, from above:
# $E \le \mathrm{KL}(q_T \Vert p_T) + \sum_t M_t$ (§6.9). In one dimension $E$ itself can be
# computed, by carrying the density back through the chain (§8.2). And there is a sampler to which
# local errors do not apply at all: DDIM, deterministic, whose steps are point masses. With the
# exact score, does it escape the bottleneck? (§8.5)

# %%
generator.manual_seed(1)
counts = (1, 3, 10) if FAST else (1, 2, 3, 5, 10, 20, 50, 100)
whole = []
for steps in counts:
    chain = Schedule.cosine(steps)
    for family in ("isotropic", "full"):
        m = best_gaussian_errors(line, chain, family)
        arm = BestGaussian(line, family)
        found = global_error(
            line, chain, arm, samples=2048, local_errors=m, generator=generator, exact=True
        )
        whole.append(
            {
                "arm": family,
                "steps": steps,
                "lower": float(found.lower),
                "global_value": float(found.value),
                "global_value_error": float(found.value.error),
                "upper": float(found.upper),
            }
        )
    ddim = ddim_global_error(line, chain)
    whole.append(
        {
            "arm": "DDIM",
            "steps": steps,
            "global_value": float(ddim),
            "global_value_error": float(ddim.error),
        }
    )
whole = pd.DataFrame(whole)
fig = plots.error_against_steps(
    whole,
    quantity="global_value",
    title="A deterministic sampler does not escape",
    subtitle="exact means; 4 equal modes, d = 1, cosine schedule",
)
plots.save(fig, FIGURES / f"{STEM}_global")
fig

# %%
wide = whole.pivot(index="steps", columns="arm").rename_axis("T")
wide[["lower", "global_value", "upper"]].dropna(axis=1, how="all")

# %%
before, last = counts[-2:]
for arm, value in wide["global_value"].items():
    power = math.log(value[last] / value[before]) / math.log(last / before)
    print(f"{arm:>9}: E goes like T^{power:.2f} between T = {before} and {last}")
for family in ("isotropic", "full"):
    ratio = wide["upper"][family][last] / wide["global_value"][family][last]
    print(f"{family:>9}: the chain rule's bound is {ratio:.0f} times E at T = {last}")

# %% [markdown]
# The chain rule (column "upper", which is $\sum_t M_t$ plus a prior gap below 1e-13) is right and
# far from tight. At $T = 100$ the error itself is 28 times smaller for `isotropic` and 46 times
# for `full`, and it falls faster by one power of $T$: like $1/T^2$ and $1/T^3$. Errors of one
# step are partly forgotten by the next. The column "lower" is a 99 % confidence bound from 2048
# draws of the sampler; it loses sight of errors of a few hundredths of a nat.
#
# DDIM does not escape. No step of it has a density, so that its local errors are infinite, yet
# its global error is finite and falls like $1/T^2$. It is larger than that of the best Gaussians
# of either family at every $T$ here, and for few steps much larger: at $T = 1$ it returns nearly
# the same point for every $x_T$. Its error is Euler's, the price of following a curved path in
# straight pieces, and it would be there without any multimodality (§8.5).
#
# ### Two dimensions: an interval
#
# For $d > 1$ there are two ends: an upper one by importance-weighted paths (§8.3) and a
# confidence bound from below (§8.4). The ring again, 16 paths for each data point:

# %%
generator.manual_seed(2)
counts = (1, 2) if FAST else (1, 2, 3, 5, 10, 20)
plane = []
for steps in counts:
    chain = Schedule.cosine(steps)
    for family in ("isotropic", "full"):
        m = best_gaussian_errors(ring, chain, family)
        found = global_error(
            ring,
            chain,
            BestGaussian(ring, family),
            samples=256 if FAST else 2048,
            importance=16,
            local_errors=m,
            generator=generator,
        )
        plane.append(
            {
                "arm": family,
                "steps": steps,
                "M_sum": float(m.sum()),
                "M_sum_error": float(m.sum().error),
                "global_lower": float(found.lower),
                "global_upper": float(found.upper.interval(0.99)[1]),
                "global_upper_error": float(found.upper.error),
            }
        )
plane = pd.DataFrame(plane)
fig = plots.global_error_against_steps(
    plane,
    title="The whole sampler, from both sides",
    subtitle="ring of 8, std 0.1, d = 2, cosine schedule; 99 % lower bound, 16 paths, seed 2",
)
plots.save(fig, FIGURES / f"{STEM}_interval")
fig

# %%
plane.pivot(index="steps", columns="arm")[["global_lower", "global_upper", "M_sum"]].rename_axis(
    "T"
)

# %% [markdown]
# With up to 5 steps both ends say something: at $T = 5$ the isotropic sampler is between 0.78 and
# 1.28 nats off, less than the 1.79 of the chain rule. At $T = 20$ the draws no longer tell it
# from the truth, and the upper end has come down from 0.35 to 0.064.
#
# ### Is the global error unbounded?
#
# The paper's Theorem 3.2 says so. If the last step has a fixed variance $\sigma_1^2$ it is true
# whatever the means do, and easy: the samples have a density of at most $(2\pi\sigma_1^2)^{-d/2}$
# everywhere, so that $E \ge \frac d2 \log(2\pi\sigma_1^2) - h(q_0)$ (§6.11), and thin modes have
# little entropy. The same floor binds a soft mixture whose last kernel is fixed.

# %%
generator.manual_seed(3)
chain = Schedule.cosine(3)
thin = {}
for std in (1e-1,) if FAST else (1e-1, 1e-2, 1e-3, 1e-4):
    pair = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std**2)
    thin[std] = {"floor, fixed β_1": float(fixed_variance_floor(pair, chain.betas[1]))}
    for family in ("fixed_large", "full"):
        m = best_gaussian_errors(pair, chain, family)
        arm = BestGaussian(pair, family)
        found = global_error(pair, chain, arm, samples=256, local_errors=m, generator=generator)
        thin[std][f"E, {family}"] = float(found.value)
        thin[std][f"ΣM, {family}"] = float(m.sum())
pd.DataFrame(thin).T.rename_axis("std of a mode")

# %% [markdown]
# All of it grows as the modes thin: the floor and `fixed_large` by 2.3 nats, $\log 10$, for each
# factor of 10. So does `full` with the exact mean and covariance at every step, more slowly. But
# that is the error of *this* denoiser, the best one step at a time. Among all denoisers with a
# `full` covariance some have $E = 0$: let the last step cut the space of $x_1$ into cells of mass
# $w_k$ and emit $\mathcal N(m_k, S_k)$ from the $k$-th (§7.1). A large local error does not by
# itself make the samples bad.
#
# ### Try it
#
# One step under sliders: modes on a line, and the step from $t$ to $t - 1$ seen from midway between
# two of them. Everything is computed anew at each move (it needs a running kernel). Bring the modes
# together and the Gaussians are good enough; raise $T$ at the same $t/T$, and they are again.

# %%
explore()

# %% [markdown]
# ## 2.7 What survives
#
# Of the paper's claims, in substance:
#
# - *The posterior of a mixture is a mixture.* Yes: notebook 1.
# - *For each $N$ some mixture has $M_t > N$ at every $t$.* At $t = 1$ yes, by thin modes:
#   $\log 10$ nats for each factor of 10 in their std. At $t \ge 2$ no, once $d$ and the schedule
#   are fixed: every family at its best has a cap that holds for all data, $\frac d2 \log r$ for
#   `isotropic` and those below it. Yes again if the schedule, or $d$, may be chosen after $N$.
# - *The global error is unbounded.* Yes if the last variance is fixed, and then for soft mixtures
#   too. Yes for the Gaussian that is best step by step. Not for the `full` family as such.
# - *The bottleneck is worst at few steps.* The single jump is the worst grid of all. With more
#   steps it fades: like $1/T^2$ for `full`, like $1/T$ for the families with one variance or a
#   diagonal that fits, and hardly at all for `fixed_small`.
# - *A soft mixture removes it.* Yes, with the right latent and a narrow enough kernel: local
#   errors are 0 at every $t$. The prior gap stays.
#
# And three things to remember when comparing denoisers:
#
# - name the family: on the same data the best `fixed_small` and the best `full` Gaussian differ
#   by a factor of 10 at $T = 20$, and of 7700 at $T = 1000$;
# - more than half of an isotropic denoiser's error was covariance in notebook 1: a mixture should
#   be measured against `full`;
# - local errors bound the error of the samples, but loosely when there are many steps; and a
#   deterministic sampler, to which they do not apply, has errors of its own.
#
# Every denoiser here was the best of its kind: exact means, an exact latent, no training. A floor
# that no Gaussian network can pass is one thing, a mixture that passes below it another. **Does a
# network that is trained get there, and under which loss?**
# [Notebook 3](3_soft_mixtures_learn_it.ipynb) trains some.
