"""All rows of a folder as one table: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from smdtheory.files import canonical, write_atomically
from smdtheory.store.cell import Row
from smdtheory.store.survey import Survey

ENDINGS = (".csv", ".parquet")


def export(found: Survey, to: Path) -> None:
    """Write the rows of a folder, those of the newest numerics, to a file.

    Args:
        found: what the folder holds.
        to: a .csv or .parquet file; numbers are written so that they read back the same, and what
            does not exist is empty.

    Raises:
        ValueError: for another ending, or a folder that does not exist.
        ImportError: for Parquet without pyarrow.
        OSError: if the file cannot be written.
    """
    rows = sorted(found.rows.values(), key=canonical_place)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    ending = to.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"a table must end in {' or '.join(ENDINGS)}; received {to}")
    if not to.parent.is_dir():
        raise ValueError(
            f"a table must be in a folder that exists; received {to}, and {to.parent} is none. "
            "Make it, or name another."
        )
    content = _csv(columns, rows) if ending == ".csv" else _parquet(columns, rows)
    write_atomically(to, content)


def canonical_place(row: Row) -> str:
    """The place of a row: that of its words and whole numbers, whenever it was computed.

    Example:
        >>> canonical_place({"arm": "full", "steps": 3, "seconds": 0.1})
        '{"arm":"full","steps":"0000000003"}'
    """
    return canonical(
        {
            name: f"{value:010d}" if isinstance(value, int) else value
            for name, value in row.items()
            if isinstance(value, str | int)
        }
    )


def _csv(columns: list[str], rows: list[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(name) for name in columns] for row in rows)
    return out.getvalue()


def _parquet(columns: list[str], rows: list[Row]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed. Install it, or write a .csv file."
        ) from error
    table = {name: _alike([row.get(name) for row in rows]) for name in columns}
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(table), out)
    return out.getvalue()


def _alike(values: list[object]) -> list[object]:
    """The values of a column as one type: a column of Parquet has no more."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1:
        return values
    kind = float if kinds <= {int, float, bool} else str
    return [None if value is None else kind(value) for value in values]  # type: ignore[arg-type]
