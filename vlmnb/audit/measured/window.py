"""Rules over one record's clocks and neighbours: what holds a window, and who else was there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.device import machine
from vlmnb.records import background_load
from vlmnb.records.record import Record

CLOCK = 1e-6
"""Share by which a time may exceed the one that holds it: both are of one clock, in another order of sums."""

LEAST_OF_WINDOW = 0.9
"""Share of the window that its loop must take: the rest is opening and closing the meters, once a window."""

CLOSING_S = 0.25
"""Seconds beside the loop that are asked nothing of: counters are waited for at either end, at most a tenth
of a second each."""

CLOSING_DISTURBED_S = 1.0
"""The same where others used the machine: they may take the processor between two meters."""

BETWEEN = 0.02
"""Share of the loop that may lie between its batches where no counter is read there."""

BETWEEN_S = 0.02
"""The same in seconds, once: what the interpreter may tidy up."""

BETWEEN_BATCH_S = 0.001
"""The same for each batch: noting its samples takes a tenth of it."""

TICKS_S = 0.1
"""Seconds that passes and window may differ by in the load of others: CPU time is counted in ticks."""

TICKS = 0.05
"""The same as a share of the loop: a pass of others' negative load, by rounding, counts as none."""

PASSES = 0.2
"""Share of the load of passes that the window's may lack: it holds idle ends that no pass has."""


def window_holds_the_loop(records: Sequence[Record]) -> Iterator[Finding]:
    """Batches fit the loop, the loop the window of the meters, the window the time that the cell took."""
    for record in records:
        held = list(_held(record))
        for (inner, inner_s), (outer, outer_s) in pairwise(held):
            if inner_s > outer_s * (1 + CLOCK):
                yield finding(
                    "error",
                    [record],
                    {name: f"{seconds:.4g} s" for name, seconds in held},
                    f"The {inner} took longer than the {outer}, which held it: one of the times is wrong, or "
                    "in another unit.",
                    "Which of them cannot be told; the times of this record are in doubt.",
                )
                break
        else:
            yield from _too_short(record)


def batches_take_up_the_loop(records: Sequence[Record]) -> Iterator[Finding]:
    """Batches take nearly all of the loop: between them a number is noted, where no counter is read."""
    for record in records:
        timing = record.timing
        if timing is None or timing.loop_s is None or record.provenance.sensors:
            continue
        between_s = timing.loop_s - sum(timing.latencies_s)
        most_s = BETWEEN * timing.loop_s + BETWEEN_S + BETWEEN_BATCH_S * len(timing.latencies_s)
        if between_s > most_s and not background_load.of_window(record):
            yield finding(
                "warning",
                [record],
                {
                    "Loop": f"{timing.loop_s:.4g} s",
                    "Batches": f"{sum(timing.latencies_s):.4g} s",
                    "Between them": f"{between_s:.3g} s, {most_s:.3g} s at most expected",
                },
                "Between the batches passed more time than noting them takes: their times may be too short.",
                "What happened between them is not on record.",
            )


def others_are_marked(records: Sequence[Record]) -> Iterator[Finding]:
    """A pass or window is marked as disturbed where, and only where, others used more than they may."""
    for record in records:
        timing, conditions = record.timing, record.provenance.conditions
        told: dict[str, str] = {}
        if timing is not None and (timing.pass_loads or timing.contaminated):
            marked = [share is not None and machine.contaminated(share) for share in timing.pass_loads]
            if list(timing.contaminated) != marked or len(marked) != timing.passes:
                told["Passes"] = f"{timing.passes}, {len(marked)} with the load of others"
                told["Above what they may"] = str(sum(marked))
                told["Marked"] = str(sum(timing.contaminated))
        if conditions is not None:
            if conditions.contaminated != machine.contaminated(conditions.other_load):
                told["Window"] = "marked" if conditions.contaminated else "not marked"
                told["Load by others"] = f"{100 * conditions.other_load:.3g} %"
            if record.provenance.other_load not in (None, conditions.other_load):
                told["Load by others, told twice"] = ", ".join(
                    f"{100 * share:.3g} %"
                    for share in (conditions.other_load, record.provenance.other_load or 0.0)
                )
            passes_s, window_s = _others_s(record)
            if window_s is not None and passes_s > window_s:
                told["Others during the passes"] = f"{passes_s:.3g} s at least"
                told["During the window that held them"] = f"{window_s:.3g} s"
        if told:
            yield finding(
                "error",
                [record],
                told,
                "What others used and what is marked as disturbed do not agree: disturbed figures may stand "
                "here as clean ones.",
                "Whether the load or the mark is wrong cannot be told.",
            )


def _held(record: Record) -> Iterator[tuple[str, float]]:
    """Times of a record, each within the next, the innermost first."""
    timing, seconds, first_s = record.timing, record.provenance.seconds, 0.0
    if timing is not None:
        first_s = timing.first_call_s
        yield "batches", sum(timing.latencies_s)
        if timing.loop_s is not None:
            yield "loop", timing.loop_s
        if record.codecarbon.get("duration") is not None:
            yield "window of the meters", float(record.codecarbon["duration"])
    elif record.layers is not None:
        yield "passes", sum(record.layers.forward_s) + sum(record.layers.hooked_s)
    if seconds is not None:
        yield "cell after its first call" if timing else "cell", seconds - first_s


def _too_short(record: Record) -> Iterator[Finding]:
    """Whether the loop is much shorter than the window that was opened for it."""
    timing, window_s = record.timing, record.codecarbon.get("duration")
    if timing is None or timing.loop_s is None or window_s is None:
        return
    ends_s = CLOSING_DISTURBED_S if background_load.of_window(record) else CLOSING_S
    if timing.loop_s < LEAST_OF_WINDOW * float(window_s) - ends_s:
        yield finding(
            "error",
            [record],
            {"Loop": f"{timing.loop_s:.4g} s", "Window of the meters": f"{float(window_s):.4g} s"},
            "The loop takes much less than the window of the meters, which holds nothing else: times, or the "
            "window, are of something else.",
            "Which of them cannot be told; the times of this record are in doubt.",
        )


def _others_s(record: Record) -> tuple[float, float | None]:
    """Seconds of all cores that others used during the passes, at least, and during the whole window."""
    timing, conditions = record.timing, record.provenance.conditions
    window_s = record.codecarbon.get("duration")
    if timing is None or conditions is None or window_s is None or not timing.pass_loads:
        return 0.0, None
    each = len(timing.latencies_s) // timing.passes
    passes_s = [sum(timing.latencies_s[i * each : (i + 1) * each]) for i in range(timing.passes)]
    used_s = sum((share or 0.0) * taken for share, taken in zip(timing.pass_loads, passes_s, strict=False))
    least_s = used_s * (1 - PASSES) - TICKS_S - TICKS * sum(passes_s)
    return least_s, conditions.other_load * float(window_s)


RULES = rules("measured", (window_holds_the_loop, batches_take_up_the_loop, others_are_marked))
