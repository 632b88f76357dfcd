"""What an audited statement is: checks, a verdict that follows from them, a command."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from smdtheory.estimate import Estimate

Verdict = Literal[
    "holds",
    "holds with a condition",
    "holds in this reading",
    "refuted in this reading",
    "refuted as stated",
    "answered",
]
Relation = Literal[">", "<"]

UNCONFIRMED = "not confirmed"
"""The verdict when a check fails: then nothing is claimed."""

SIGMAS = 4.0
"""Standard errors by which a sampled number must clear its limit."""


def largest(values: Iterable[float]) -> float:
    """The largest number; NaN if one of them is.

    Example:
        >>> largest([1.0, 3.0, 2.0]), largest([1.0, float("nan"), 2.0])
        (3.0, nan)
    """
    return float(torch.tensor([float(value) for value in values], dtype=torch.float64).max())


def smallest(values: Iterable[float]) -> float:
    """The smallest number; NaN if one of them is.

    Example:
        >>> smallest([1.0, 3.0, 2.0]), smallest([1.0, float("nan"), 2.0])
        (1.0, nan)
    """
    return -largest(-value for value in values)


@dataclass(frozen=True)
class Check:
    """One number, and the inequality that it has to satisfy with its whole error bar.

    Attributes:
        what: what was measured, in words.
        value: the number.
        relation: ">" or "<".
        limit: what it is compared with.
        error: its numerical error, or :data:`SIGMAS` standard errors.
        unit: "nats", or "" for a pure number.

    Example:
        >>> print(Check("the error", 0.5, "<", 1.0, error=0.1))
        the error: 0.5 ± 0.1 nats < 1
    """

    what: str
    value: float
    relation: Relation
    limit: float
    error: float = 0.0
    unit: str = "nats"

    @staticmethod
    def of(
        what: str, estimate: Estimate, relation: Relation, limit: float, unit: str = "nats"
    ) -> Check:
        """A check of an estimate, a single number.

        Args:
            what: what was measured, in words.
            estimate: the number, in ``unit``.
            relation: ">" or "<".
            limit: what it is compared with.
            unit: "nats", or "" for a pure number.

        Returns:
            The check, with the error that the method of the estimate gives it.

        Example:
            >>> import torch
            >>> known = Estimate(torch.tensor(2.0), torch.tensor(0.5), "quadrature")
            >>> Check.of("error", known, ">", 1.0).passed, Check.of("error", known, ">", 1.6).passed
            (True, False)
        """
        width = SIGMAS if estimate.method == "sampling" else 1.0
        error = width * float(estimate.error)
        return Check(what, float(estimate), relation, float(limit), error, unit)

    @property
    def passed(self) -> bool:
        """Whether the inequality holds for every value within the error; never for NaN."""
        if self.relation == ">":
            return self.value - self.error > self.limit
        return self.value + self.error < self.limit

    @property
    def measured(self) -> str:
        """The value with its error and unit, for people."""
        bar = f" ± {self.error:.1g}" if self.error > 1e-3 * abs(self.value) else ""
        digits = 4 if f"{self.value:.4g}" != f"{self.limit:.4g}" else 9
        return f"{self.value:.{digits}g}{bar} {self.unit}".rstrip()

    @property
    def required(self) -> str:
        """What it is compared with."""
        return f"{self.relation} {self.limit:.4g}"

    def __str__(self) -> str:
        return f"{self.what}: {self.measured} {self.required}{'' if self.passed else '  FAILED'}"


@dataclass(frozen=True)
class Finding:
    """A statement of the paper, or a reviewer's question, and what the numbers say.

    Attributes:
        name: for ``--only``.
        source: where the paper has it, as in "Theorem 3.1".
        claim: the statement, in substance, with the quantifiers of this reading; or the question.
        tested: the exact quantifiers tested.
        survives: what remains true of it, said first.
        instead: what is true instead, or under which condition; "" if it holds.
        if_confirmed: the verdict, provided that every check passes.
        decides: the number that decides it, and what it is.
        checks: all of them.
        section: of docs/theory.md.
        stored: the command whose stored rows were read, if any.
    """

    name: str
    source: str
    claim: str
    tested: str
    survives: str
    instead: str
    if_confirmed: Verdict
    decides: str
    checks: tuple[Check, ...]
    section: str
    stored: str | None = None

    @property
    def verdict(self) -> str:
        """``if_confirmed`` if every check passed, else :data:`UNCONFIRMED`.

        Example:
            >>> words = "name source claim tested survives instead decides section"
            >>> facts = dict.fromkeys(words.split(), "")
            >>> Finding(**facts, if_confirmed="holds", checks=(Check("x", 1.0, "<", 0.0),)).verdict
            'not confirmed'
        """
        return self.if_confirmed if self.confirmed else UNCONFIRMED

    @property
    def confirmed(self) -> bool:
        """Whether there are checks, and all of them passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def command(self) -> str:
        """What reproduces it."""
        return f"python -m smdtheory.audit --only {self.name}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values.

        Returns:
            Values by the names of the fields, the checks and the verdict among them.
        """
        return {
            "name": self.name,
            "source": self.source,
            "claim": self.claim,
            "tested": self.tested,
            "survives": self.survives,
            "instead": self.instead,
            "verdict": self.verdict,
            "decides": self.decides,
            "checks": [
                {
                    "what": check.what,
                    "value": _plain(check.value),
                    "error": _plain(check.error),
                    "relation": check.relation,
                    "limit": _plain(check.limit),
                    "unit": check.unit,
                    "passed": check.passed,
                }
                for check in self.checks
            ],
            "section": self.section,
            "command": self.command,
            "stored": self.stored,
        }


def _plain(value: float) -> float | str:
    """A number, or its name where JSON has none."""
    return value if math.isfinite(value) else str(value)
