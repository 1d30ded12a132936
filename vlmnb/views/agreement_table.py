"""Tables and sentences on how many answers are those of the reference run."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis.agreement import ByBatch, Matrix, agreement
from vlmnb.data import catalogue
from vlmnb.records.record import Record
from vlmnb.spec.optimizations import DTYPES
from vlmnb.views import fields
from vlmnb.views.table import Field, Table, missing, without


def table(found: Matrix) -> Table:
    """Make a table of identical answers: rows by batch size, columns by optimization."""
    rows = tuple(
        (
            Field(str(size)),
            *(_identical(found.reference, found.runs.get((size, name))) for name in found.optimizations),
        )
        for size in found.sizes
    )
    return Table(_caption(found), ("Batch size", *found.optimizations), rows)


def text(found: Sequence[ByBatch]) -> str:
    """Return a Markdown list: for each precision, whether answers and errors depend on the batch size."""
    lines = [f"- {each.optimization}: {_by_batch(each)}" for each in found]
    return "\n".join(lines) or "- No cell of this page could be measured on this machine."


def _by_batch(found: ByBatch) -> str:
    if not found.others:
        return "fewer than two batch sizes could be measured."
    each = list(found.others.values())
    total, low = each[0].total, min(one.low for one in each)
    wer = f"{min(found.wers):.3f}"
    wer += f" to {max(found.wers):.3f}" if max(found.wers) > min(found.wers) else " at every size"
    if all(one.identical == total for one in each):
        kept = f"all {total} are"
        said = (
            f"no answer of {total} depends on the batch size (of other questions, up to "
            f"{100 * (1 - low):.2g} % still might)"
        )
    else:
        kept = f"{', '.join(str(one.identical) for one in each)} of {total} are"
        said = "answers depend on the batch size"
    sizes = ", ".join(map(str, found.others))
    return f"{said}. At batch {sizes}, {kept} those of batch {found.reference}; WER is {wer}."


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


def _caption(found: Matrix) -> str:
    cell, recorded = found.reference.cell, len(found.runs)
    attention = "eager attention" if cell.optimization in DTYPES else cell.optimization
    title = catalogue.get(cell.dataset).title
    caption = (
        f"Answers identical to those of the reference run, on {title}, with 95 % intervals. Reference: batch "
        f"{cell.batch_size}, {cell.dtype}, {attention}"
    )
    caption += "" if cell.batch_size == 1 else " (no run at batch 1 is on record)"
    if recorded < found.total:
        return f"{caption}. Partial: {recorded} of {found.total} combinations are on record."
    return f"{caption}."
