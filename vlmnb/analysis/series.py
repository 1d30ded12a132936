"""What the ends of a series do not tell: a peak or a dip in between, beyond the noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlmnb.records import background_load
from vlmnb.records.record import Record
from vlmnb.stats import comparison
from vlmnb.views.axis_table import ENOUGH, MODELLED


@dataclass(frozen=True)
class Quantity:
    """Something whose course along an axis is looked at.

    Attributes:
        name: As the sentence calls it.
        of: Its number in a record.
        differs: Whether two records differ in it by more than noise.
        shown: Its number as the sentence shows it.
    """

    name: str
    of: Callable[[Record], float | None]
    differs: Callable[[Record, Record], bool]
    shown: Callable[[Record], str]


def told(axis: str, noun: str, ordered: Sequence[Record], drift: float) -> list[str]:
    """Clauses on the rows in between that leave the range of both ends; none where none is known to.

    A row counts where it differs, by the rules of any comparison, from the end that is nearer to it: a row
    that is not named need not lie between the ends. Reports state no spread; of theirs a row counts that is
    off by more than ``differences.NEGLIGIBLE``. Nothing is said from windows that others disturbed.

    Args:
        axis: What varies.
        noun: What it is called.
        ordered: Records along the axis.
        drift: Relative difference that two windows of one cell may show on this machine.
    """
    clauses = []
    for quantity in _quantities(axis, drift):
        for side, record in _leaving(quantity, ordered):
            at = f"{noun} {getattr(record.cell, axis)}"
            clauses.append(f"{quantity.name} is {side} at {at} ({quantity.shown(record)})")
    return clauses


def same_batches(low: Record, high: Record) -> bool:
    """Whether the timed batches of two records hold the same questions, one by one."""
    asked = [[answer.sample_id for answer in record.answers] for record in (low, high)]
    alone = low.cell.batch_size == high.cell.batch_size and asked[0] == asked[1] != []
    return alone and len(low.full_batches_s) == len(high.full_batches_s)


def wer_differs(low: Record, high: Record) -> bool:
    """Whether word errors differ by more than chance: sample by sample where the samples are the same."""
    mine, theirs = ({a.sample_id: a.word_errors or 0 for a in record.answers} for record in (low, high))
    if mine.keys() == theirs.keys():
        fewer = sum(theirs[name] < mine[name] for name in mine)
        more = sum(theirs[name] > mine[name] for name in mine)
        return comparison.sign_test(fewer, more) <= 1 - ENOUGH
    a, b = low.wer_interval, high.wer_interval
    return not (a and b and a[0] <= b[1] and b[0] <= a[1])


def _quantities(axis: str, drift: float) -> list[Quantity]:
    batch = Quantity(
        name="latency per batch",
        of=lambda record: record.latency_s,
        differs=lambda a, b: _latency_differs(a, b, drift, (1, 1)),
        shown=lambda record: f"{record.latency_s:.3g} s",
    )
    wer = Quantity(
        name="WER",
        of=lambda record: record.wer,
        differs=lambda a, b: _far(a.wer, b.wer) if a.reported or b.reported else wer_differs(a, b),
        shown=lambda record: f"{record.wer:.3f}",
    )
    if axis != "batch_size":
        return [batch, wer]
    sample = Quantity(
        name="latency per sample",
        of=_per_sample,
        differs=lambda a, b: _latency_differs(a, b, drift, (a.cell.batch_size, b.cell.batch_size)),
        shown=lambda record: f"{_per_sample(record):.3g} s",
    )
    energy = Quantity(  # one reading of a window: drift is all that is known of its noise
        name="energy per sample",
        of=lambda record: record.energy_j_per_sample,
        differs=lambda a, b: (
            not (background_load.of_window(a) or background_load.of_window(b))
            and _far(a.energy_j_per_sample, b.energy_j_per_sample, drift)
        ),
        shown=lambda record: (
            f"{MODELLED * (record.energy_method == 'model')}{record.energy_j_per_sample:.3g} J"
        ),
    )
    return [batch, sample, energy, wer]


def _leaving(quantity: Quantity, ordered: Sequence[Record]) -> list[tuple[str, Record]]:
    """The highest and the lowest row in between, where they lie beyond both ends."""
    values = [quantity.of(record) for record in ordered]
    known = {i: value for i, value in enumerate(values) if value is not None}
    last = len(ordered) - 1
    inner = [i for i in known if 0 < i < last]
    if not inner or 0 not in known or last not in known:
        return []
    found = []
    for side, most in (("highest", max), ("lowest", min)):
        row, end = most(inner, key=known.__getitem__), most((0, last), key=known.__getitem__)
        beyond = known[row] != known[end] and most(known[row], known[end]) == known[row]
        if beyond and quantity.differs(ordered[end], ordered[row]):
            found.append((side, ordered[row]))
    return found


def _per_sample(record: Record) -> float | None:
    return None if record.latency_s is None else record.latency_s / record.cell.batch_size


def _latency_differs(a: Record, b: Record, drift: float, samples: tuple[int, int]) -> bool:
    """Whether times differ, each divided by a number of samples."""
    if a.latency is None or b.latency is None:
        mine, theirs = ((record.latency_s or 0) / n for record, n in zip((a, b), samples, strict=True))
        return _far(mine, theirs)
    if min(a.latency.confidence, b.latency.confidence) < ENOUGH:
        return False
    if background_load.of_batches(a) or background_load.of_batches(b):
        return False  # by others' work, it may be
    first, second = (
        [seconds / n for seconds in record.full_batches_s] for record, n in zip((a, b), samples, strict=True)
    )
    return comparison.compare(first, second, paired=same_batches(a, b), drift=drift).differ == "yes"


def _far(a: float | None, b: float | None, apart: float = comparison.NEGLIGIBLE) -> bool:
    return bool(a and b) and abs(math.log((a or 1) / (b or 1))) > math.log1p(apart)
