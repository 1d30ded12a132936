"""Which records a prediction can be fitted on; light, because the index of records asks it of each."""

from __future__ import annotations

from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

QUANTIZATIONS = {"": "fp16", "bnb-4bit": "nf4", "bnb-8bit": "int8"}
"""Settings of a cell whose weights are stored as a quantization here says. torchao's formats are not."""


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
    setting = optimizations.parse(cell.optimization, cell.dtype)
    if setting.compiled or setting.decoding or setting.dtype == "fp32":
        return None
    return QUANTIZATIONS.get(setting.quantization)
