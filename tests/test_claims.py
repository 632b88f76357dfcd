"""The audit: every statement has its verdict, and loses it when the code under it is wrong."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import help_of, status_here

from smdtheory import Schedule, presets
from smdtheory import audit as command
from smdtheory.estimate import Estimate
from smdtheory.measure import local_error
from smdtheory.measure.transfer import transferred_error
from smdtheory.models.cells import GaussianCells
from smdtheory.models.oracle import ExactSoftMixture
from smdtheory.sweep.run import read_rows
from smdtheory.theory.claims import STATEMENTS, Check, audit
from smdtheory.theory.claims.finding import UNCONFIRMED
from smdtheory.theory.claims.soft import widest_exact_kernel
from smdtheory.truth.mixture import GaussianMixture

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audit.md"

VERDICTS = {
    "posterior": "holds",
    "first-step": "holds in this reading",
    "later-steps": "refuted in this reading",
    "growing-dimension": "holds in this reading",
    "schedule-after": "holds in this reading",
    "variance-after": "holds in this reading",
    "one-gaussian": "holds with a condition",
    "fixed-last-variance": "holds in this reading",
    "learned-variances": "refuted in this reading",
    "exact-soft-mixture": "holds with a condition",
    "exact-samples": "holds with a condition",
    "paper-loss": "refuted as stated",
    "few-iterations": "holds with a condition",
    "guarantees": "holds with a condition",
    "small-steps": "answered",
    "bridge": "answered",
    "covariance": "answered",
    "how-few": "answered",
}


def scaled(factor):
    """A function of the package whose answer is too large."""

    def wrong(right):
        def function(*args, **kwargs):
            found = right(*args, **kwargs)
            many = isinstance(found, Estimate)
            return found.map(lambda v: factor * v) if many else factor * found

        return function

    return wrong


def cells_moved(right):
    class Moved(right):
        def __init__(self, mixture):
            super().__init__(mixture)
            self.edges = self.edges + 0.1

    return Moved


def kernel_too_wide(right):
    def function(mixture, kernel="posterior"):
        return right(mixture, 1.1 if kernel == "posterior" else kernel)

    return function


def weights_not_responsibilities(right):
    def function(mixture, *args):
        law = right(mixture, *args)
        logits = mixture.logits.expand(law.logits.shape)
        return GaussianMixture.from_spectral(logits, law.means, law.spectral)

    return function


def too_sure(right):
    """A witness with thick modes under the certificate of thin ones."""

    def function(*args, **kwargs):
        found = right(*args, **kwargs)
        thick = GaussianMixture(found.base.weights, found.base.means, 1e3)
        return replace(found, base=thick)

    return function


def one_above(right):
    def function(count):
        rows = right(count)
        return [rows[0] | {"violations": 1}, *rows[1:]]

    return function


def one_step_is_enough(right):
    return lambda *args: SimpleNamespace(steps=1)


def biased(right):
    """A latent whose kernel is too wide, in the last step as well."""
    return lambda mixture, *args: right(mixture, "forward")


def nan_after_the_first(spoil):
    """A function of the package whose first answer is right and whose second is NaN."""

    def wrong(right):
        calls = []

        def function(*args, **kwargs):
            calls.append(args)
            found = right(*args, **kwargs)
            return spoil(found) if len(calls) == 2 else found

        return function

    return wrong


def all_nan(found):
    return found.map(lambda v: v * torch.nan) if isinstance(found, Estimate) else torch.nan


def one_nan(found):
    value = found.value.clone()
    value[1, 3] = torch.nan
    return Estimate(value, found.error, found.method)


def ratio_nan(found):
    return [found[0], *({**row, "ratio": torch.nan} for row in found[1:])]


def rows_with_nan(right):
    return lambda *args: ratio_nan(right(*args))


UNKNOWN = [
    ("posterior", "bayes_residual", nan_after_the_first(all_nan)),
    ("first-step", "remeasured", nan_after_the_first(all_nan)),
    ("later-steps", "check_caps", rows_with_nan),
    ("later-steps", "fixed_ratio", nan_after_the_first(all_nan)),
    ("variance-after", "local_error", nan_after_the_first(all_nan)),
    ("learned-variances", "transferred_error", nan_after_the_first(all_nan)),
    ("exact-soft-mixture", "local_error", nan_after_the_first(all_nan)),
    ("few-iterations", "error_table", nan_after_the_first(one_nan)),
]
"""Statement, name of what gives NaN in the module that tests it, and how."""


def error_lost(right):
    def function(*args, **kwargs):
        found = right(*args, **kwargs)
        return replace(found, error=found.error.map(lambda v: 0 * v))

    return function


def objectives_swapped(right):
    names = {"soft_mse": "soft_energy", "soft_energy": "soft_mse"}
    return lambda name, *args, **kwargs: right(names[name], *args, **kwargs)


def concave(right):
    def function(*args):
        found = right(*args)
        return Estimate(found.value.abs().sqrt(), found.error, found.method)

    return function


BROKEN = [
    ("posterior", "posterior", weights_not_responsibilities),
    ("first-step", "witness", too_sure),
    ("first-step", "remeasured", scaled(0.5)),
    ("later-steps", "check_caps", one_above),
    ("later-steps", "fixed_variance_cap", scaled(0.9)),
    ("later-steps", "dimension_cap", scaled(10.0)),
    ("growing-dimension", "witness", too_sure),
    ("growing-dimension", "remeasured", scaled(0.9)),
    ("schedule-after", "witness", too_sure),
    ("schedule-after", "dimension_cap", scaled(0.9)),
    ("variance-after", "misjudged", scaled(1.01)),
    ("one-gaussian", "best_gaussian_errors", scaled(1.01)),
    ("fixed-last-variance", "fixed_variance_floor", scaled(-1.0)),
    ("fixed-last-variance", "fixed_variance_floor", scaled(2.0)),
    ("learned-variances", "locally_best_floor", scaled(1.5)),
    ("learned-variances", "GaussianCells", cells_moved),
    ("exact-soft-mixture", "ExactSoftMixture", kernel_too_wide),
    ("exact-soft-mixture", "widest_exact_kernel", scaled(1.1)),
    ("exact-soft-mixture", "widest_exact_kernel", scaled(0.9)),
    ("exact-samples", "prior_gap", scaled(0.01)),
    ("exact-samples", "transferred_error", scaled(0.0)),
    ("paper-loss", "train", objectives_swapped),
    ("few-iterations", "error_table", concave),
    ("guarantees", "predicted_errors", scaled(1.05)),
    ("small-steps", "best_grid", error_lost),
    ("how-few", "steps_needed", one_step_is_enough),
    ("how-few", "ExactSoftMixture", biased),
    ("bridge", "mutual_information", scaled(1.2)),
    ("bridge", "bridge_loss", scaled(1.2)),
    ("covariance", "best_gaussian_errors", scaled(0.1)),
]
"""Statement, name of what is broken in the module that tests it, and how."""


@pytest.fixture(scope="module")
def findings():
    rows = read_rows(command.STORED) if command.STORED.is_file() else None
    return {finding.name: finding for finding in audit(rows=rows)}


def test_every_statement_is_listed_here():
    assert list(VERDICTS) == list(STATEMENTS)


@pytest.mark.parametrize("name", STATEMENTS)
def test_verdict(findings, name):
    finding = findings[name]
    assert [str(check) for check in finding.checks if not check.passed] == []
    assert finding.verdict == VERDICTS[name]
    assert finding.command == f"python -m smdtheory.audit --only {name}"


@pytest.mark.parametrize("name", STATEMENTS)
def test_section_exists(findings, name):
    text = (ROOT / "docs" / "theory.md").read_text()
    for number in re.findall(r"§([\d.]+)", findings[name].section):
        assert re.search(rf"^##+ {re.escape(number)} ", text, re.MULTILINE), number


@pytest.mark.parametrize(("name", "part", "wrong"), BROKEN)
def test_verdict_is_lost_when_the_code_under_it_is_wrong(name, part, wrong, monkeypatch):
    module = importlib.import_module(
        "smdtheory.theory.claims." + STATEMENTS[name].partition(".")[0]
    )
    monkeypatch.setattr(module, part, wrong(getattr(module, part)))
    (finding,) = audit(name)
    assert finding.verdict == UNCONFIRMED


@pytest.mark.parametrize(("name", "part", "wrong"), UNKNOWN)
def test_nan_confirms_nothing(name, part, wrong, monkeypatch):
    module = importlib.import_module(
        "smdtheory.theory.claims." + STATEMENTS[name].partition(".")[0]
    )
    monkeypatch.setattr(module, part, wrong(getattr(module, part)))
    (finding,) = audit(name)
    assert any(check.value != check.value for check in finding.checks)
    assert finding.verdict == UNCONFIRMED


def test_every_statement_has_been_broken():
    assert {name for name, *_ in BROKEN} == set(STATEMENTS)


@pytest.mark.skipif(not command.STORED.is_file(), reason="no stored rows of long training")
@pytest.mark.parametrize(
    ("change", "column"),
    [({"soft_mse": 0.02}, "latent_share"), ({"soft_energy": 0.6}, "M_sum")]
    + [({"soft_mse": value}, "M_sum") for value in (0.2, 0.5)],
)
def test_stored_rows_count(change, column):
    rows = [
        row | {column: change[row["arm"]]} if row["arm"] in change else row
        for row in read_rows(command.STORED)
    ]
    from smdtheory.theory.claims import soft

    assert not all(check.passed for check in soft._stored(rows))
    assert all(check.passed for check in soft._stored(read_rows(command.STORED)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.05, 1.0])
def test_a_check_needs_its_whole_error_bar(value):
    assert not Check("x", value, "<", 1.1, error=0.1).passed
    assert Check("x", 0.9, "<", 1.1, error=0.1).passed


def test_a_sampled_number_needs_four_standard_errors():
    draws = torch.tensor([0.9, 1.1, 1.0, 1.0], dtype=torch.float64)
    known = Estimate.from_replicates(draws)
    assert Check.of("x", known, ">", 1 - 4.1 * float(known.error)).passed
    assert not Check.of("x", known, ">", 1 - 3.9 * float(known.error)).passed


class TestGaussianCells:
    @pytest.mark.parametrize("steps", [1, 2, 4])
    @pytest.mark.parametrize("weights", [[0.5, 0.5], [0.1, 0.2, 0.7]])
    @pytest.mark.parametrize("gap", [0.5, 2.0])  # in the first a jump is no longer than a kernel
    def test_samples_are_exact_and_steps_are_not(self, steps, weights, gap):
        means = [[gap * k] for k in range(len(weights))]
        mixture = GaussianMixture(weights, means, [0.04 * (k + 1) for k in range(len(weights))])
        chain, cells = Schedule.cosine(steps), GaussianCells(mixture)
        found = transferred_error(mixture, chain, cells)
        assert abs(float(found)) < float(found.error) < 1e-10
        assert float(local_error(mixture, chain, cells, 1)) > (1 if gap == 2 else 0.1)

    def test_one_gaussian_at_each_point(self):
        law = GaussianCells(presets.random(5, 3))(torch.randn(7, 3).double(), 0.1, torch.inf)
        assert law.num_components == 1
        assert law.batch_shape == (7,)

    def test_says_what_is_wrong(self):
        with pytest.raises(TypeError, match="mixture must be"):
            GaussianCells("ring")
        with pytest.raises(ValueError, match="snr"):
            GaussianCells(presets.ring(3))(torch.zeros(1, 2).double(), 2.0, 1.0)


@pytest.mark.parametrize("s", [0, 1, 3])
def test_widest_exact_kernel_by_the_posterior_itself(s):
    mixture, chain = presets.random(4, 3), Schedule.cosine(6)
    law = ExactSoftMixture(mixture)(torch.zeros(1, 3).double(), chain.snr[5], chain.snr[s])
    least = float(law.spectral.smallest().min())
    known = widest_exact_kernel(mixture, float(chain.snr[5]), float(chain.snr[s]))
    assert known == pytest.approx(least, rel=1e-10)


class TestCommand:
    def run(self, monkeypatch, capsys, *arguments):
        return status_here(monkeypatch, command.main, *arguments), capsys.readouterr()

    def test_help_imports_nothing_heavy(self):
        said = help_of("smdtheory.audit")
        for flag in ("--only", "--rows", "--out", "--checks"):
            assert flag in said

    def test_prints_and_writes(self, monkeypatch, capsys, tmp_path):
        out = ["--out", str(tmp_path)]
        status, said = self.run(monkeypatch, capsys, "--only", "one-gaussian", "--checks", *out)
        assert status == 0
        assert "one-gaussian" in said.out
        assert "HOLDS WITH A CONDITION" in said.out
        assert "largest M_t, full" in said.out
        assert "Decides: M_t of one Gaussian, t >= 2: at least 0.197 nats" in said.out
        found = json.loads((tmp_path / "audit-only.json").read_text())
        assert [finding["verdict"] for finding in found["findings"]] == ["holds with a condition"]
        text = (tmp_path / "audit-only.md").read_text()
        assert "**Verdict: holds with a condition.**" in text

    def test_a_failed_check_is_told(self, monkeypatch, capsys, tmp_path):
        from smdtheory.theory.claims import single

        monkeypatch.setattr(single, "misjudged", scaled(1.01)(single.misjudged))
        status, said = self.run(
            monkeypatch, capsys, "--only", "variance-after", "--out", str(tmp_path)
        )
        assert status == 1
        assert "NOT CONFIRMED" in said.out
        assert "variance-after" in said.err
        text = (tmp_path / "audit-only.md").read_text()
        assert "**failed**" in text
        for written in (said.out, text):
            assert "nothing is claimed" in written
            assert "Every M_t passes" not in written
            assert "no matter of mixtures" not in written
            assert "Decides" not in written

    def test_some_statements_leave_the_whole_audit_alone(self, monkeypatch, capsys, tmp_path):
        for name in ("audit.json", "audit.md"):
            (tmp_path / name).write_text("all of them")
        out = ["--out", str(tmp_path)]
        assert self.run(monkeypatch, capsys, "--only", "one-gaussian", *out)[0] == 0
        assert (tmp_path / "audit.json").read_text() == "all of them"
        assert (tmp_path / "audit.md").read_text() == "all of them"

    def test_all_statements_make_the_whole_audit(self, monkeypatch, capsys, tmp_path, findings):
        from smdtheory.theory import claims

        monkeypatch.setattr(claims, "audit", lambda names, rows: [findings[n] for n in names])
        status, said = self.run(monkeypatch, capsys, "--out", str(tmp_path))
        assert status == 0
        assert said.out.count("Decides: ") == len(STATEMENTS)
        text = (tmp_path / "audit.md").read_text()
        assert text.count("a reading of this one statement") == 1
        assert not (tmp_path / "audit-only.md").exists()

    def test_a_paragraph_on_readings_needs_all_of_them(self, findings):
        some = [findings[name] for name in ("first-step", "later-steps")]
        assert command.readings(some) == []
        failed = replace(findings["later-steps"], checks=())
        several = [*findings.values(), failed]
        assert len(command.readings(findings.values())) == 4
        assert len(command.readings(several[:2] + several[3:])) == 2

    def test_output_that_is_a_file(self, monkeypatch, capsys, tmp_path):
        path = tmp_path / "taken"
        path.write_text("")
        for out in (path, path / "below"):
            arguments = ("--only", "one-gaussian", "--out", str(out))
            status, said = self.run(monkeypatch, capsys, *arguments)
            assert status == 2
            assert str(path) in said.err
            assert "--out" in said.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--only", "bridges"], "Perhaps you meant 'bridge'"),
            (["--rows", "missing.csv"], "missing.csv"),
        ],
    )
    def test_wrong_input(self, monkeypatch, capsys, arguments, message):
        status, said = self.run(monkeypatch, capsys, *arguments)
        assert status == 2
        assert message in said.err

    @pytest.mark.parametrize("name", ["out", "rows"])
    def test_empty_paths(self, name):
        with pytest.raises(ValueError, match=f"{name} must be a path"):
            command.AuditConfig(**{name: ""})

    def test_rows_of_something_else(self, monkeypatch, capsys, tmp_path):
        path = tmp_path / "rows.csv"
        path.write_text("arm,steps\nfull,3\n")
        status, said = self.run(
            monkeypatch, capsys, "--rows", str(path), "--only", "paper-loss", "--out", str(tmp_path)
        )
        assert status == 2
        assert "rows" in said.err


@pytest.mark.skipif(not PAGE.is_file(), reason="no page in docs")
def test_the_page_in_docs_is_that_of_these_findings(findings):
    text = PAGE.read_text()
    for finding in findings.values():
        start = text.index(f"\n## {finding.name}\n")
        section = text[start : text.find("\n## ", start + 4)]
        assert f"**Verdict: {finding.verdict}.**" in section
        for check in finding.checks:
            assert check.what.replace("|", "\\|") in section
