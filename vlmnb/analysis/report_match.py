"""A report's figures and our own measurements of the same cells.

Two records match if their cells agree in model, device, batch size, image size, prompt length and
optimization. Machine, weights, precision, data set, samples and answer length may differ. A checkpoint of
another geometry is another model: it matches too, but there is no ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from vlmnb.records.record import Record, by_cell
from vlmnb.records.reported import Quantity
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals

QUANTITIES: tuple[Quantity, ...] = ("latency_s", "energy_j_per_sample", "flops", "wer")
"""Quantities of a report that we measure too."""


class Ratio(NamedTuple):
    """Measured divided by reported, with the interval of what was measured; a report states none."""

    value: float
    ends: tuple[float, float] | None


class Match(NamedTuple):
    """A reported figure and our own measurement of it.

    Attributes:
        ratio: Measured divided by reported; None with a reason in ``refused``.
    """

    quantity: Quantity
    reported: Record
    own: Record
    ratio: Ratio | None
    refused: Literal["", "modelled", "another model"]


def matches(
    axis: str, cells: Sequence[Cell], reported: Sequence[Record], measured: Sequence[Record]
) -> list[Match]:
    """Return each figure of a report's table that was measured too, with the measurements."""
    found = by_cell(reported, axis)
    return [
        _match(quantity, found[cell], own)
        for cell in cells
        if cell in found
        for quantity in QUANTITIES
        for own in counterparts(found[cell], quantity, measured)
    ]


def counterparts(record: Record, quantity: Quantity, measured: Sequence[Record]) -> list[Record]:
    """Return the own measurements of a reported figure: the nearest of each machine, weights and geometry."""
    if not record.reported or record.reported.value(quantity) is None:
        return []
    own = [
        each for each in measured
        if not each.reported and each.status == "ok" and value(each, quantity) is not None
        and same_cell(record.cell, each.cell)
        and (quantity != "wer" or each.cell.dataset == record.cell.dataset)
    ]  # fmt: skip
    own.sort(key=lambda each: _nearness(record, each))
    nearest = {(each.hardware, each.cell.weights, each.provenance.geometry): each for each in own}
    return [nearest[place] for place in sorted(nearest)]


def same_cell(reported: Cell, own: Cell) -> bool:
    """Return whether an own cell is the reported one, except for what may differ."""
    same = ("model", "device", "batch_size", "image_size", "seq_len")
    return _extras(reported) == _extras(own) and all(
        getattr(reported, name) == getattr(own, name) for name in same
    )


def value(record: Record, quantity: Quantity) -> float | None:
    """Return a record's number for one of ``QUANTITIES``."""
    return record.flops_per_batch if quantity == "flops" else getattr(record, quantity)


def _match(quantity: Quantity, reported: Record, own: Record) -> Match:
    if own.provenance.geometry:
        return Match(quantity, reported, own, None, "another model")
    if quantity == "energy_j_per_sample" and own.energy_method == "model":
        return Match(quantity, reported, own, None, "modelled")
    number, theirs = value(own, quantity), value(reported, quantity)
    if number is None or not theirs:
        return Match(quantity, reported, own, None, "")
    ends = own.wer_interval if quantity == "wer" else None
    if quantity == "latency_s" and own.latency and own.latency.confidence >= intervals.ENOUGH:
        ends = (own.latency.low, own.latency.high)
    ratio = Ratio(number / theirs, (ends[0] / theirs, ends[1] / theirs) if ends else None)
    return Match(quantity, reported, own, ratio, "")


def _extras(cell: Cell) -> tuple[str, ...]:
    """Return the settings of an optimization without its precision."""
    return optimizations.parse(cell.optimization, cell.dtype).names


def _nearness(record: Record, own: Record) -> tuple[bool, bool, bool, bool, int, str]:
    """Return how near an own record is to a reported one; among equals the newest is nearest."""
    wanted, cell = record.cell, own.cell
    return (
        cell.dtype == wanted.dtype,
        cell.dataset == wanted.dataset,
        cell.dataset == f"{wanted.dataset}-mini",
        cell.length == wanted.length,
        -abs(cell.samples - wanted.samples),
        own.provenance.started_at,
    )
