"""In words: which setting's decoding comes nearest to the memory's ceiling, and what bounds a phase."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vlmnb.analysis.rates import Rate, Rates, Roof, rates, roof_of, roofs
from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting
from vlmnb.views import optimization_text

HALF = 0.5
"""A ceiling of which more than this share is reached bounds a phase; one of which less is, does not alone."""

LITTLE = 0.2
"""Below this share of both ceilings it is neither of them, whatever the shapes of the products are."""

label = partial(optimization_text.label, "optimization")
Known = list[tuple[Cell, Record, Rates, Roof]]


def text(cells: Sequence[Cell], records: Sequence[Record], drift: float = 0.0) -> str:
    """What the rates of some cells say, in sentences; empty where there are none.

    Args:
        cells: With answers of one kind of length.
        records: Their records.
        drift: Relative difference that two windows of one cell may show.
    """
    found = by_cell(records)
    shown = [found[cell] for cell in cells if cell in found and found[cell].status == "ok"]
    tops = roofs(shown)
    known: Known = []
    for record in shown:
        if roof := roof_of(record, tops):
            known.append((record.cell, record, rates(record, tops), roof))
    quiet = [each for each in known if not disturbed(each[1], each[3])]
    if not known:
        return ""
    if not quiet:
        return (
            "What bounds prefill and decoding, and which setting comes nearest to a ceiling, cannot be told: "
            "other processes used the machine while each setting, or its ceilings, was measured (†)."
        )
    return " ".join(
        filter(None, (_nearest(cells, quiet, drift, whole=len(quiet) == len(known)), _bounds(cells, quiet)))
    )


def disturbed(record: Record, roof: Roof) -> bool:
    """Whether others may have moved a record's shares."""
    return background_load.of_batches(record) or roof.flops.contaminated or roof.memory.contaminated


def _nearest(cells: Sequence[Cell], quiet: Known, drift: float, *, whole: bool) -> str:
    """The setting with the highest MBU, where intervals and drift tell it from every other."""
    with_ends = [(cell, own.mbu) for cell, _, own, _ in quiet if own.mbu and own.mbu.ends]
    if len(with_ends) < 2:
        return ""
    ordered = sorted(with_ends, key=lambda pair: -pair[1].value)
    (cell, best), others = ordered[0], ordered[1:]
    assert best.ends
    near = [
        label(other, cells) for other, mbu in others if mbu.ends and best.ends[0] <= mbu.ends[1] * (1 + drift)
    ]
    of = "" if whole else " among the settings that nobody disturbed"
    if near:
        return (
            f"Which setting's decoding comes nearest to the memory's ceiling{of} cannot be told: "
            f"{label(cell, cells)} reaches {_percent(best)} of it, and {'; '.join(near)} "
            "no less within intervals and drift between windows."
        )
    none = ", which is none, then" if best.value > 1 else ""
    return (
        f"Decoding comes nearest to the memory's ceiling{of} with {label(cell, cells)}: "
        f"{_percent(best)} of it{none}."
    )


def _bounds(cells: Sequence[Cell], quiet: Known) -> str:
    """What bounds both phases of the first setting of a page that nobody disturbed."""
    cell, _, own, _ = quiet[0]
    prefill = _bound(own.mfu, own.prefill_memory, "reads the weights")
    decode = _bound(own.decode_flops, own.mbu, "reads weights, keys and values")
    if not prefill or not decode:
        return ""
    return f"With {label(cell, cells)}, prefill {prefill}; decoding {decode}."


def _bound(flops: Rate | None, memory: Rate | None, reads: str) -> str:
    """What bounds a phase, by the shares of both ceilings that it reaches."""
    if flops is None or memory is None:
        return ""
    shares = (
        f"computes at {_percent(flops)} of the arithmetic's ceiling and {reads} at {_percent(memory)} of "
        "the memory's"
    )
    top, what = max((flops, "arithmetic"), (memory, "memory"), key=lambda pair: pair[0].value)
    if top.value > 1 or not flops.ends or not memory.ends:
        return f"{shares}: what bounds it cannot be told"
    most = max(flops.ends[1], memory.ends[1])
    if most < LITTLE:
        return f"{shares}: neither bounds it, but the cost of many small operations and of what lies between"
    if most < HALF:
        return f"{shares}: neither bounds it alone"
    return (
        f"{shares}: {what} bounds it"
        if top.ends and top.ends[0] > HALF
        else (f"{shares}: what bounds it cannot be told")
    )


def _percent(rate: Rate) -> str:
    span = f" [{formatting.percent(rate.ends[0])}, {formatting.percent(rate.ends[1])}]" if rate.ends else ""
    return f"{formatting.percent(rate.value)} %{span}"
