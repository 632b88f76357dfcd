"""What a sweep accepts: configurations, preset mixtures, and mixtures of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from smdtheory import GaussianMixture, presets
from smdtheory.families import FAMILIES
from smdtheory.schedule import SCHEDULES
from smdtheory.sweep import SweepConfig, config, mixtures, report, run_sweep
from smdtheory.sweep.plan import make_cells


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"modes": 0}, ValueError, "modes must be a whole number from 1 .*received 0.*--modes 8"),
        ({"modes": -3}, ValueError, "received -3"),
        ({"modes": 10**30}, ValueError, "from 1 to 10000; received 1000"),
        ({"modes": 10**4 + 1}, ValueError, "from 1 to 10000; received 10001.*--modes 8"),
        ({"iterations": (10, 10**6 + 1)}, ValueError, "1 to 1000000; received 1000001.*10 100"),
        ({"dim": 10**9}, ValueError, "from 1 to 10000; received 1000000000.*--dim 2"),
        ({"modes": "abc"}, TypeError, "modes must be whole numbers; received 'abc'"),
        ({"modes": 2.5}, TypeError, "received 2.5"),
        ({"modes": True}, TypeError, "received True"),
        ({"modes": None}, TypeError, "received None"),
        ({"modes": ()}, ValueError, "modes needs at least one value"),
        ({"modes": [[8]]}, TypeError, r"received \[8\]"),
        ({"iterations": (10, 0)}, ValueError, "iterations .* received 0"),
        ({"iterations": float("nan")}, TypeError, "received nan"),
        ({"seed": -1}, ValueError, "seed .* from 0 .* received -1"),
        ({"dim": 0}, ValueError, "dim .* received 0"),
        ({"workers": 0}, ValueError, "workers .* received 0"),
        ({"std": 0}, ValueError, "std must be positive and finite; received 0"),
        ({"std": -0.1}, ValueError, "received -0.1"),
        ({"std": float("nan")}, ValueError, "received nan"),
        ({"std": "wide"}, TypeError, "std must be a number; received 'wide'"),
        ({"separation": float("inf")}, ValueError, "separation .* received inf"),
        ({"families": "ful"}, ValueError, "among fixed_small.*received 'ful'.*meant 'full'"),
        ({"families": ("full", 3)}, ValueError, "received 3"),
        ({"families": ()}, ValueError, "families needs at least one"),
        ({"schedule": "cos"}, ValueError, "among cosine, linear, sigmoid; received 'cos'"),
        ({"shape": "rng"}, ValueError, "among ring, grid, line, random; .*meant 'ring'"),
        ({"shape": "grid", "modes": 8}, ValueError, "square number .*received 8.*9.*3 by 3"),
        ({"shape": "ring", "dim": 1}, ValueError, "dim of at least 2; received 1.*line"),
        ({"modes": 1, "separation": 1.0}, ValueError, "no neighbours .*received separation=1.0"),
        ({"mixture": "my.json", "modes": 3}, ValueError, "does not go together with modes"),
        ({"mixture": 3}, TypeError, "mixture must be a path; received 3"),
        ({"out": "a\0b"}, ValueError, "out must be a path"),
        ({"cluster": 8786}, TypeError, "cluster must be an address; received 8786"),
        ({"cluster": "somewhere"}, ValueError, "scheduler; received 'somewhere'.*tcp://10.0.0.1"),
        ({"cluster": "tcp://a:b"}, ValueError, "received 'tcp://a:b'"),
        ({"out": 3}, TypeError, "out must be a path; received 3"),
    ],
)
def test_bad_configuration_is_refused_with_rule_value_and_cure(options, kind, message):
    with pytest.raises(kind, match=f"(?s){message}"):
        SweepConfig(**options)


def test_a_cluster_needs_dask(monkeypatch):
    assert SweepConfig(cluster="tcp://10.0.0.1:8786").cluster == "tcp://10.0.0.1:8786"
    monkeypatch.setattr("smdtheory.options.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="Dask, which is not installed.*pip install"):
        SweepConfig(cluster="tcp://10.0.0.1:8786")


def test_one_value_stands_for_a_list_and_order_and_repetition_do_not_matter():
    one = SweepConfig(modes=8, schedule="cosine", families="full", iterations=np.int64(7), seed=1)
    assert (one.modes, one.schedule, one.families) == ((8,), ("cosine",), ("full",))
    assert (one.iterations, one.seed) == ((7,), (1,))
    assert SweepConfig(iterations=(5, 1, 5)).iterations == (1, 5)
    assert SweepConfig(modes=(4, 2, 4)).modes == (4, 2)


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({}, "runs/ring"),
        ({"modes": (2, 4), "std": 0.05}, "runs/ring-std0.05"),
        ({"shape": "grid", "modes": 9, "separation": 1.5, "dim": 3}, "runs/grid-sep1.5-dim3"),
        ({"mixture": "data/blobs.npz"}, "runs/blobs"),
        ({"out": "here"}, "here"),
    ],
)
def test_the_folder_is_named_after_the_mixture(options, folder):
    assert SweepConfig(**options).folder.as_posix() == folder


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "ring-8"),
        ({"std": 0.1, "dim": 2}, "ring-8"),
        ({"std": 0.1000001}, "ring-8-std0.1000001"),
        ({"separation": 2}, "ring-8-sep2"),
        ({"shape": "grid", "modes": 9, "separation": 2, "dim": 3}, "grid-9-dim3"),
        ({"shape": "line", "separation": 1.5, "std": 1}, "line-8-sep1.5-std1"),
        ({"shape": "random", "seed": 3}, "random-8"),
    ],
)
def test_files_are_named_after_what_is_not_the_default(options, name):
    (spec,) = SweepConfig(**options).mixtures()
    assert spec.name == name


def test_the_default_rings_separation_put_in_words_is_another_mixture_with_another_name():
    (plain,) = SweepConfig(modes=6).mixtures()
    (said,) = SweepConfig(modes=6, separation=plain.neighbours).mixtures()
    assert (said.neighbours, said.std) == (plain.neighbours, plain.std)
    assert said.identity != plain.identity
    assert said.name.startswith("ring-6-sep1.41421356")


def test_the_largest_sizes_are_accepted():
    largest = SweepConfig(modes=10**4, iterations=10**6)
    assert (largest.modes, largest.iterations) == ((10**4,), (10**6,))


def test_lists_that_the_light_module_repeats_agree_with_their_source():
    assert get_args(config.ScheduleName) == SCHEDULES
    assert set(report.CHOICE) == set(FAMILIES)
    for shape, make in {
        "ring": lambda: presets.ring(4),
        "grid": lambda: presets.grid(2),
        "line": lambda: presets.line(4),
    }.items():
        (spec,) = SweepConfig(shape=shape, modes=4).mixtures()
        built, expected = mixtures.build(spec), make()
        torch.testing.assert_close(built.means, expected.means, rtol=0, atol=0)
        torch.testing.assert_close(built.variance, expected.variance, rtol=0, atol=0)


@pytest.mark.parametrize("shape", ["ring", "grid", "line"])
def test_separation_is_the_distance_of_neighbours_in_any_dimension(shape):
    (spec,) = SweepConfig(shape=shape, modes=9, separation=0.7, std=0.05, dim=4).mixtures()
    built = mixtures.build(spec)
    assert (built.num_components, built.dim) == (9, 4)
    distance = torch.cdist(built.means, built.means) + torch.eye(9) * 100
    torch.testing.assert_close(distance.amin(1), torch.full((9,), 0.7, dtype=torch.float64))
    own = 1 if shape == "line" else 2
    torch.testing.assert_close(built.variance[own:], torch.full((4 - own,), 0.0025).double())


def test_the_default_rings_neighbours_are_reported():
    (spec,) = SweepConfig(modes=6).mixtures()
    assert spec.neighbours == pytest.approx(2**0.5)
    assert SweepConfig(modes=1).mixtures()[0].neighbours is None


def test_random_mixtures_are_drawn_from_the_seed():
    plan, _ = make_cells(SweepConfig(shape="random", modes=4, seed=(1, 2), dim=3))
    drawn = {(cell.seed, cell.mixture.draw) for cell in plan}
    assert drawn == {(1, 1), (2, 2)}
    first, second = (mixtures.build(plan[i].mixture) for i in (0, -1))
    assert first.means.shape == (4, 3)
    assert not torch.equal(first.means, second.means)
    assert torch.equal(first.means, mixtures.build(plan[0].mixture).means)


PARAMETERS = {"weights": [0.25, 0.75], "means": [[0.0, 0.0], [2.0, 1.0]], "covariances": [0.1, 0.2]}


def write_mixture(path: Path, parameters: dict) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(parameters))
    else:
        np.savez(path, **{name: np.asarray(value) for name, value in parameters.items()})
    return path


def test_json_npz_and_python_mixtures_are_one_and_the_same(tmp_path):
    json_, npz = (
        mixtures.load(write_mixture(tmp_path / name, PARAMETERS)) for name in ("q.json", "q.npz")
    )
    assert json_[1] == npz[1]
    assert torch.equal(json_[0].means, npz[0].means)
    other = mixtures.load(
        write_mixture(tmp_path / "r.json", {**PARAMETERS, "covariances": [0.1, 0.3]})
    )
    assert other[1] != json_[1]
    mine = mixtures.describe(GaussianMixture(**PARAMETERS))
    assert (mine.shape, mine.modes, mine.dim) == ("custom", 2, 2)
    assert mine != mixtures.describe(other[0])
    names = [spec.name for spec in (json_[1], other[1])]
    assert names == [f"custom-2-{spec.identity}" for spec in (json_[1], other[1])]
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", b"", "Give it the ending"),
        ("q.json", None, "No such file"),
        ("q.json", b"{", "Expecting"),
        ("q.json", b"[1]", "not a JSON object"),
        ("q.json", b"[" * 100_000, "recursion"),
        ("q.json", b"\xff", "decode"),
        ("q.json", {"weights": [1.0]}, "it holds weights"),
        ("q.json", {**PARAMETERS, "extra": 1}, "extra"),
        ("q.json", {**PARAMETERS, "weights": [0.5, 0.6]}, "sum to 1"),
        ("q.json", {**PARAMETERS, "weights": ["a", "b"]}, "weights must be an array of real"),
        ("q.json", {**PARAMETERS, "means": [[0], [1, 2]]}, "inhomogeneous"),
        ("q.json", {**PARAMETERS, "covariances": [-1, 1]}, "ovariances"),
        ("q.json", {**PARAMETERS, "covariances": [float("nan"), 1]}, "finite"),
        ("q.npz", b"not a zip", "pickled"),
        ("q.npz", {**PARAMETERS, "weights": np.array([0.5, object()])}, "pickle"),
        ("q.npz", {**PARAMETERS, "means": np.zeros((3, 2))}, "means"),
    ],
)
def test_mixture_files_that_do_not_describe_a_mixture(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_mixture(path, content)
    with pytest.raises(ValueError, match=f"(?s)a mixture file must be .*{name}.*{message}"):
        mixtures.load(path)


def test_only_single_gaussian_mixtures_are_swept():
    with pytest.raises(TypeError, match="must be a GaussianMixture or a path"):
        run_sweep(mixture=3)
    with pytest.raises(ValueError, match="one mixture at a time"):
        run_sweep(mixture=presets.ring(3).expand((2,)))
    with pytest.raises(ValueError, match=r"together with modes; received both, modes=\(3,\)"):
        run_sweep(mixture=presets.ring(3), modes=3)
