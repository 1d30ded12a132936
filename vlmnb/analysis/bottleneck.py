"""What limits prefill and decoding, and which setting comes nearest to the memory's peak rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from vlmnb.analysis.rates import Rate, Rates, peaks, peaks_of, rates
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell

HALF = 0.5
"""A phase above this share of a peak rate is limited by it; below it, it is not limited by that alone."""

LITTLE = 0.2
"""A phase below this share of both peak rates is limited by neither, whatever the shapes of its products."""

Limit = Literal["arithmetic", "memory", "neither alone", "neither", "not known"]


class Nearest(NamedTuple):
    """The setting that reads the memory fastest, and those that cannot be distinguished from it."""

    cell: Cell
    mbu: Rate
    alike: list[Cell]


class Phase(NamedTuple):
    """The shares of both peak rates that a phase reaches, and which of them limits it."""

    flops: Rate
    memory: Rate
    limit: Limit


class Bottleneck(NamedTuple):
    """What the rates of some cells show.

    Attributes:
        measured: Number of cells with rates.
        quiet: Cells whose rates no background load disturbed; prefill and decoding are those of the first.
        nearest: The setting that reads the memory fastest; None for fewer than two settings.
    """

    measured: int
    quiet: list[Cell]
    nearest: Nearest | None
    prefill: Phase | None
    decode: Phase | None


def bottleneck(cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = 0.0) -> Bottleneck:
    """Compare the rates of cells that have answers of one kind of length."""
    found = by_cell(records)
    shown = [found[cell] for cell in cells if cell in found and found[cell].status == "ok"]
    known = peaks(shown)
    tops = [(record, top) for record in shown if (top := peaks_of(record, known))]
    quiet = {
        record.cell: rates(record, known)
        for record, top in tops
        if not (record.batches_under_load or top.flops.contaminated or top.memory.contaminated)
    }
    first = next(iter(quiet.values()), Rates())
    return Bottleneck(
        measured=len(tops),
        quiet=list(quiet),
        nearest=_nearest(quiet, noise_floor),
        prefill=_phase(first.mfu, first.prefill_memory),
        decode=_phase(first.decode_flops, first.mbu),
    )


def _nearest(quiet: dict[Cell, Rates], noise_floor: float) -> Nearest | None:
    known = [(cell, own.mbu) for cell, own in quiet.items() if own.mbu and own.mbu.ends]
    if len(known) < 2:
        return None
    (cell, best), *others = sorted(known, key=lambda pair: -pair[1].value)
    least = best.ends[0] if best.ends else best.value
    alike = [other for other, mbu in others if mbu.ends and least <= mbu.ends[1] * (1 + noise_floor)]
    return Nearest(cell, best, alike)


def _phase(flops: Rate | None, memory: Rate | None) -> Phase | None:
    if flops is None or memory is None:
        return None
    return Phase(flops, memory, _limit(flops, memory))


def _limit(flops: Rate, memory: Rate) -> Limit:
    top = max(flops, memory, key=lambda rate: rate.value)
    if top.value > 1 or not flops.ends or not memory.ends or not top.ends:
        return "not known"
    most = max(flops.ends[1], memory.ends[1])
    if most < LITTLE:
        return "neither"
    if most < HALF:
        return "neither alone"
    if top.ends[0] <= HALF:
        return "not known"
    return "arithmetic" if top is flops else "memory"
