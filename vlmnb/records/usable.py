"""Which records a prediction can be fitted on; light, because the index of records asks it of each."""

from __future__ import annotations

from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell


def of(record: Record) -> tuple[str, str] | None:
    """The GPU's name by its driver and the quantization; None where no prediction can be fitted on it.

    It can on generation that was timed on a GPU, token by token, without compilation. A checkpoint of
    another geometry does another work than the model it is named after, by whose work a fit goes.
    """
    cell = record.cell
    if record.provenance.geometry:
        return None
    if record.status != "ok" or record.source != "measured" or cell.device != "cuda":
        return None
    kind = quantization_of(cell)
    if kind is None:
        return None
    reported = record.provenance.machine.get("gpus") or []
    if cell.measure != "generation" or not reported or not record.full_batches_s or not record.answers:
        return None
    return str(reported[0]["name"]), kind


def quantization_of(cell: Cell) -> str | None:
    """The quantization that a cell was measured under; None for one that no prediction is made for."""
    optimization = optimizations.of(cell)
    if optimization.compiled or optimization.decoding or optimization.dtype == "fp32":
        return None
    stored = [s.stored_as or None for s in optimization.settings if s.kind == "quantization"]
    return stored[0] if stored else "fp16"
