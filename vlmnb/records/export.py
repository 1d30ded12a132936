"""Write records to one flat table in a file."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from pydantic_core import from_json, to_json

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.files import cores
from vlmnb.records import record_file, store
from vlmnb.records.export_columns import EXPORT_COLUMNS

FORMATS = {
    "csv": ".csv", "json": ".json", "parquet": ".parquet",
    "codecarbon": ".csv", "croissant": ".json", "model-index": ".md",
}  # fmt: skip
"""Formats, and the ending of the file that each writes."""


AT_ONCE = 1_000
"""Rows that a core writes at a time."""


def format_of(output: Path, asked: str) -> str:
    """Return the format to write a file in: the one that is asked for, else by the file's ending, else csv.

    Raises:
        UserError: The format is unknown, or the ending is another format's.
    """
    ending = output.suffix.lower()
    if not asked:
        return next((name for name in FORMATS if FORMATS[name] == ending), "csv")
    if asked not in FORMATS:
        raise UserError(f"unknown format {asked!r}; known: {', '.join(FORMATS)}")
    if ending in FORMATS.values() and ending != FORMATS[asked]:
        raise UserError(f"{output} is no name for {asked}: end it in {FORMATS[asked]} or change --format")
    return asked


def export_records(results: Path, output: Path, file_format: str) -> tuple[int, list[str]]:
    """Write all records of a folder to one file, which is replaced in one step.

    The format ``codecarbon`` writes codecarbon's emissions.csv, ``croissant`` the description of a CSV file
    that it writes beside it, ``model-index`` the evaluation results of model cards on the Hub; the others
    write ``EXPORT_COLUMNS``.

    Returns:
        The number of rows, and a message for each file that is no record.

    Raises:
        UserError: There is no such folder, no record has a row of codecarbon, or the file cannot be written.
    """
    if not results.is_dir():
        raise UserError(f"there are no records at {results}; measure some with: vlmnb sweep SPEC")
    if not output.parent.is_dir():  # more likely mistyped than wanted
        raise UserError(f"cannot write {output}: there is no folder {output.parent}; make it first")
    try:
        with paths.temporary_beside(output) as scratch:
            if file_format == "codecarbon":
                return _write_codecarbon(results, scratch)
            if file_format == "model-index":
                from vlmnb.records import described  # a table does without it, and starts sooner

                return described.write_model_index(results, scratch)
            if file_format == "croissant":
                from vlmnb.records import described

                table = output.with_suffix(".csv")
                count, problems = export_records(results, table, "csv")
                scratch.write_text(described.croissant(table), encoding="utf-8")
                return count, problems
            with store.Index(results, export=True) as index:
                write = {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}[file_format]
                return write(index.export(), scratch), index.problems()
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from None


def _write_codecarbon(results: Path, scratch: Path) -> tuple[int, list[str]]:
    """Write codecarbon's rows as its own emissions.csv has them; ``experiment_id`` is the record's key.

    Energies are kWh of the whole window and, as codecarbon does, sums of what is counted and what is
    modelled: ``energy_consumed`` and ``emissions`` are codecarbon's figures, and no table here uses them.
    """
    import pandas as pd  # importing it takes as long as a small export

    records, damaged = record_file.read_all(results)
    rows = [{**record.codecarbon, "experiment_id": record.key} for record in records if record.codecarbon]
    if not rows:
        raise UserError(
            f"no record at {results} has a row of codecarbon; measure some with: vlmnb sweep SPEC"
        )
    pd.DataFrame(rows).to_csv(scratch, index=False)
    return len(rows), [*map(str, damaged)]


def _write_csv(rows: Iterator[str], scratch: Path) -> int:
    with scratch.open("w", encoding="utf-8", newline="") as file:
        file.write(_csv_lines([to_json(EXPORT_COLUMNS).decode()])[1])
        return _write(rows, _csv_lines, file)


def _csv_lines(rows: list[str]) -> tuple[int, str]:
    made = io.StringIO(newline="")
    csv.writer(made, lineterminator="\n").writerows(map(from_json, rows))
    return len(rows), made.getvalue()


def _write_json(rows: Iterator[str], scratch: Path) -> int:
    with scratch.open("w", encoding="utf-8") as file:
        file.write("[")
        count = _write(rows, _json_lines, file, between=",")
        file.write("\n]\n")
    return count


def _json_lines(rows: list[str]) -> tuple[int, str]:
    made = (to_json(dict(zip(EXPORT_COLUMNS, values, strict=True))) for values in map(from_json, rows))
    return len(rows), ",".join(f"\n{line.decode()}" for line in made)


def _write(
    rows: Iterator[str], lines: Callable[[list[str]], tuple[int, str]], file: TextIO, between: str = ""
) -> int:
    """Write the lines that are made of rows, many on all cores; return the number of rows."""
    begin = list(itertools.islice(rows, AT_ONCE))
    every, total = itertools.chain(begin, rows), 0
    for count, text in cores.mapped(lines, every, AT_ONCE, alone=len(begin) < AT_ONCE):
        file.write(between * bool(total) + text)
        total += count
    return total


def _write_parquet(rows: Iterator[str], scratch: Path) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    parts = [pa.table({name: [] for name in EXPORT_COLUMNS})]  # Arrow holds rows in less memory than Python
    while some := [from_json(row) for row in itertools.islice(rows, AT_ONCE)]:
        columns = map(pa.array, zip(*some, strict=True))
        parts.append(pa.table(dict(zip(EXPORT_COLUMNS, columns, strict=True))))
    table = pa.concat_tables(parts, promote_options="permissive")
    parquet.write_table(table, scratch)
    return int(table.num_rows)
