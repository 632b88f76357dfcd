"""All statements by name, in the order of the paper. Standard library only, until one is tested."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smdtheory import options

if TYPE_CHECKING:
    from smdtheory.theory.claims.finding import Finding

STATEMENTS = {
    "posterior": "posterior.posterior_is_a_mixture",
    "first-step": "local.first_step",
    "later-steps": "local.later_steps",
    "growing-dimension": "local.growing_dimension",
    "schedule-after": "local.schedule_after",
    "variance-after": "single.variance_after",
    "one-gaussian": "single.one_gaussian",
    "fixed-last-variance": "overall.fixed_last_variance",
    "learned-variances": "overall.learned_variances",
    "exact-soft-mixture": "soft.exact_soft_mixture",
    "exact-samples": "soft.exact_samples",
    "paper-loss": "soft.paper_loss",
    "few-iterations": "iterations.few_iterations",
    "guarantees": "iterations.guarantees",
    "small-steps": "questions.small_steps",
    "bridge": "questions.bridge_or_posterior",
    "covariance": "questions.covariance",
    "how-few": "questions.how_few",
}
"""Each statement's name, and the function of this package that tests it."""

TRAINED = "paper-loss"
"""The statement that long training bears on."""


def check_names(names: Any) -> tuple[str, ...]:
    """Names of statements, each once.

    Raises:
        ValueError: for none, or an unknown one.

    Example:
        >>> check_names("bridge")
        ('bridge',)
    """
    try:
        found = options.several("names", names)
    except ValueError as error:
        raise ValueError(
            "name at least one statement; received none. For example: posterior"
        ) from error
    return options.choices("a statement", found, STATEMENTS)


def audit(
    names: Sequence[str] | str | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> Iterator[Finding]:
    """Test statements of the paper, one after the other.

    Args:
        names: which, all by default.
        rows: those of a long sweep on the ring of 8 (:func:`smdtheory.sweep.run.read_rows`), for
            what needs long training; without them that finding rests on a short training.

    Yields:
        A finding for each, as soon as it is tested.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> [finding.verdict for finding in audit("one-gaussian")]
        ['holds with a condition']
    """
    wanted = check_names(list(STATEMENTS) if names is None else names)
    return (_tested(name, rows) for name in wanted)


def _tested(name: str, rows: Sequence[Mapping[str, Any]] | None) -> Finding:
    module, _, function = STATEMENTS[name].partition(".")
    test: Callable[..., Finding] = getattr(
        importlib.import_module(f"smdtheory.theory.claims.{module}"), function
    )
    return test(rows) if name == TRAINED else test()
