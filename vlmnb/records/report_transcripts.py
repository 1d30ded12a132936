"""Turn the transcribed reports of ``reports/`` into records of source ``reports``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from vlmnb import paths
from vlmnb.errors import Damaged, UserError
from vlmnb.files import hashing, plain_yaml
from vlmnb.records import record, record_file
from vlmnb.records.parts import Provenance
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Kind, Quantity, Remark, Reported
from vlmnb.spec import axes, planning, sweep_file
from vlmnb.spec.cell import Cell
from vlmnb.types import Frozen, Slug, Status

BLANKS = ("-", "null")
NO_REASON = "blank in the report, which gives no reason"

ROWS = {
    "GPU": "cuda", "CPU": "cpu", "fp16": "fp16", "Compile": "compile",
    "Flash Attention 2": "flash_attention_2", "Eagle": "fp16", "Flash": "flash_attention_2", "-": "fp16",
}  # fmt: skip
"""Meaning of row labels that are no numbers. The log's only block without a label is fp16."""

_PREFIXES = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}


class Column(Frozen):
    """A column as printed; ``dataset`` if the table has columns of several data sets."""

    heading: str
    quantity: Quantity
    unit: str
    dataset: Slug | None = None


class Row(Frozen):
    """A row as printed, one figure per column; why it is blank, if the source gives a reason."""

    row: str
    printed: tuple[str, ...]
    dataset: Slug | None = None
    status: Status | None = None
    reason: str = ""


class Sheet(Frozen):
    """One table of a source.

    Attributes:
        axis: The page it belongs to.
        parameters: Values in its header, by the names of notebook parameters.
        model: The model, if it differs from the file's.
    """

    heading: str
    axis: Slug
    parameters: dict[str, Any]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    model: Slug | None = None
    remarks: tuple[str, ...] = ()


class Transcript(Frozen):
    """One transcribed source.

    Attributes:
        quality_batch_size: Batch size that its heading states for all figures of quality.
    """

    file: str
    kind: Kind
    model: Slug
    checkpoint: str
    samples: int = Field(ge=1)
    quality_batch_size: int | None = None
    tables: tuple[Sheet, ...]


class _CellRow(NamedTuple):
    """The part of one table row that is about one cell."""

    cell: Cell
    figures: tuple[Figure, ...]
    remarks: tuple[Remark, ...]
    status: Status | None
    reason: str


def load(folder: Path) -> list[Transcript]:
    """Read all transcripts of a folder, reports before logs.

    Raises:
        UserError: A file is not a valid transcript; the message names the place.
    """
    found = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            found.append(Transcript.model_validate(plain_yaml.load(path)))
        except ValidationError as error:
            raise UserError(f"{path}: {sweep_file.explain(error, Transcript.model_fields)}") from None
    return sorted(found, key=lambda transcript: (transcript.kind == "log", transcript.file))


def records(transcripts: list[Transcript]) -> list[Record]:
    """Return one record for each cell in any source, with all that is printed about it."""
    by_cell: dict[Cell, list[_CellRow]] = {}
    for transcript in transcripts:
        for row in _cell_rows(transcript):
            by_cell.setdefault(row.cell, []).append(row)
    return [_record(cell, rows) for cell, rows in by_cell.items()]


def write(results: Path) -> int:
    """Make the records below ``results/reports`` those of all transcripts, and return their number.

    Raises:
        UserError: A transcript cannot be read.
    """
    missing = {one.key: one for one in records(load(paths.transcripts()))}
    number = len(missing)
    for path in record_file.all_paths(results, hardware=record.REPORTS):
        with contextlib.suppress(Damaged):
            if record_file.read(path) == missing.get(path.stem):
                del missing[path.stem]
                continue
        if path.stem not in missing:
            path.unlink()
    for one in missing.values():
        record_file.write(one, results)
    return number


def number(printed: str) -> float | None:
    """Return a printed figure in SI units; None for a blank.

    >>> number("11.03 T"), number("617.84 GFLOPS"), number("-")
    (11030000000000.0, 617840000000.0, None)

    Raises:
        UserError: It is neither a number nor a blank.
    """
    if printed in BLANKS:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?: ([kMGTP]?)(?:FLOPS)?)?", printed)
    if not found:
        raise UserError(f"{printed!r} is not a figure of a report: a number with an SI prefix, - or null")
    return float(Decimal(found[1]).scaleb(_PREFIXES[found[2] or ""]))


def _cell_rows(transcript: Transcript) -> Iterator[_CellRow]:
    for sheet in transcript.tables:
        remarks = tuple(Remark(axis=sheet.axis, text=text) for text in sheet.remarks)
        for row in sheet.rows:
            if sheet.columns and len(row.printed) != len(sheet.columns):
                place = f"{transcript.file}, {sheet.heading}, {row.row}"
                raise UserError(f"{place}: {len(row.printed)} figures, {len(sheet.columns)} columns")
            default = row.dataset or sheet.parameters.get("dataset")
            names = dict.fromkeys(column.dataset or default for column in sheet.columns) or {default: None}
            for name in map(str, names):
                cell = _cell(transcript, sheet, row, name)
                yield _CellRow(cell, _figures(transcript, sheet, row, name), remarks, row.status, row.reason)


def _figures(transcript: Transcript, sheet: Sheet, row: Row, dataset: str) -> tuple[Figure, ...]:
    return tuple(
        Figure(
            file=transcript.file, kind=transcript.kind, table=sheet.heading, axis=sheet.axis, row=row.row,
            column=column.heading, quantity=column.quantity, unit=column.unit, printed=printed,
            value=number(printed),
        )
        for column, printed in zip(sheet.columns, row.printed, strict=True)
        if column.dataset in (None, dataset)
    )  # fmt: skip


def _cell(transcript: Transcript, sheet: Sheet, row: Row, dataset: str) -> Cell:
    axis = axes.get(sheet.axis)
    value = ROWS[row.row] if row.row in ROWS else int(row.row)
    given = {"model": sheet.model or transcript.model, "source": "reports", "samples": transcript.samples}
    given |= {name: setting for name, setting in sheet.parameters.items() if name != "dataset"}
    given |= {"datasets": [dataset]} if axis.several_datasets else {"dataset": dataset}
    (cell,) = planning.plan(axis.name, given | {axis.values: [value]}).cells
    return cell


def _record(cell: Cell, rows: list[_CellRow]) -> Record:
    figures = tuple(figure for row in rows for figure in row.figures)
    remarks = tuple(dict.fromkeys(remark for row in rows for remark in row.remarks))
    status: Status = "ok"
    reason = ""
    if all(figure.value is None for figure in figures):
        stated = ((row.status, row.reason) for row in rows if row.status)
        status, reason = next(stated, ("unstated", NO_REASON))
    return Record(
        key=hashing.digest({"source": "reports", "cell": cell.model_dump()}),
        source="reports",
        hardware=record.REPORTS,
        cell=cell,
        status=status,
        reason=reason,
        reported=Reported(figures=figures, remarks=remarks),
        provenance=Provenance(code=""),
    )
