"""How a quantity changes along an axis: which two records differ, and peaks and dips between the ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from vlmnb.analysis import matching, ratios
from vlmnb.analysis.titles import where
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.stats import comparison, formatting, intervals

Quantity = Literal["latency_s", "latency_s_per_sample", "energy_j_per_sample", "wer"]
Trend = Literal["stated", "few", "empty", "disturbed", "grows", "falls", "within"]

APART = 0.1
"""Numbers without a spread, a report's and energies, differ if they are further apart than this share."""


class Extreme(NamedTuple):
    """A record between the ends of a series whose number lies outside their range."""

    quantity: Quantity
    side: Literal["highest", "lowest"]
    record: Record
    value: float


class Change(NamedTuple):
    """What becomes of latency and answers from one record to another.

    Attributes:
        ratio: Median latency of ``high`` over that of ``low``.
        difference: The comparison of the latencies; None if a record has no spread, or too few batches.
        each: The same of each of the turns that the two took with one another.
        matched: The two with the times that are compared.
        disturbed: Those of the two that background load disturbed.
        empty: Why the answers of one of the two say nothing; empty if they do say something.
        trend: What follows for the latency; ``stated`` in a report, which states no spread.
        wer_differs: Whether word errors differ by more than chance; in a report, whether they differ.
    """

    low: Record
    high: Record
    ratio: float
    difference: comparison.Difference | None
    each: list[comparison.Difference]
    matched: matching.Matched
    disturbed: list[Record]
    empty: str
    trend: Trend
    wer_differs: bool

    @property
    def same_answers(self) -> int:
        """Return the number of answers that are the same, character by character."""
        theirs = {answer.sample_id: answer.answer for answer in self.high.answers}
        return sum(theirs.get(answer.sample_id) == answer.answer for answer in self.low.answers)

    @property
    def steps(self) -> tuple[float, float] | None:
        """Return the median decoding steps of a batch of both, if answers of other lengths make them differ.

        None as well where passes yield several tokens, whose number is an effect of the setting, and between
        batch sizes: a larger batch waits for the longest of more answers.
        """
        both = [
            one for one in (self.matched.low, self.matched.high) if one.timing and one.timing.decode_steps
        ]
        guesses = any(optimizations.of(one.cell).guesses for one in both)
        if len(both) < 2 or guesses or self.low.cell.batch_size != self.high.cell.batch_size:
            return None
        low, high = (median(one.timing.decode_steps) for one in both if one.timing)
        return None if low == high else (low, high)

    def within(self, scale: float = 1.0) -> float | None:
        """Return the share that any difference stays below; None if the two differ, or it is unknown.

        Args:
            scale: Factor of ratio and interval, such as that from batches to samples.
        """
        return self.difference.most(scale) if self.difference else None

    def equal(self, scale: float = 1.0) -> bool:
        """Return whether any difference is so small that the two are called equal."""
        within = self.within(scale)
        return within is not None and round(100 * within, 6) <= formatting.EQUAL

    @property
    def tied(self) -> bool:
        """Return whether the ratio of the latencies is within the noise."""
        return self.trend in ("grows", "falls", "within") and (self.equal() or self.hidden())

    def hidden(self, scale: float = 1.0) -> bool:
        """Return whether the two may differ by much, but their ratio is within the noise."""
        known = self.trend in ("grows", "falls", "within")
        return known and self.within(scale) is not None and not self.equal(scale)


def change(low: Record, high: Record, noise_floor: float) -> Change:
    """Compare two records that have a latency."""
    found, of = latency_difference(low, high, noise_floor), matching.matched(low, high)
    return Change(
        low=low,
        high=high,
        ratio=(of.high.latency_s or 0.0) / (of.low.latency_s or 1.0),
        difference=found,
        each=each_turn(low, high, matching.latencies, noise_floor) if of.turns else [],
        matched=of,
        disturbed=(loaded := matching.disturbed(low, high)),
        empty=_empty(low, high),
        trend=_trend(low, high, found, bool(loaded)),
        wer_differs=bool(low.reported) or low.wer is None or high.wer is None or _wer_differs(low, high),
    )


def _value(record: Record, quantity: Quantity) -> float | None:
    if record.degenerate and quantity != "wer":
        return None
    if quantity == "latency_s_per_sample":
        return None if record.latency_s is None else record.latency_s / record.cell.batch_size
    if quantity == "energy_j_per_sample":
        return record.energy_j_per_sample
    return record.wer if quantity == "wer" else record.latency_s


def extremes(ordered: Sequence[Record], noise_floor: float, quantities: Sequence[Quantity]) -> list[Extreme]:
    """Return the highest and the lowest record between both ends, if they lie outside their range.

    A record counts if it differs from the nearer end, by the rules of any comparison. Records that are not
    returned may still lie outside. Reports state no spread: their numbers count if they differ by more than
    ``APART``. Nothing follows from measurements that background load disturbed.
    """
    return [found for quantity in quantities for found in _beyond_ends(ordered, noise_floor, quantity)]


def _same_batches(low: Record, high: Record) -> bool:
    """Return whether the timed batches of two records hold the same questions."""
    asked = [[answer.sample_id for answer in record.answers] for record in (low, high)]
    alike = low.cell.batch_size == high.cell.batch_size and asked[0] == asked[1] != []
    return alike and len(low.full_batches_s) == len(high.full_batches_s)


def _wer_differs(low: Record, high: Record) -> bool:
    """Return whether word errors differ by more than chance: sample by sample if the samples are the same."""
    mine, theirs = ({a.sample_id: a.word_errors or 0 for a in record.answers} for record in (low, high))
    if mine.keys() == theirs.keys():
        fewer = sum(theirs[name] < mine[name] for name in mine)
        more = sum(theirs[name] > mine[name] for name in mine)
        return comparison.sign_test(fewer, more) <= 1 - intervals.ENOUGH
    a, b = low.wer_interval, high.wer_interval
    return not (a and b and a[0] <= b[1] and b[0] <= a[1])


def latency_difference(
    low: Record, high: Record, noise_floor: float, *, per_sample: bool = False
) -> comparison.Difference | None:
    """Compare two latencies, batch by batch where the batches are the same; None for too few batches."""

    def times(record: Record) -> Sequence[float]:
        return [s / (record.cell.batch_size if per_sample else 1) for s in matching.latencies(record)]

    return compared(low, high, times, noise_floor)


def compared(
    low: Record, high: Record, times: matching.Times, noise_floor: float, confidence: float = intervals.ENOUGH
) -> comparison.Difference | None:
    """Compare times of full batches of two records by the one rule of tables, sentences, Explore and audit.

    What took turns with one another is compared in pairs and without the noise floor: the changes of the
    machine, which the floor is for, met both alike, and the pairs show what is left of them. All turns count
    that the two took with one another: each was a process of its own, and processes differ as well, so the
    interval reaches over those of all. What took none is compared window with window.

    Args:
        low: The first record.
        high: The second.
        times: Returns the seconds of every timed batch of a record, in their order.
        noise_floor: Of windows apart.
        confidence: Of the interval.

    Returns:
        None if either has too few batches.
    """
    of = matching.matched(low, high)
    here = _compared(of.low, of.high, times, noise_floor, confidence)
    if here is None or len(of.turns) < 2:
        return here
    return ratios.over(here, each_turn(low, high, times, noise_floor, confidence))


def each_turn(
    low: Record, high: Record, times: matching.Times, noise_floor: float, confidence: float = intervals.ENOUGH
) -> list[comparison.Difference]:
    """Compare two records by each of the turns that they took with one another, as :func:`compared` does."""
    made = (_compared(*pair, times, noise_floor, confidence) for pair in matching.matched(low, high).turns)
    return [one for one in made if one]


def _compared(
    low: Record, high: Record, times: matching.Times, noise_floor: float, confidence: float
) -> comparison.Difference | None:
    """Compare times as they are given, of the same turns or of two windows."""
    each = [times(record) for record in (low, high)]
    if not all(each):
        return None
    mine, theirs = (one.of_full_batches(own) for one, own in zip((low, high), each, strict=True))
    if min(len(mine), len(theirs)) < intervals.FEWEST_SAMPLES:
        return None
    if matching.turns_of(low) and (both := matching.side_by_side(low, high, *each)):
        return ratios.in_turns(*both, median(theirs) / median(mine), confidence)
    return ratios.compare(
        mine, theirs, paired=_same_batches(low, high), noise_floor=noise_floor, confidence=confidence
    )


def _empty(low: Record, high: Record) -> str:
    """Say which of two records has answers that say nothing, and how many; empty if neither has."""
    both = (low.cell, high.cell)
    said = [(where([one.cell], both), one.degenerate) for one in (low, high) if one.degenerate]
    return ", and ".join(f"with {which}, {why}" for which, why in said)


def _trend(low: Record, high: Record, found: comparison.Difference | None, disturbed: bool) -> Trend:
    if low.degenerate or high.degenerate:
        return "empty"
    if found is None:
        return "stated" if low.latency is None or high.latency is None else "few"
    if disturbed:
        return "disturbed"
    if found.differ == "yes":
        return "grows" if found.ratio > 1 else "falls"
    return "within"


def _beyond_ends(ordered: Sequence[Record], noise_floor: float, quantity: Quantity) -> list[Extreme]:
    times = matching.alike(ordered) if quantity.startswith("latency") else ordered
    values = [_value(record, quantity) for record in times]
    known = {i: number for i, number in enumerate(values) if number is not None}
    last = len(ordered) - 1
    inner = [i for i in known if 0 < i < last]
    if not inner or 0 not in known or last not in known:
        return []
    found = []
    sides: list[tuple[Literal["highest", "lowest"], Callable[..., int]]] = [("highest", max), ("lowest", min)]
    for side, most in sides:
        middle, end = most(inner, key=known.__getitem__), most((0, last), key=known.__getitem__)
        beyond = known[middle] > known[end] if side == "highest" else known[middle] < known[end]
        if beyond and _differ(ordered[end], ordered[middle], noise_floor, quantity, side):
            value = _value(ordered[middle], quantity)
            found.append(Extreme(quantity, side, ordered[middle], value or known[middle]))
    return found


def _differ(a: Record, b: Record, noise_floor: float, quantity: Quantity, side: str) -> bool:
    """Return whether a quantity of the second record is on a side of the first's by more than noise."""
    if quantity == "wer":
        return _far(a.wer, b.wer) if a.reported or b.reported else _wer_differs(a, b)
    if quantity == "energy_j_per_sample":  # one reading of a window
        if a.window_under_load or b.window_under_load:
            return False
        return _far(a.energy_j_per_sample, b.energy_j_per_sample, max(noise_floor, APART))
    if a.latency is None or b.latency is None:
        return _far(_value(a, quantity), _value(b, quantity))
    made = change(a, b, noise_floor)
    scale = a.cell.batch_size / b.cell.batch_size if quantity == "latency_s_per_sample" else 1.0
    found = made.difference
    if found is None or found.differ == "too few" or made.disturbed:
        return False
    return scale * found.low > 1 if side == "highest" else scale * found.high < 1


def _far(a: float | None, b: float | None, apart: float = APART) -> bool:
    return bool(a and b) and abs(math.log((a or 1) / (b or 1))) > math.log1p(apart)
