"""Trained cells of the sweep: rows, repeats, checkpoints, tables, and Σ M_t of long chains."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pandas as pd
import pytest
import torch

from smdtheory import Schedule, presets
from smdtheory.families import FLOORS, LEARNED
from smdtheory.measure import best_gaussian_errors, local_errors
from smdtheory.measure.sums import ALL, FIRST, ROUNDS, STRATA, strata, summed_errors
from smdtheory.models import oracle, recipes
from smdtheory.sweep import SweepConfig, cells, compute, plan, run, run_sweep, trained
from smdtheory.sweep.plan import MOST_TRAINED_DIM, make_cells
from smdtheory.sweep.run import as_table, read_rows
from smdtheory.truth.rules import SCRAMBLES

QUICK = {"modes": 3, "iterations": (1, 3), "families": ("isotropic", "full"), "workers": 1,
         "no_figure": True, "progress": False}  # fmt: skip


@pytest.fixture
def hasty(monkeypatch):
    """Recipes of twenty steps, and few draws."""
    for name, recipe in recipes.RECIPES.items():
        quick = dataclasses.replace(recipe, short=20, long=20, batch=64)
        monkeypatch.setitem(recipes.RECIPES, name, quick)
    monkeypatch.setattr(recipes, "WIDTH", 8)
    monkeypatch.setattr(plan, "_learned_samples", lambda arm, budget: 512)


def learned(rows):
    return rows[rows.arm.isin(LEARNED)].reset_index(drop=True)


def test_rows_of_trained_networks(tmp_path, hasty):
    rows = learned(run_sweep(**QUICK, out=tmp_path, repeats=2))
    assert list(rows.arm.unique()) == ["gaussian", "soft_mse", "soft_energy", "finite_mixture"]
    assert len(rows) == 4 * 2 * 2
    assert list(rows.repeat[:4]) == [0, 0, 1, 1]
    assert (rows.M_sum - rows.M_1 - rows.M_rest).abs().max() < 1e-9
    assert rows.global_value.isna().all()
    assert (rows.train_steps == 20).all()
    assert (rows.M_sum_method == "sampling").all()
    soft = rows[rows.arm == "soft_energy"]
    assert (soft.latents == 128).all()
    assert (soft.latent_share > 0).all()
    assert rows[rows.arm == "gaussian"].latents.isna().all()
    one, two = (rows[(rows.arm == "gaussian") & (rows.repeat == n)] for n in (0, 1))
    assert (one.train_loss.to_numpy() != two.train_loss.to_numpy()).all()


def test_networks_are_not_trained_again_for_more_steps(tmp_path, hasty, monkeypatch):
    options = {**QUICK, "learned": "gaussian"}
    first = learned(run_sweep(**options, out=tmp_path))
    monkeypatch.setattr("smdtheory.models.training.Training.advance", None)
    more = learned(run_sweep(**{**options, "iterations": (1, 2, 3)}, out=tmp_path))
    assert list(more.steps) == [1, 2, 3]
    assert (more.train_loss == first.train_loss[0]).all()


def test_a_longer_sweep_gives_the_same_rows_as_all_at_once(tmp_path, hasty):
    options = {**QUICK, "learned": "soft_energy"}
    run_sweep(**options, out=tmp_path / "a")
    longer = {**options, "iterations": (1, 2, 3)}
    one, two = (learned(run_sweep(**longer, out=tmp_path / name)) for name in ("a", "b"))
    times = ["seconds", "train_seconds"]
    assert one.drop(columns=times).equals(two.drop(columns=times))


def test_no_train_trains_nothing(tmp_path):
    assert learned(run_sweep(**QUICK, no_train=True, out=tmp_path)).empty
    assert not (tmp_path / "checkpoints").exists()


def test_what_a_budget_trains():
    short, long = SweepConfig(), SweepConfig(budget="long")
    assert len(short.trained) == 4
    assert short.repeat_count == 1
    assert long.trained == LEARNED
    assert long.repeat_count == 3
    assert SweepConfig(learned="gaussian_full").trained == ("gaussian_full",)
    assert SweepConfig(no_train=True, budget="long").trained == ()
    found, _ = make_cells(SweepConfig(shape="random", seed=(1, 2), learned="gaussian"))
    assert [(c.mixture.draw, c.seed) for c in found if c.training] == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": "lomg"}, "budget must be among short, long; received 'lomg'. Perhaps"),
        ({"learned": "gausian"}, "Perhaps you meant 'gaussian'"),
        ({"repeats": 0}, "repeats must be a whole number from 1"),
        ({"no_train": True, "repeats": 2}, "does not go with repeats"),
        ({"device": "tpu"}, "device must be cpu, cuda or cuda:NUMBER; received 'tpu'"),
    ],
)
def test_wrong_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        SweepConfig(**options)


def row(arm, steps, value, *, error=0.01, repeat=0, share=None, **others):
    found = {
        "arm": arm, "steps": steps, "budget": "long", "repeat": repeat,
        "latents": share and 16, "latent_share": share,
        "mixture_id": "m", "schedule": "cosine", "seed": 0, "device": "cpu", "recipes": 1, **others,
    }  # fmt: skip
    for name, part in (("M_1", 0.5), ("M_rest", 0.5), ("M_sum", 1.0)):
        found |= {name: part * value, f"{name}_error": part * error}
    return found


def test_intervals_over_trainings_are_students():
    """Three values 1, 2, 3: mean 2, standard error 1/√3, t(2) = 4.302653."""
    (mean,) = trained.averaged(row("gaussian", 5, v, repeat=v) for v in (1, 2, 3))
    assert mean["M_sum"] == pytest.approx(2)
    assert mean["M_sum_error"] == pytest.approx(1 / math.sqrt(3))
    assert mean["M_sum_interval"] == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    (alone,) = trained.averaged([row("gaussian", 5, 1.0)])
    assert alone["M_sum_interval"] == pytest.approx(2.364624 * 0.01, rel=1e-6)


def test_trainings_that_differ_are_not_repeats():
    for others in ({"device": "cuda"}, {"recipes": 2}, {"budget": "short"}):
        rows = [row("gaussian", 5, 1.0), row("gaussian", 5, 3.0, **others)]
        assert [mean["M_sum"] for mean in trained.averaged(rows)] == [1.0, 3.0]


def test_the_largest_share_is_told_and_bars_are_intervals():
    rows = [row("soft_mse", 5, v, repeat=v, share=v / 1000) for v in (1, 2, 4)]
    rows += [row("isotropic", 5, 1.0), row("full", 5, 0.5), row("diagonal", 5, 0.7)]
    (mean,) = trained.averaged(rows)
    assert mean["latent_share"] == 0.004
    drawn = trained.beside_floors(rows, [mean])
    assert [r["arm"] for r in drawn] == ["isotropic", "full", "soft_mse"]
    assert drawn[-1]["M_sum_error"] == mean["M_sum_interval"] > 4 * mean["M_sum_error"]


def test_rows_of_old_recipes_are_left_out_of_tables(tmp_path, hasty, monkeypatch):
    options = {**QUICK, "iterations": 3, "learned": "gaussian", "out": tmp_path}
    run_sweep(**options)
    for module in (cells, run):
        monkeypatch.setattr(module, "RECIPES_VERSION", 2)
    monkeypatch.setattr(cells.Training.__init__, "__defaults__", (2,))
    run_sweep(**options)
    table = pd.read_csv(tmp_path / "rows.csv")
    assert list(table[table.arm == "gaussian"].recipes) == [2]
    assert "one training" in (tmp_path / "table.txt").read_text()


def test_two_schedules_share_one_training(tmp_path, hasty):
    rows = learned(
        run_sweep(**QUICK, learned="gaussian", schedule=("cosine", "linear"), out=tmp_path)
    )
    assert len(rows) == 4
    assert rows.train_loss.nunique() == 1
    assert len([path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]) == 1


def test_a_damaged_checkpoint_does_not_block_a_cell(tmp_path, hasty, monkeypatch):
    longer = dataclasses.replace(recipes.RECIPES["gaussian"], short=501)  # checkpoints: 500, 501
    monkeypatch.setitem(recipes.RECIPES, "gaussian", longer)
    options = {**QUICK, "learned": "gaussian", "out": tmp_path}
    first = learned(run_sweep(**options))
    (last,) = (tmp_path / "checkpoints").rglob("step-00000501.safetensors")
    last.write_bytes(last.read_bytes()[:100])
    more = learned(run_sweep(**{**options, "iterations": (1, 2, 3)}))
    assert list(more.steps) == [1, 2, 3]
    assert (more.train_loss == first.train_loss[0]).all()


def test_each_training_is_measured_with_draws_of_its_own(tmp_path, hasty):
    found, _ = make_cells(SweepConfig(budget="long", learned=("gaussian", "soft_mse")))
    seeds = {compute.seed_of(c.training_identity, c.schedule, 5) for c in found if c.training}
    assert len(seeds) == 6


def test_networks_are_for_few_dimensions_and_say_so():
    found, notes = make_cells(SweepConfig(dim=MOST_TRAINED_DIM + 1))
    assert not any(cell.training for cell in found)
    assert "no networks, which are for d <= 64" in notes[-1]


def test_chains_that_end_beyond_the_levels_of_training_are_told():
    for name in ("cosine", "linear", "sigmoid"):
        last = float(Schedule.named(name, cells.TRAINED_STEPS).snr[1].log())
        assert last < recipes.TRAINED[1]
        assert cells.beyond_training(name, range(1, 1001)) == []
    assert cells.beyond_training("cosine", (1000, 1200, 2000)) == [2000]
    assert cells.beyond_training("linear", (2000, 5000)) == [5000]
    wanted = "cosine schedule, T = 2000: networks are asked beyond the levels they were trained on"
    long = {"iterations": (5, 2000)}
    assert wanted in make_cells(SweepConfig(**long))[1]
    assert make_cells(SweepConfig(**long, no_train=True))[1] == []
    assert make_cells(SweepConfig(iterations=(5, 1000)))[1] == []
    told = [trained.section([row("gaussian", T, 1.0)]) for T in (1000, 2000)]
    assert ["asked beyond the levels" in " ".join(text.split()) for text in told] == [False, True]


def test_a_device_that_is_not_there_is_named_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="device must be there; received cuda:77"):
        run_sweep(**QUICK, device="cuda:77", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_tables_stand_each_network_below_its_floor():
    rows = [row(arm, T, v) for arm, v in (("isotropic", 1.79), ("full", 0.909)) for T in (5, 10)]
    rows += [row("gaussian", T, 1.81) for T in (5, 10)]
    rows += [row("soft_energy", 5, 0.2, share=0.97), row("soft_mse", 5, 1.8, share=1e-5)]
    text = trained.section(rows)
    lines = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert lines.index("best") < lines.index("gaussian") < lines.index("exact")
    assert lines.index("exact") < lines.index("soft_energy")
    assert "97 % in soft_energy" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "At T = 5 the learned Gaussian makes 1.81 ± 0.02 nats" in text.replace("\n", " ")
    assert "no Gaussian can make less than 0.91" in text.replace("\n", " ")


def test_a_soft_mixture_is_named_once_whatever_the_objectives_that_were_trained():
    energy, likelihood = row("soft_energy", 5, 0.2), row("soft_likelihood", 5, 0.1)
    text = trained.section([energy, likelihood]).replace("\n", " ")
    assert "At T = 5 the soft mixture under the energy score 0.20 ± 0.02, under the like" in text
    text = trained.section([likelihood]).replace("\n", " ")
    assert "At T = 5 the soft mixture under the likelihood 0.10 ± 0.02." in text


def test_numbers_known_without_torch_are_those_of_the_measures():
    assert cells.MEASURED_STEPS == ALL
    assert trained.REPLICATES == ROUNDS == SCRAMBLES


def test_every_network_has_a_floor():
    assert set(FLOORS) == set(LEARNED) == set(recipes.RECIPES)


def test_the_oracle_passes_through_a_trained_cell_and_scores_zero(monkeypatch):
    q = presets.ring(3)
    cell = next(c for c in make_cells(SweepConfig(modes=3))[0] if c.arm == "gaussian")
    exact = oracle.ExactPosterior(q)
    exact.weight = torch.nn.Parameter(torch.zeros(1))
    run = recipes.fit(
        exact, q, lambda d, *_: d.weight.square().sum(), steps=1, log_snr=(-1, 1), progress=False
    )
    for steps in (3, 40):
        found = compute.measure_learned(cell, q, run, steps)
        assert abs(found["M_sum"]) < 1e-9


def test_sums_of_known_errors_are_unbiased(monkeypatch):
    """With M_t known and no draws at all, 400 seeds: the mean is the sum, M_1 is exact."""
    chain = Schedule.cosine(60)
    place = {float(snr): t for t, snr in enumerate(chain.snr)}
    known = torch.arange(61, dtype=torch.float64).clamp(min=1) ** -1.5

    def exact(mixture, denoiser, snr_t, snr_s, u, generator):
        return torch.stack([known[place[float(snr)]] for snr in snr_t])

    monkeypatch.setattr("smdtheory.measure.sums.kl_terms", exact)
    q = presets.ring(3)
    denoiser, found = oracle.ExactPosterior(q), []
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        found.append(summed_errors(q, chain, denoiser, samples=128, generator=generator))
    ends = torch.stack([estimate.value for estimate in found])
    assert torch.equal(ends[:, 0], torch.ones(400, dtype=torch.float64))
    rest, error = float(known[2:].sum()), float(ends[:, 1].std()) / 20
    assert error < 1e-3 * rest
    assert abs(float(ends[:, 1].mean()) - rest) < 4 * error
    said = torch.stack([estimate.error[1] for estimate in found]).square().mean().sqrt()
    assert float(said) == pytest.approx(20 * error, rel=0.15)


@pytest.mark.parametrize("family", ["isotropic", "full"])
def test_long_chains_are_summed_without_bias(family):
    """Strata against the exact sum, in standard errors; T = 40 and 200."""
    q = presets.ring(3, std=0.5)
    for T in (40, 200):
        chain = Schedule.cosine(T)
        exact = best_gaussian_errors(q, chain, family)
        found = summed_errors(
            q, chain, oracle.BestGaussian(q, family), samples=4096,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        rest = float(exact[2:].sum())
        assert abs(float(found[1]) - rest) < 4.5 * float(found[1].error)
        assert float(found[1].error) < 0.25 * rest


def test_short_chains_are_measured_at_every_step():
    q, chain = presets.ring(3), Schedule.cosine(ALL)
    denoiser = oracle.TruncatedMixture(q, 2)

    def draws():
        return torch.Generator().manual_seed(0)

    ends = summed_errors(q, chain, denoiser, samples=256, generator=draws())
    errors = local_errors(q, chain, denoiser, samples=256, generator=draws())
    assert torch.allclose(ends.value, torch.stack([errors.value[1], errors.value[2:].sum()]))


@pytest.mark.parametrize("T", [FIRST + STRATA, 33, 100, 1000, 10**6])
def test_strata_cover_each_step_once(T):
    edges = strata(T)
    assert len(edges) == STRATA + 1
    assert edges[0] == FIRST + 1
    assert edges[-1] == T + 1
    assert all(a < b for a, b in pairwise(edges))


def test_rows_come_back_from_the_file_as_they_were(tmp_path, hasty):
    table = run_sweep(**QUICK, out=tmp_path, repeats=2)
    rows = read_rows(tmp_path / "rows.csv")
    again = as_table(rows)
    assert list(again.columns) == list(table.columns)
    order = ["arm", "repeat", "steps"]
    one, other = (t.sort_values(order).reset_index(drop=True) for t in (again, table))
    for name in table.columns:
        same = (one[name] == other[name]) | (one[name].isna() & other[name].isna())
        assert same.all(), name
    means = trained.averaged(rows)
    assert {row["repeats"] for row in means} == {2}
    assert {row["latents"] for row in means} == {None, 8, 128}
    assert {row["latent_share"] is None for row in means if row["arm"] == "gaussian"} == {True}
    assert "R = 8 for soft_mse, R = 128 for soft_energy" in trained.section(rows).replace("\n", " ")


def test_a_file_of_something_else_is_no_rows(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="lacks the columns arm"):
        read_rows(tmp_path / "rows.csv")
