"""Records to one flat table in a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vlmnb import paths, store
from vlmnb.errors import UserError
from vlmnb.record import read_all
from vlmnb.rows import EXPORT_COLUMNS

FORMATS = ("csv", "json", "parquet", "codecarbon")


def frame(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """One row per record in the export's columns, and a message for each file that is no record."""
    with store.Index(results, rows=True) as index:
        return pd.DataFrame(index.rows(), columns=list(EXPORT_COLUMNS)), index.problems()


def emissions(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """codecarbon's rows as its own emissions.csv has them, one per record that has one.

    ``experiment_id`` is the record's key, so that a row can be found again. Energies are kWh of the whole
    window and, as codecarbon does, added up over what is counted and what is modelled: ``energy_consumed``
    and ``emissions`` are codecarbon's figures, and no table here uses them.
    """
    records, problems = read_all(results)
    rows = [{**record.codecarbon, "experiment_id": record.key} for record in records if record.codecarbon]
    return pd.DataFrame(rows), problems


def export_records(results: Path, output: Path, file_format: str) -> tuple[int, list[str]]:
    """Write all records of a folder; the file is replaced in one step.

    The format ``codecarbon`` writes codecarbon's emissions.csv, the others ``EXPORT_COLUMNS``.

    Returns:
        The number of rows, and a message for each file that is no record.

    Raises:
        UserError: There is no such folder, no record has what was asked for, or the file cannot be written.
    """
    if not results.is_dir():
        raise UserError(f"there are no records at {results}; measure some with: vlmnb sweep SPEC")
    table, problems = (emissions if file_format == "codecarbon" else frame)(results)
    if file_format == "codecarbon" and table.empty:
        raise UserError(
            f"no record at {results} has a row of codecarbon; measure some with: vlmnb sweep SPEC"
        )
    try:
        with paths.temporary_beside(output) as scratch:
            if file_format in ("csv", "codecarbon"):
                table.to_csv(scratch, index=False)
            elif file_format == "json":
                table.to_json(scratch, orient="records", indent=1, double_precision=15)
            else:
                table.to_parquet(scratch, index=False)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from None
    return len(table), problems
