"""Records to one flat table in a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.record import EXPORT_COLUMNS, read_all, row

FORMATS = ("csv", "json", "parquet")


def frame(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """One row per record in the export's columns, and a message for each file that is no record."""
    records, problems = read_all(results)
    return pd.DataFrame([row(record) for record in records], columns=list(EXPORT_COLUMNS)), problems


def export_records(results: Path, output: Path, file_format: str) -> tuple[int, list[str]]:
    """Write all records of a folder; the file is replaced in one step.

    Returns:
        The number of rows, and a message for each file that is no record.

    Raises:
        UserError: There is no such folder, or the file cannot be written.
    """
    if not results.is_dir():
        raise UserError(f"there are no records at {results}; measure some with: vlmnb sweep SPEC")
    table, problems = frame(results)
    try:
        with paths.temporary_beside(output) as scratch:
            if file_format == "csv":
                table.to_csv(scratch, index=False)
            elif file_format == "json":
                table.to_json(scratch, orient="records", indent=1, double_precision=15)
            else:
                table.to_parquet(scratch, index=False)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from None
    return len(table), problems
