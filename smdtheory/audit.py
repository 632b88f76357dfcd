"""The command line ``python -m smdtheory.audit``: what the paper's statements are worth, exactly.

Prints what each statement's numbers say as soon as they are there, and writes audit.json and
audit.md.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from smdtheory import options
from smdtheory.command import DONE, FAILED, guarded, parse
from smdtheory.files import write_atomically
from smdtheory.theory.claims.registry import STATEMENTS, check_names

if TYPE_CHECKING:
    from smdtheory.theory.claims.finding import Finding

WIDTH = 100
STORED = Path(__file__).parents[1] / "notebooks" / "rows" / "ring-8_long.csv"
"""Rows of a long sweep on the ring of 8 that come with the repository."""

NOTHING = "A check failed: nothing is claimed."

READINGS = {
    (
        "first-step",
        "later-steps",
        "growing-dimension",
        "schedule-after",
        "variance-after",
    ): "**Theorem 3.1** as stated, in substance *for each N some mixture has M_t > N for every t "
    "in 1..T*, does not say what is fixed before the mixture. The order of the quantifiers "
    "decides, and each order below is a reading of this one statement: with the dimension d free "
    "it holds (growing-dimension), and so it does with the schedule or the variances chosen after "
    "N (schedule-after, variance-after); with d, the schedule and the variances given first it "
    "holds at t = 1 (first-step) and is false for t >= 2 (later-steps).",
    (
        "fixed-last-variance",
        "learned-variances",
    ): "**Theorem 3.2**, in substance *for each N some mixture has a global error E > N, whatever "
    "Gaussian denoiser*, does not say whether variances are learned: with the last variance fixed "
    "before the mixture it holds (fixed-last-variance), with learned variances it is false "
    "(learned-variances).",
}
"""What to say of a statement that has several readings, by the readings that it rests on."""


@dataclass(frozen=True)
class AuditConfig:
    """What the paper's statements are worth: each tested, with a verdict that numbers decide.

    Prints each statement with what survives of it, the verdict and the number that decides it,
    and writes audit.json and audit.md; of some statements only, audit-only.json and
    audit-only.md. Two minutes or less on two cores; what needs long training
    is read from stored rows, and says so.

    Attributes:
        only: Statements to test, by name. None: all of them.
        rows: rows.csv of a sweep with --modes 8 --budget long. None: the rows that come with the
            repository, if they are there.
        out: Folder for what is written.
        checks: Print every check, not the verdicts alone.

    Example:
        >>> AuditConfig(only="bridge").only
        ('bridge',)
    """

    only: tuple[str, ...] | None = None
    rows: Path | None = None
    out: Path = Path("runs/audit")
    checks: bool = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            TypeError: for values of the wrong kind.
            ValueError: for an unknown statement, or an empty path.
        """
        if self.only is not None:
            object.__setattr__(self, "only", check_names(self.only))
        object.__setattr__(self, "out", options.path("out", self.out))
        if self.rows is not None:
            object.__setattr__(self, "rows", options.path("rows", self.rows))

    @property
    def names(self) -> tuple[str, ...]:
        """The statements to test."""
        return tuple(STATEMENTS) if self.only is None else self.only


def main() -> int:
    """Parse, test, print; return the exit status.

    0: every statement has its verdict. 1: a check failed, or the disk is full.
    2: wrong input, or a folder that cannot be written. 130, 143: stopped by Ctrl-C or SIGTERM.

    Returns:
        The exit status.
    """
    return guarded(
        lambda: _run(parse(AuditConfig, "smdtheory.audit")),
        stopped="Nothing is written before the end.",
    )


def headline(finding: Finding) -> str:
    """A few lines for the terminal: statement, verdict, the deciding number.

    Args:
        finding: of one statement.

    Returns:
        Text of several lines.

    Example:
        >>> from smdtheory.theory.claims import audit
        >>> finding = next(audit("one-gaussian"))
        >>> print(headline(finding))
        Theorem 3.1, one-gaussian                HOLDS WITH A CONDITION
        ...
    """
    start = f"{finding.source}, {finding.name}".ljust(40)
    lines = [f"{start} {finding.verdict.upper()}", _paragraph(finding.claim)]
    if not finding.confirmed:
        return "\n".join([*lines, _paragraph(NOTHING)])
    lines.append(_paragraph(finding.survives))
    if finding.instead:
        lines.append(_paragraph(finding.instead))
    lines.append(_paragraph(f"Decides: {finding.decides}"))
    return "\n".join(lines)


def page(findings: Sequence[Finding], seconds: float, stored: str) -> str:
    """The audit as Markdown: a table, then a section for each statement.

    Args:
        findings: of all statements, in the order of the page.
        seconds: how long they took.
        stored: which stored rows were read, in a sentence.

    Returns:
        The text of the page.

    Example:
        >>> from smdtheory.theory.claims import audit
        >>> finding = next(audit("one-gaussian"))
        >>> page([finding], 1.0, "No rows are stored.").splitlines()[0]
        "# The paper's statements, audited"
    """
    lines = [
        "# The paper's statements, audited",
        "",
        "What *Soft Mixture Denoising: Beyond the Expressive Bottleneck of Diffusion Models* (Li, "
        "van Breugel, van der Schaar, ICLR 2024) says, each statement with the exact quantifiers "
        "tested and the numbers that decide it. The paper is known here through its abstract and "
        "its public reviews: statements are given in substance, not in its words, and so are the "
        "reviewers' questions. What survives is said first. "
        "Derivations: [docs/theory.md](theory.md). Errors are in nats; a check counts only if it "
        "holds with its whole error bar.",
        "",
        f"Written by `python -m smdtheory.audit` in {seconds:.0f} s. {stored}",
        "",
        *readings(findings),
        *table(findings),
    ]
    for finding in findings:
        lines += ["", *section(finding)]
    return "\n".join(lines) + "\n"


def readings(findings: Iterable[Finding]) -> list[str]:
    """A paragraph on each statement of several readings, if all of them have their verdicts.

    Args:
        findings: of the statements that were tested.

    Returns:
        Lines of Markdown, an empty one after each paragraph.

    Example:
        >>> from smdtheory.theory.claims import audit
        >>> finding = next(audit("one-gaussian"))
        >>> readings([finding])  # it has one reading alone
        []
    """
    confirmed = {finding.name for finding in findings if finding.confirmed}
    said = [text for names, text in READINGS.items() if confirmed.issuperset(names)]
    return [line for text in said for line in (text, "")]


def table(findings: Iterable[Finding], where: str = "") -> list[str]:
    """A line of Markdown for each statement: verdict, and the number that decides it.

    Args:
        findings: what was tested, as :func:`smdtheory.theory.claims.audit` yields it.
        where: the page that has the sections, if it is another one.

    Returns:
        Lines of Markdown, with the heading.

    Example:
        >>> from smdtheory.theory.claims import audit
        >>> table(audit("one-gaussian"), "audit.md")[-1]
        '| [Theorem 3.1: one-gaussian](audit.md#one-gaussian) | holds with a condition | M_t of...'
    """
    lines = ["| statement | verdict | the number that decides it |", "|---|---|---|"]
    lines += [
        f"| [{finding.source}: {finding.name}]({where}#{finding.name}) | {finding.verdict} | "
        f"{finding.decides if finding.confirmed else NOTHING} |"
        for finding in findings
    ]
    return lines


def section(finding: Finding) -> list[str]:
    """One statement, as Markdown.

    Args:
        finding: of that statement.

    Returns:
        Lines of Markdown.

    Example:
        >>> from smdtheory.theory.claims import audit
        >>> finding = next(audit("one-gaussian"))
        >>> section(finding)[0]
        '## one-gaussian'
    """
    said = " ".join(filter(None, (finding.survives, finding.instead)))
    lines = [
        f"## {finding.name}",
        "",
        f"**{finding.source}.** *{finding.claim}*",
        "",
        f"**Verdict: {finding.verdict}.** {said if finding.confirmed else NOTHING}",
        "",
        f"Tested: {finding.tested}",
        "",
        "| check | value | must be |",
        "|---|---|---|",
    ]
    lines += [
        f"| {check.what.replace('|', chr(92) + '|')} | {check.measured} | "
        f"{check.required}{'' if check.passed else ' **failed**'} |"
        for check in finding.checks
    ]
    lines += ["", f"`{finding.command}` · docs/theory.md {finding.section}"]
    if finding.stored:
        lines[-1] += f" · stored rows of `{finding.stored}`"
    return lines


def _run(config: AuditConfig) -> int:
    from smdtheory.theory.claims import audit  # imports torch

    rows, stored = _rows(config.rows)
    options.make_folder(config.out)
    print(stored, end="\n\n", flush=True)
    start, findings = time.perf_counter(), []
    for finding in audit(config.names, rows):
        findings.append(finding)
        print(headline(finding), flush=True)
        for check in finding.checks if config.checks else ():
            print(f"    {check}")
        print(flush=True)
    seconds = time.perf_counter() - start
    answer = {
        "seconds": round(seconds, 1),
        "python": platform.python_version(),
        "stored": stored,
        "findings": [finding.to_json() for finding in findings],
    }
    name = "audit" if set(config.names) == set(STATEMENTS) else "audit-only"
    write_atomically(config.out / f"{name}.json", json.dumps(answer, indent=1, ensure_ascii=False))
    write_atomically(config.out / f"{name}.md", page(findings, seconds, stored))
    print(f"Written in {seconds:.0f} s:\n  {config.out}/{name}.json\n  {config.out}/{name}.md")
    failed = [finding.name for finding in findings if not finding.confirmed]
    if failed:
        print(f"Checks failed, nothing is claimed: {', '.join(failed)}", file=sys.stderr)
    return FAILED if failed else DONE


def _rows(path: Path | None) -> tuple[Sequence[Mapping[str, Any]] | None, str]:
    """Stored rows, and a sentence on them."""
    from smdtheory.sweep.run import read_rows

    if path is None and not STORED.is_file():
        return None, "No stored rows of long training: that statement rests on a short one."
    if path is not None and not os.path.isfile(path):  # False, too, for a name that cannot be
        raise ValueError(
            f"rows must be the rows.csv of a sweep; there is no file {path}. Leave it out for the "
            "rows that come with the repository."
        )
    try:
        found = read_rows(path or STORED)
    except ValueError as error:  # what pandas says of a file that is no table names neither
        raise ValueError(
            f"rows must be the rows.csv of a sweep; received {path or STORED}: "
            f"{' '.join(str(error).split())}"
        ) from error
    name = path or "notebooks/rows/ring-8_long.csv"
    return found, f"Long training is read from {name} and not repeated."


def _paragraph(text: str) -> str:
    return fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


if __name__ == "__main__":
    sys.exit(main())
