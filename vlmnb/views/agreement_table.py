"""The table of how many answers are those of the reference run."""

from __future__ import annotations

from vlmnb.analysis.agreement import Matrix, agreement
from vlmnb.data import catalogue
from vlmnb.records.record import Record
from vlmnb.spec.optimizations import DTYPES
from vlmnb.views import fields
from vlmnb.views.table import Field, Table, missing, without
from vlmnb.views.templates import say


def table(found: Matrix) -> Table:
    """Make a table of identical answers: rows by batch size, columns by optimization."""
    rows = tuple(
        (
            Field(str(size)),
            *(_identical(found.reference, found.runs.get((size, name))) for name in found.optimizations),
        )
        for size in found.sizes
    )
    cell = found.reference.cell
    caption = say(
        "answers", "matrix", title=catalogue.get(cell.dataset).title, cell=cell, recorded=len(found.runs),
        total=len(found.sizes) * len(found.optimizations),
        attention="eager attention" if cell.optimization in DTYPES else cell.optimization,
    )  # fmt: skip
    return Table(caption, ("Batch size", *found.optimizations), rows)


def _identical(reference: Record, record: Record | None) -> Field:
    if record is None or record.status != "ok" or not record.has_quality:
        return missing(record, "answers of random weights have no quality")
    try:
        found = agreement(reference, record)
    except ValueError as error:
        return without(str(error), record.key)
    if record.key == reference.key:
        return Field("reference", f"{found.total} answers", record.key, words=True)
    parts = [f"{found.total - found.identical} of {found.total} answers differ"]
    parts += [f"WER between the answers {found.wer:.3f}"] if found.wer is not None else []
    if found.gained is not None:
        parts += [f"score higher in {found.gained}, lower in {found.lost}"]
    return fields.share(found.share, (found.low, found.high), "; ".join(parts), record.key, " %")
