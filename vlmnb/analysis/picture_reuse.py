"""What a question about the same picture costs, plainly and with something kept, and when keeping pays."""

from __future__ import annotations

import math
from statistics import median

from vlmnb.analysis import ratios
from vlmnb.records.parts import Asked
from vlmnb.records.record import Record
from vlmnb.stats import comparison, intervals
from vlmnb.types import Frozen


class BreakEven(Frozen):
    """When keeping pays, from medians.

    Attributes:
        keep_s: Seconds of making what is kept, once a picture.
        plain_s: Seconds of a question that has nothing kept.
        kept_s: Seconds of a question after something was kept.
        questions: The fewest questions a picture with which keeping is no dearer; None if no number is.
    """

    keep_s: float
    plain_s: float
    kept_s: float
    questions: int | None


def costs_s(record: Record, asked: Asked) -> tuple[float, ...]:
    """Return the seconds per question of each picture and pass, with what keeping took."""
    size, keep_s = record.cell.questions, asked.keep_s
    pictures = len(asked.question_s) // size
    sums = (sum(asked.question_s[i * size : (i + 1) * size]) for i in range(pictures))
    return tuple(
        (seconds + keep) / size for seconds, keep in zip(sums, keep_s or [0.0] * pictures, strict=True)
    )


def cost(record: Record, asked: Asked) -> intervals.Summary:
    """Return the median seconds per question over pictures."""
    return intervals.median_interval(costs_s(record, asked))


def medians(record: Record) -> tuple[float, float]:
    """Return the median seconds per question, plainly and with something kept."""
    assert record.reused is not None
    return cost(record, record.reused.plain).median, cost(record, record.reused.kept).median


def saved(record: Record, noise_floor: float = 0.0) -> comparison.Difference | None:
    """Compare the cost per question with the plain one, picture by picture; None without both."""
    if record.reused is None:
        return None
    plain, kept = (costs_s(record, asked) for asked in (record.reused.plain, record.reused.kept))
    paired = len(plain) == len(kept)
    return ratios.compare(plain, kept, paired=paired, noise_floor=noise_floor)


def later(record: Record, noise_floor: float = 0.0) -> comparison.Difference | None:
    """Compare later questions, for which something was kept, with plain ones; None without both."""
    if record.reused is None or not (record.reused.plain.question_s and record.reused.kept.question_s):
        return None
    plain, kept = record.reused.plain.question_s, record.reused.kept.question_s
    return ratios.compare(plain, kept, paired=len(plain) == len(kept), noise_floor=noise_floor)


def break_even(record: Record) -> BreakEven | None:
    """Return when keeping pays: the smallest n with keep + n x kept <= n x plain; None without times."""
    if record.reused is None:
        return None
    plain, kept = record.reused.plain, record.reused.kept
    if not (plain.question_s and kept.question_s and kept.keep_s):
        return None
    plain_s, kept_s, keep_s = map(median, (plain.question_s, kept.question_s, kept.keep_s))
    gain_s = plain_s - kept_s
    questions = max(1, math.ceil(keep_s / gain_s)) if gain_s > 0 else None
    return BreakEven(keep_s=keep_s, plain_s=plain_s, kept_s=kept_s, questions=questions)
