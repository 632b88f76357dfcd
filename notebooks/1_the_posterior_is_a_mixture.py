# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. The posterior is a mixture
#
# A diffusion model runs the noising chain backwards, one Gaussian step at a time. This notebook
# looks at what it should draw instead. When the data are a mixture of Gaussians, the true
# backward step $q(x_s \mid x_t)$ is known in closed form: it is a mixture again, and no Gaussian
# equals it. This is where *Soft Mixture Denoising* (Li, van Breugel and van der Schaar, ICLR
# 2024; below, "the paper") starts from. Nothing of the paper is assumed, here or in the notebooks
# that follow: each ends with the question that the next one answers.
#
# What it shows, in order:
#
# 1. the closed form of $q(x_s \mid x_t)$, checked against Bayes' rule;
# 2. how it looks beside the best Gaussians, for long steps and for short ones;
# 3. when it is nearly Gaussian, and how far from it otherwise;
# 4. what a Gaussian denoiser loses, split into three parts that add up;
# 5. what a mixture step gains: the exact soft mixture has error 0, one with a wrong kernel or
#    with too few components has not.
#
# It defines nothing: every number comes from `smdtheory`. It takes about three minutes on two
# cores. With the environment variable `SMDTHEORY_FAST=1` it runs a smaller version in a few
# seconds; its numbers then differ from those in the text, and its figures go to `runs/` and not
# to `figures/`. Sections (§) are those of [docs/theory.md](../docs/theory.md).

# %%
import os
from pathlib import Path

import pandas as pd
import torch

from smdtheory import FAMILIES, GaussianMixture, Schedule, marginal, plots, posterior, presets
from smdtheory.measure import best_gaussian_errors, local_error, split
from smdtheory.models.oracle import BestGaussian, ExactPosterior, ExactSoftMixture, TruncatedMixture

FAST = os.environ.get("SMDTHEORY_FAST") == "1"
FIGURES = Path("../runs/fast" if FAST else "../figures")
STEM = "1_the_posterior_is_a_mixture"
pd.set_option("display.float_format", "{:.3g}".format)

# %% [markdown]
# ## 1.1 The closed form
#
# The data are $q(x_0) = \sum_k w_k \mathcal N(m_k, S_k)$. The chain is the usual
# variance-preserving one,
# $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$, where $t = 0$ is the
# data and $t = T$ the noise. For every $s < t$ (§3.1)
#
# $$q(x_s \mid x_t) = \sum_k r_k(x_t)\, \mathcal N(x_s; \mu_k(x_t), V_k), \qquad
# r_k(x_t) \propto w_k\, \mathcal N(x_t; \sqrt{\bar\alpha_t}\, m_k, C_k^t), \qquad
# C_k^t = \bar\alpha_t S_k + (1 - \bar\alpha_t) I,$$
#
# $$\mu_k(x_t) = \sqrt{\bar\alpha_s}\, m_k
# + \sqrt{\alpha_{t|s}}\, C_k^s (C_k^t)^{-1} (x_t - \sqrt{\bar\alpha_t}\, m_k),
# \qquad V_k = \beta_{t|s}\, C_k^s (C_k^t)^{-1} .$$
#
# The reason takes one line: given the component $k$ everything is Gaussian, and $k$ is not given.
# Two details matter below. The weight $r_k$ uses the component's *marginal* density at $x_t$, not
# its posterior's. And $V_k$ does not depend on $x_t$, which weighs the components and shifts
# them, but does not make them wider or narrower.
#
# Take four equal modes on a line, scaled to unit variance, and a chain of only three steps. This
# is the last of them, from $x_1$ to the data:

# %%
data = presets.line(4).standardized()
chain = Schedule.cosine(3)
x_t = torch.tensor([[0.2]], dtype=torch.float64)
law = posterior(data, chain, x_t, t=1)  # q(x_0 | x_1 = 0.2)
pd.DataFrame(
    {
        "weight in the data": data.weights,
        "mean in the data": data.means[:, 0],
        "std in the data": data.spectral.diagonals()[:, 0].sqrt(),
        "weight given x_1": law.weights[0],
        "mean given x_1": law.means[0, :, 0],
        "std given x_1": law.spectral.diagonals().squeeze().sqrt(),
    }
)

# %% [markdown]
# Four modes again: reweighted by what $x_1$ says, moved a little towards it, and a little
# narrower. The sampler must choose a mode, and one Gaussian cannot.
#
# ### Is the formula right?
#
# Bayes' rule says $\log q(x_s \mid x_t) = \log q(x_t \mid x_s) + \log q(x_s) - \log q(x_t)$,
# where the first term is the forward Gaussian. The reversed chain is Markov, so two short steps
# make a long one (Chapman–Kolmogorov). And the posterior mean of $x_0$ is the score in disguise
# (Tweedie):
# $\sqrt{\bar\alpha_t}\, \mathbb E[x_0 \mid x_t] = x_t + (1 - \bar\alpha_t) \nabla \log q(x_t)$
# (§3.2).

# %%
generator = torch.Generator().manual_seed(0)
here = marginal(data, chain, 2).sample(1000, generator=generator)  # x_2
there = marginal(data, chain, 1).sample(1000, generator=generator)  # x_1, any point will do
beta = chain.betas[2]
forward = torch.distributions.Normal((1 - beta).sqrt() * there, beta.sqrt()).log_prob(here).sum(-1)
bayes = forward + marginal(data, chain, 1).log_prob(there) - marginal(data, chain, 2).log_prob(here)
exact = posterior(data, chain, here, t=2).log_prob(there)
gap = exact - bayes
print(f"Bayes: largest gap at 1000 pairs of points     {float(gap.abs().max()):.0e} nats")

x = torch.linspace(-8, 8, 1001, dtype=torch.float64).unsqueeze(-1)
x_0, x_2 = torch.linspace(-1.4, 1.4, 15, dtype=torch.float64)[:, None, None], torch.tensor([[0.4]])
first = posterior(data, chain, x_2, t=2).log_prob(x)  # log q(x_1 | x_2) at every x_1
then = posterior(data, chain, x, t=1).log_prob(x_0)  # log q(x_0 | x_1)
two = torch.trapezoid((first + then).exp(), x[:, 0])
one = posterior(data, chain, x_2, t=2, s=0).log_prob(x_0)[:, 0].exp()
print(f"Chapman–Kolmogorov: largest relative gap       {float((two / one - 1).abs().max()):.0e}")

a = chain.alphas_bar[2]
tweedie = (here + (1 - a) * marginal(data, chain, 2).score(here)) / a.sqrt()
gap = posterior(data, chain, here, t=2, s=0).mean - tweedie
print(f"Tweedie: largest gap of posterior means        {float(gap.abs().max()):.0e}")

# %% [markdown]
# All three hold to rounding.
#
# ## 1.2 The picture
#
# Now put Gaussians beside the truth. Two of them, both with the exact mean:
#
# - **isotropic**: one variance for each $t$, the best on average over $x_t$;
# - **full**: the best covariance at each $x_t$. No Gaussian does better, whatever network
#   produces it.
#
# Distances are $\mathrm{KL}(q(x_s \mid x_t) \Vert p(x_s \mid x_t))$ in nats at the given $x_t$.

# %%
x = torch.linspace(-2.2, 2.2, 401, dtype=torch.float64).unsqueeze(-1)
points = torch.tensor([[0.0], [0.4], [0.8], [2.0]], dtype=torch.float64)
truth = posterior(data, chain, points.unsqueeze(1), t=1).log_prob(x)
models = {
    name: BestGaussian(data, name)(points.unsqueeze(1), chain.snr[1], chain.snr[0]).log_prob(x)
    for name in ("isotropic", "full")
}
fig = plots.posterior_against_gaussians(
    x[:, 0],
    truth.exp(),
    {name: log_p.exp() for name, log_p in models.items()},
    panels=[f"$x_1$ = {float(point):g}" for point in points],
    errors={
        name: torch.trapezoid(truth.exp() * (truth - log_p), x[:, 0])
        for name, log_p in models.items()
    },
    xlabel="$x_0$",
    title="One Gaussian cannot choose between modes",
    subtitle="4 equal modes, d = 1, cosine schedule, last step of T = 3",
)
plots.save(fig, FIGURES / f"{STEM}_line")
fig

# %% [markdown]
# At $x_1$ = 0, 0.4 and 0.8 even the best Gaussian is off by about 0.7 nats: it puts much of its
# mass where there are no data. A variance chosen for each $x_1$ helps only far out, at $x_1 = 2$,
# where one mode is left.
#
# ### Shorter steps
#
# Diffusion models take many steps because a short step is nearly Gaussian. Keep the level
# $\gamma_t = \bar\alpha_t / (1 - \bar\alpha_t)$ (the signal-to-noise ratio) and the point
# $x_t = 0$, and shorten the step: from the jump to the data, $\gamma_s = \infty$, down to
# $\gamma_s = 1.25\, \gamma_t$.

# %%
snr_t = chain.snr[1]
ratios = torch.tensor([torch.inf, 8.0, 2.0, 1.25], dtype=torch.float64)
point = torch.zeros(1, 1, dtype=torch.float64)
exact = ExactPosterior(data)
truth = torch.stack([exact(point, snr_t, r * snr_t).log_prob(x) for r in ratios])
best = BestGaussian(data, "full")
model = torch.stack([best(point, snr_t, r * snr_t).log_prob(x) for r in ratios])
distance = torch.trapezoid(truth.exp() * (truth - model), x[:, 0])
fig = plots.posterior_against_gaussians(
    x[:, 0],
    truth.exp(),
    {"full": model.exp()},
    panels=["to the data", *(f"$\\gamma_s$ = {float(r):g} $\\gamma_t$" for r in ratios[1:])],
    errors={"full": distance},
    title="The shorter the step, the rounder the posterior",
    subtitle=f"4 equal modes, d = 1, from $x_t$ = 0 at SNR {float(snr_t):.1f}",
)
plots.save(fig, FIGURES / f"{STEM}_shorter")
fig

# %%
jump = best_gaussian_errors(data, Schedule.from_snr([snr_t]), "full")[1]
steps = [
    best_gaussian_errors(data, Schedule.from_snr([r * snr_t, snr_t]), "full")[2] for r in ratios[1:]
]
pd.DataFrame(
    {"KL at x_t = 0": distance, "average over x_t": [float(m) for m in (jump, *steps)]},
    index=pd.Index(ratios.tolist(), name="γ_s / γ_t"),
)

# %% [markdown]
# From the jump to a step of ratio 2 the error falls from 0.66 to 0.0019 nats on average. How fast
# it goes on falling decides what many steps buy. Halve the step again and again:

# %%
rises = 0.5 ** torch.arange(3 if FAST else 7, dtype=torch.float64)
families = ("fixed_small", "isotropic", "full")
short = pd.DataFrame(
    {
        family: [
            float(
                best_gaussian_errors(data, Schedule.from_snr([(1 + u) * snr_t, snr_t]), family)[2]
            )
            for u in rises
        ]
        for family in families
    },
    index=pd.Index((1 + rises).tolist(), name="γ_s / γ_t"),
)
pd.concat({"M": short, "M of the step before / M": short.shift() / short}, axis=1)

# %% [markdown]
# In the limit halving the step divides the error of `isotropic` by 4 and that of `full` by 8:
# second and third order in the step (§5.3). Half the step means twice the steps, so that the
# errors of a whole chain should fall like $1/T$ and $1/T^2$. Notebook 2 looks whether they do.
#
# ### The same in the plane
#
# Eight modes on a ring, two places of $x_t$, a long and a short step. Ellipses are the one- and
# two-sigma contours of the Gaussians.

# %%
ring = presets.ring(8)
places = torch.tensor([[0.0, 0.0], [0.6, 0.25]], dtype=torch.float64)
snr_t, targets = 2.0, (20.0, 3.0)
ticks = torch.linspace(-2, 2, 81, dtype=torch.float64)
grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).unsqueeze(-2)  # (81, 81, 1, 2)
arms = {"truth": ExactPosterior(ring), **{f: BestGaussian(ring, f) for f in ("isotropic", "full")}}
laws = {name: [arm(places, snr_t, snr_s) for snr_s in targets] for name, arm in arms.items()}
log_p = {
    name: torch.cat([law.log_prob(grid).movedim(-1, 0) for law in pair])
    for name, pair in laws.items()
}
truth, cell = log_p["truth"], (ticks[1] - ticks[0]).square()
fig = plots.posterior_contours(
    ticks,
    ticks,
    truth.exp(),
    {
        name: (
            torch.cat([law.mean for law in laws[name]]),
            torch.cat([law.covariance_matrix for law in laws[name]]),
        )
        for name in ("isotropic", "full")
    },
    panels=[
        f"$x_t$ = ({x:g}, {y:g}), $γ_s$ = {snr_s:g}"
        for snr_s in targets
        for x, y in places.tolist()
    ],
    errors={
        name: (truth.exp() * (truth - log_p[name])).sum((-2, -1)) * cell
        for name in ("isotropic", "full")
    },
    title="No ellipse follows a ring of modes",
    subtitle=f"8 modes on a ring, std 0.1, d = 2, from $x_t$ at SNR {snr_t:g}",
)
plots.save(fig, FIGURES / f"{STEM}_ring")
fig

# %% [markdown]
# In the centre all eight modes are equally likely and the best covariance is round: that Gaussian
# still loses 0.78 nats on the long step, 0.012 on the short one. Off the centre the cloud has a
# direction, which `full` follows and `isotropic` cannot.
#
# ## 1.3 When is it nearly Gaussian?
#
# Average over $x_t$ and follow a chain of twenty steps. $M_t$ is the local error of the best
# member of a family,
#
# $$M_t = \mathbb E_{x_t \sim q}\,
# \mathrm{KL}\big(q(x_{t-1} \mid x_t) \,\Vert\, p(x_{t-1} \mid x_t)\big),$$
#
# computed from closed forms and one quadrature (§5.1), no sampling and no training.

# %%
chain = Schedule.cosine(20)
errors = {family: best_gaussian_errors(data, chain, family) for family in ("isotropic", "full")}
fig = plots.error_along_chain(
    {family: m.value for family, m in errors.items()},
    snr=chain.snr,
    title="The error sits where modes separate",
    subtitle="4 equal modes, d = 1, cosine schedule, T = 20; noise on the left, data on the right",
)
plots.save(fig, FIGURES / f"{STEM}_where")
fig

# %%
separation = float(data.means[1, 0] - data.means[0, 0])
std = float(data.component(0).variance.sqrt())
print(f"modes: {separation:.2f} apart, std {std:.2f}")
for family, m in errors.items():
    peak = int(m.value.argmax())
    noise = float(chain.snr[peak]) ** -0.5
    share = float(m.value[1:6].sum() / m.value.sum())
    print(
        f"{family:>9}: largest at t = {peak}, M_t = {float(m[peak]):.2g}, where noise has std "
        f"{noise:.2f} in units of x_0; t = 1 to 5 hold {share:.0%} of the sum {float(m.sum()):.2g}"
    )

# %% [markdown]
# Three regimes, whatever the family:
#
# - **noise**: $x_s$ is itself mostly noise, the components of the posterior overlap entirely, and
#   it is round;
# - **data**: $x_t$ has already decided for a mode, one responsibility is nearly 1, and the
#   posterior is one component;
# - **between**: noise of std 0.17 in units of $x_0$, against modes 0.89 apart, leaves $x_t$
#   undecided between neighbours now and then while $x_s$ decides. Nearly all of the error is made
#   in those few steps.
#
# ## 1.4 What a Gaussian loses, in three parts
#
# For any Gaussian step $p = \mathcal N(a, A)$, and $\mu, \Sigma$ the moments of the posterior,
# exactly (§5.7),
#
# $$\mathrm{KL}(q \Vert p) =
# \underbrace{\mathrm{KL}(q \Vert \mathcal N(\mu, \Sigma))}_{\text{non-Gaussianity}}
# + \underbrace{\tfrac12 [\mathrm{tr}(A^{-1}\Sigma) - d
# - \log\det(A^{-1}\Sigma)]}_{\text{covariance misfit}}
# + \underbrace{\tfrac12 (\mu - a)^\top A^{-1} (\mu - a)}_{\text{mean error}} .$$
#
# The first part is the same for all of them: it is the error of `full`, the bottleneck proper.
# The last row below is a denoiser with a wrong mean too: the one that would be right if the data
# were a single Gaussian with the same mean and covariance, a linear one.

# %%
chain, t = Schedule.cosine(10), 2
gaussian = GaussianMixture([1.0], ring.mean[None], ring.covariance_matrix[None])
families = ("isotropic", "full") if FAST else FAMILIES
denoisers = {family: BestGaussian(ring, family) for family in families}
denoisers["linear"] = BestGaussian(gaussian, "full")
parts = {name: split(ring, chain, denoiser, t) for name, denoiser in denoisers.items()}
table = pd.DataFrame(
    {
        "non-Gaussianity": {name: float(part.non_gaussianity) for name, part in parts.items()},
        "covariance": {name: float(part.covariance) for name, part in parts.items()},
        "mean": {name: float(part.mean) for name, part in parts.items()},
        "M_2": {name: float(part.total) for name, part in parts.items()},
    }
)
table.round(12) + 0.0  # what is below 1e-12 is rounding

# %% [markdown]
# (Eight modes on a ring, $T = 10$, from $x_2$ to $x_1$.) No choice of covariance gets below 0.166
# nats. The schedule's small variance $\tilde\beta$ adds 0.742 to that, the best single number for
# each $t$ adds 0.210, the best diagonal 0.068. All these have the exact mean, so their last part
# is 0. The linear denoiser pays 0.336 for its mean as well.
#
# Along the whole chain, for the isotropic family:

# %%
times = range(1, 3 if FAST else chain.steps + 1)
along = [split(ring, chain, denoisers["isotropic"], t) for t in times]
fig = plots.error_along_chain(
    {
        "non-Gaussianity": [0.0, *(float(part.non_gaussianity) for part in along)],
        "covariance": [0.0, *(float(part.covariance) for part in along)],
        "mean": [0.0, *(float(part.mean) for part in along)],
    },
    title="A wrong covariance costs more than a wrong shape",
    subtitle="isotropic family; ring of 8, std 0.1, d = 2, cosine schedule, T = 10",
)
plots.save(fig, FIGURES / f"{STEM}_split")
fig

# %%
shape = sum(float(part.non_gaussianity) for part in along)
misfit = sum(float(part.covariance) for part in along)
print(f"Σ M_t = {shape + misfit:.3f} nats: non-Gaussianity {shape:.3f}, covariance {misfit:.3f}")

# %% [markdown]
# More than half of what an isotropic denoiser loses over the chain is its covariance, which a
# better Gaussian would save. Whoever compares a mixture with a Gaussian should compare with the
# one of best covariance: that is why this project always names the family.

# %% [markdown]
# ## 1.5 A mixture step
#
# A *soft mixture* denoiser draws a latent $z$ and then a Gaussian around a mean that depends on
# it. If $z$ follows $q(x_0 \mid x_t)$, the mean is that of the bridge, $c z + c' x_t$, and the
# kernel variance is $\tilde\beta_{s|t}$, then its step *is* the posterior (§7.1). This is the
# paper's remedy at its best. The kernel variance matters, though. Take $\tilde\beta$ ten per cent
# too large, or the forward variance $\beta$ of the schedule, and keep the latent exact (§7.2).

# %%
chain = Schedule.cosine(3 if FAST else 10)
steps = range(1, chain.steps + 1)
kernels = {"soft_mixture": "posterior", "kernel 1.1 β̃": 1.1, "kernel β": "forward"}
errors = {
    family: best_gaussian_errors(data, chain, family).value.tolist()
    for family in ("isotropic", "full")
}
for name, kernel in kernels.items():
    soft = ExactSoftMixture(data, kernel)
    errors[name] = [0.0, *(float(local_error(data, chain, soft, t)) for t in steps)]
fig = plots.error_along_chain(
    errors,
    title="Exact with the right kernel; a wrong one can cost more than a Gaussian",
    subtitle=f"4 equal modes, d = 1, cosine schedule, T = {chain.steps}",
)
plots.save(fig, FIGURES / f"{STEM}_kernels")
fig

# %%
more = Schedule.cosine(4 if FAST else 20)
sums = {(name, chain.steps): sum(m) for name, m in errors.items()}
for family in ("isotropic", "full"):
    sums[family, more.steps] = float(best_gaussian_errors(data, more, family).sum())
for name, kernel in list(kernels.items())[1:]:
    soft = ExactSoftMixture(data, kernel)
    sums[name, more.steps] = sum(
        float(local_error(data, more, soft, t)) for t in range(1, more.steps + 1)
    )
pd.Series(sums).unstack().rename_axis("Σ M_t", axis=0).rename_axis("T", axis=1)

# %%
excess = torch.tensor(0.1, dtype=torch.float64)
single = float(excess.log1p() - excess / (1 + excess)) / 2
print(f"kernel 1.1 β̃, T = {chain.steps}: largest M_t {max(errors['kernel 1.1 β̃']):.4f} nats")
print(f"one Gaussian with 1.1 times the right variance: {single:.4f} nats")

# %% [markdown]
# With the right kernel the error is 0 within rounding, at every $t$. With $1.1 \tilde\beta$ each
# step but the last costs up to 0.0021 nats, nearly the 0.0022 of a Gaussian with 1.1 times the
# right variance, and more steps cost more: the sum grows from 0.013 to 0.031 between $T = 10$ and
# 20, while that of either Gaussian family falls. With the forward variance $\beta$, exact latent
# or not, the sum is 0.61 at $T = 10$ and 0.51 at $T = 20$, above even `isotropic` (0.39 and
# 0.20). A soft mixture is only as good as its kernel: it has to be at most as wide as the
# narrowest component of the posterior (§7.1), and the schedule's $\beta$ is not, whenever the
# data have a direction of variance below 1.
#
# ### Fewer components than modes
#
# A mixture-density network has $K'$ components. Keep the $K' - 1$ that are most responsible for
# $x_t$ and merge the others into one Gaussian ("merge"; $K' = 1$ is `full`), or keep the $K'$
# most responsible and forget the others ("drop") (§7.3).

# %%
times = (2,) if FAST else (1, 2, 3, 5)
arms = {
    **{f"merge to {k}": TruncatedMixture(data, k) for k in (1, 2, 3, 4)},
    **{f"drop to {k}": TruncatedMixture(data, k, "drop") for k in (2, 3)},
}
table = pd.DataFrame(
    {
        f"M_{t}": {name: float(local_error(data, chain, arm, t)) for name, arm in arms.items()}
        for t in times
    }
)
table.round(12) + 0.0

# %% [markdown]
# With all four components the error is 0 within rounding. Near the data two components do far
# better than the best Gaussian: 7 times at $t = 2$, two thousand times at $t = 1$. Which way to
# lose the rest matters too. Where a fourth mode hardly counts, at $t \le 3$, three kept and one
# dropped beat two kept and two merged; where all count, at $t = 5$, dropping two costs 0.036 nats
# and merging three 0.0011, because merging keeps the moments right. And more components are not
# better by themselves: at $t = 3$ two of them, chosen like this, lose 0.014 nats, and one
# Gaussian only 0.0055. There the components overlap into something nearly round, which one
# Gaussian covers better than a component and a Gaussian for all the others. (The best mixture of
# two cannot be worse than one Gaussian.)
#
# ## What to take away
#
# - The backward step of a mixture is a mixture with as many components. Their weights and means
#   depend on $x_t$, their covariances do not.
# - A Gaussian cannot follow it where $x_t$ leaves the component open and $x_s$ decides it.
#   Elsewhere, and for short steps everywhere, it is nearly right: the error of the best Gaussian
#   is of third order in the step.
# - Much of a practical denoiser's error is not the bottleneck but its covariance.
# - A mixture step removes the bottleneck, if its kernel is narrow enough and its components
#   suffice.
#
# All this was one step at a time, on two or three mixtures. A sampler takes many steps, and may be
# given any data. **How much does a Gaussian lose in all: in each family, at every number of steps,
# and at worst?** [Notebook 2](2_the_gaussian_bottleneck.ipynb) measures it.
