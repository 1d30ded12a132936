"""Check what each clock of a record contains, and the background load during its window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from vlmnb.audit.rule import Draft, found, record_rule, rule
from vlmnb.device.load import is_high
from vlmnb.records.record import Record
from vlmnb.stats.formatting import counted

CLOCK = 1e-6
"""Share by which a time may exceed the one that contains it: one clock, summed in another order."""

LEAST_OF_WINDOW = 0.9
"""Share of the window that its loop must take: the rest is opening and closing the meters, once a window."""

CLOSING_S = 0.25
"""Seconds outside the loop that no rule judges: at either end counters take at most 0.1 s each."""

CLOSING_LOADED_S = 1.0
"""The same under background load: other processes may take the processor between two meters."""

BETWEEN = 0.02
"""Share of the loop that may lie between its batches where no counter is read there."""

BETWEEN_S = 0.02
"""The same in seconds, once: what the interpreter may tidy up."""

BETWEEN_BATCH_S = 0.001
"""The same for each batch: noting its samples takes a tenth of it."""

TICKS_S = 0.1
"""Seconds that the background load of passes and window may differ by: CPU time is counted in ticks."""

TICKS = 0.05
"""The same as a share of the loop: where rounding makes the load of a pass negative, it counts as none."""

PASSES = 0.2
"""Share by which the load of the window may be below that of its passes: only the window has idle ends."""


@record_rule
def window_holds_the_loop(record: Record) -> Iterator[Draft]:
    """Batches fit into the loop, the loop into the window of the meters, the window into the cell's time."""
    times = list(_nested_times(record))
    for (inner, inner_s), (outer, outer_s) in pairwise(times):
        if inner_s > outer_s * (1 + CLOCK):
            figures = {name: f"{seconds:.4g} s" for name, seconds in times}
            yield found("inner is longer", figures=figures, inner=inner, outer=outer)
            return
    timing, window_s = record.timing, record.codecarbon.get("duration")
    if timing is None or window_s is None:
        return
    if timing.loop_s < LEAST_OF_WINDOW * float(window_s) - closing_s(record):
        yield found("short loop", loop_s=timing.loop_s, window_s=float(window_s))


@record_rule
def batches_take_up_the_loop(record: Record) -> Iterator[Draft]:
    """Batches take nearly all of the loop: where no counter is read, only a number is noted between them."""
    timing = record.timing
    if timing is None or record.provenance.sensors:
        return
    taken_s = sum(timing.latencies_s)
    between_s = timing.loop_s - taken_s
    most_s = BETWEEN * timing.loop_s + BETWEEN_S + BETWEEN_BATCH_S * len(timing.latencies_s)
    if between_s > most_s and not record.window_under_load:
        yield found(loop_s=timing.loop_s, taken_s=taken_s, between_s=between_s, most_s=most_s)


@record_rule
def others_are_marked(record: Record) -> Iterator[Draft]:
    """A pass or window is marked where, and only where, the background load was above the limit."""
    timing, conditions = record.timing, record.provenance.conditions
    figures: dict[str, str] = {}
    if timing is not None:
        marked = [is_high(share) for share in timing.pass_loads]
        if list(timing.contaminated) != marked or len(marked) != timing.passes:
            figures["Passes"] = f"{timing.passes}, {len(marked)} with their background load"
            figures |= {"Above the limit": str(sum(marked)), "Marked": str(sum(timing.contaminated))}
    if conditions is not None:
        load, again = conditions.other_load, record.provenance.other_load
        if conditions.contaminated != is_high(load):
            figures["Window"] = "marked" if conditions.contaminated else "not marked"
            figures["Background load"] = f"{100 * load:.3g} %"
        if again not in (None, load):
            figures["Background load, recorded twice"] = f"{100 * load:.3g} %, {100 * (again or 0.0):.3g} %"
        passes_s, window_s = _background_s(record)
        if window_s is not None and passes_s > window_s:
            figures["Background work during the passes"] = f"{passes_s:.3g} s at least"
            figures["During the window around them"] = f"{window_s:.3g} s"
    if figures:
        yield found(figures=figures)


@rule("measured")
def window_was_undisturbed(records: Sequence[Record]) -> Iterator[Draft]:
    """No background load while a cell was timed, and no throttled clocks."""
    busy = [r for r in records if r.window_under_load]
    timed = [r for r in busy if r.timing and not r.batches_under_load]
    cases = {"": [r for r in busy if r not in timed], ", times without it": timed}
    for case, own in cases.items():
        if own:
            load = median(r.provenance.other_load or 0.0 for r in own)
            yield found(
                f"background load{case}", own, cells=_timed(own), counts=[len(own), len(records)], load=load
            )
    for cause in sorted({cause for r in records for cause in _throttled_s(r)}):
        slow = [r for r in records if cause in _throttled_s(r)]
        longest_s, name = max(_throttled_s(r)[cause] for r in slow), cause.replace("_", " ")
        cells, counts = _timed(slow), [len(slow), len(records)]
        yield found("throttled", slow, cells=cells, counts=counts, longest_s=longest_s, cause=name)


def closing_s(record: Record) -> float:
    """Return the seconds that opening and closing the meters may take."""
    return CLOSING_LOADED_S if record.window_under_load else CLOSING_S


def _nested_times(record: Record) -> Iterator[tuple[str, float]]:
    """Yield times of a record, each contained in the next, the innermost first."""
    timing, seconds = record.timing, record.provenance.seconds
    if timing is not None:
        yield "batches", sum(timing.latencies_s)
        yield "loop", timing.loop_s
        if record.codecarbon.get("duration") is not None:
            yield "window of the meters", float(record.codecarbon["duration"])
        if seconds is not None:
            yield "cell after its first call", seconds - timing.first_call_s
    elif record.layers is not None and seconds is not None:
        yield "passes", sum(record.layers.forward_s) + sum(record.layers.hooked_s)
        yield "cell", seconds
    elif record.reused is not None and seconds is not None:
        yield "questions", sum(sum(asked.question_s) for asked in (record.reused.plain, record.reused.kept))
        yield "cell", seconds
    elif record.preprocessing is not None and seconds is not None:
        rounds_s = sum(sum(way.round_s) for way in record.preprocessing.ways)
        yield "rounds and batches", rounds_s + sum(record.preprocessing.model_s)
        yield "cell", seconds


def _background_s(record: Record) -> tuple[float, float | None]:
    """Return core seconds of background processes: during the passes, at least, and during the window."""
    timing, conditions = record.timing, record.provenance.conditions
    window_s = record.codecarbon.get("duration")
    if timing is None or conditions is None or window_s is None:
        return 0.0, None
    loads = zip(timing.pass_loads, timing.passes_s, strict=False)
    used_s = sum((share or 0.0) * taken for share, taken in loads)
    least_s = used_s * (1 - PASSES) - TICKS_S - TICKS * sum(timing.passes_s)
    return least_s, conditions.other_load * float(window_s)


def _throttled_s(record: Record) -> dict[str, float]:
    return record.provenance.conditions.throttled_s if record.provenance.conditions else {}


def _timed(records: Sequence[Record]) -> str:
    return f"{counted(len(records), 'cell')} {'was' if len(records) == 1 else 'were'}"
