"""Records to one flat table in a file."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.records import store
from vlmnb.records.export_columns import EXPORT_COLUMNS
from vlmnb.records.record import read_all

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = 1_000
"""Rows that are made columns at a time: few enough to stay near the processor."""

FORMATS = ("csv", "json", "parquet", "codecarbon")


def emissions(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """codecarbon's rows as its own emissions.csv has them, one per record that has one.

    ``experiment_id`` is the record's key, so that a row can be found again. Energies are kWh of the whole
    window and, as codecarbon does, added up over what is counted and what is modelled: ``energy_consumed``
    and ``emissions`` are codecarbon's figures, and no table here uses them.
    """
    import pandas as pd  # here, because importing it takes as long as a small export

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
    if not output.parent.is_dir():  # more likely mistyped than wanted
        raise UserError(f"cannot write {output}: there is no folder {output.parent}; make it first")
    try:
        with paths.temporary_beside(output) as scratch:
            if file_format == "codecarbon":
                return _write_emissions(results, scratch)
            with store.uncollected(), store.Index(results, rows=True) as index:
                return _write_rows(index, scratch, file_format), index.problems()
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from None


def _write_emissions(results: Path, scratch: Path) -> tuple[int, list[str]]:
    table, problems = emissions(results)
    if table.empty:
        raise UserError(
            f"no record at {results} has a row of codecarbon; measure some with: vlmnb sweep SPEC"
        )
    table.to_csv(scratch, index=False)
    return len(table), problems


def _write_rows(index: store.Index, scratch: Path, file_format: str) -> int:
    """Write what the index holds, row by row, as its numbers are; the number of rows."""
    if file_format == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        rows = index.rows()
        parts = [pa.table(dict.fromkeys(EXPORT_COLUMNS, pa.array([])))]
        while some := list(itertools.islice(rows, TOGETHER)):
            columns = map(pa.array, zip(*some, strict=True))
            parts.append(pa.table(dict(zip(EXPORT_COLUMNS, columns, strict=True))))
        # A column may be empty, or of whole numbers, in one part and not in the next.
        table = pa.concat_tables(parts, promote_options="permissive")
        parquet.write_table(table, scratch)
        return int(table.num_rows)
    count = 0
    with scratch.open("w", encoding="utf-8", newline="") as file:
        if file_format == "csv":
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(EXPORT_COLUMNS)
        for count, values in enumerate(index.rows(), start=1):
            if file_format == "csv":
                lines.writerow(values)
            else:
                file.write("[\n" if count == 1 else ",\n")
                row = dict(zip(EXPORT_COLUMNS, values, strict=True))
                file.write(to_json(row).decode())
        if file_format == "json":
            file.write("\n]\n" if count else "[]\n")
    return count
