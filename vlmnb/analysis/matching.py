"""Two records with times that may be divided by one another: of the same turns, or of two windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vlmnb.records.parts import Shown, of_window
from vlmnb.records.record import Record
from vlmnb.stats import intervals
from vlmnb.stats.intervals import Floats

Times = Callable[[Record], Sequence[float]]


class Matched(NamedTuple):
    """Two records with times that may be divided by one another.

    Attributes:
        low: The first, as the same turns or its own window timed it.
        high: The second.
        turns: The two as each of the turns that they took with one another timed them; empty for windows.
        shown: Whether these are the times that the page shows of both.
    """

    low: Record
    high: Record
    turns: list[tuple[Record, Record]]
    shown: bool


def in_window(record: Record) -> Record:
    """Return a record with the times of its own window."""
    return record.model_copy(update={"timing": of_window(record.timing)})


def alike(records: Sequence[Record]) -> list[Record]:
    """Return records with times that have an order: as shown if all took the same turns, else of windows."""
    taken = {record.timing.turns for record in records if record.timing}
    return list(records) if len(taken) < 2 else list(map(in_window, records))


def alone(record: Record) -> bool:
    """Return whether a record shows its own window beside others that show turns."""
    return isinstance(record.timing, Shown) and not record.timing.turns


def together(one: Record, other: Record) -> list[tuple[Record, Record]]:
    """Return two records as each of the turns that they took together timed them, the oldest first."""
    mine, theirs = (_by_turns(record) for record in (one, other))
    return [(mine[name], theirs[name]) for name in mine if name in theirs]


def _by_turns(record: Record) -> dict[str, Record]:
    timing = record.timing
    if not isinstance(timing, Shown):
        return {timing.turns: record} if timing and timing.turns else {}
    made = {}
    for each in timing.each:
        beside = Shown.model_construct(**dict(each), window=timing.window, each=timing.each)
        made[each.turns] = record.model_copy(update={"timing": beside})
    return made


def latencies(record: Record) -> Sequence[float]:
    """Return the seconds of every timed batch."""
    return record.timing.latencies_s if record.timing else ()


def matched(low: Record, high: Record) -> Matched:
    """Return two records with the times by which they are compared.

    These are of the turns that both show, else of the latest that they took with one another, else of the
    window of each. Turns count whose batches can be paired, if there are any.
    """
    every = together(low, high)
    shared = [pair for pair in every if _paired(*pair)] or every
    if not shared:
        windows = in_window(low), in_window(high)
        return Matched(*windows, [], not any(turns_of(record) for record in (low, high)))
    shown = [pair for pair in shared if turns_of(pair[0]) == turns_of(low) == turns_of(high)]
    return Matched(*(shown or shared)[-1], shared, bool(shown))


def in_turns(low: Record, high: Record) -> bool:
    """Return whether two records are compared by the turns that they took with one another."""
    return any(_paired(*pair) for pair in together(low, high))


def turns_of(record: Record) -> str:
    """Return the name of the turns whose times a record shows; empty for those of its own window."""
    return record.timing.turns if record.timing else ""


def _paired(low: Record, high: Record) -> bool:
    return side_by_side(low, high, latencies(low), latencies(high)) is not None


def disturbed(low: Record, high: Record) -> list[Record]:
    """Return those of two records whose times that are compared had background load."""
    of = matched(low, high)
    timed = zip(*(of.turns or [(of.low, of.high)]), strict=True)
    both = zip((low, high), timed, strict=True)
    return [record for record, own in both if any(one.batches_under_load for one in own)]


def side_by_side(
    low: Record, high: Record, mine: Sequence[float], theirs: Sequence[float]
) -> tuple[Floats, Floats] | None:
    """Return times of two records that lay side by side in turns, of shape (rounds, batches).

    Batches of different sizes are put together to stretches: each round has the same number of them, and a
    stretch of one record lies beside that of the other. None if answers of natural length are to other
    questions, the records leave out other rounds, or there are too few stretches.
    """
    asked = [[answer.sample_id for answer in record.answers] for record in (low, high)]
    fixed = {low.cell.length, high.cell.length} == {"fixed"}
    if not (asked[0] == asked[1] != [] or fixed) or low.loaded_passes != high.loaded_passes:
        return None
    first, second = _rounds(low, mine), _rounds(high, theirs)
    rounds, stretches = len(first), math.gcd(first.shape[1], second.shape[1])
    if stretches * (rounds if fixed else 1) < intervals.FEWEST_SAMPLES:
        return None
    return first.reshape(rounds, stretches, -1).mean(2), second.reshape(rounds, stretches, -1).mean(2)


def _rounds(record: Record, times: Sequence[float]) -> Floats:
    """Return the times of a record's full batches, round by round, without the rounds under load."""
    timing, loaded = record.timing, record.loaded_passes
    assert timing is not None
    each, sizes = (np.reshape(values, (timing.passes, -1)) for values in (times, timing.batch_samples))
    counted = [not own or all(loaded) for own in loaded]
    return each[counted][:, sizes[0] == record.cell.batch_size]
