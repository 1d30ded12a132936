"""From samples to what is printed: median with interval, ratios, digits, verdicts, Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

FEWEST_SAMPLES = 6
"""With fewer samples no distribution-free interval of the median reaches 95 %: 1 - 2 * 0.5**5 = 0.94."""

NOISY_HALF_WIDTH = 0.05
"""Samples are noisy when half the width of the median's interval is more than this share of the median."""

Verdict = Literal["stable", "noisy", "few samples"]


class Summary(BaseModel):
    """Median of samples with an interval that assumes nothing about their distribution.

    Attributes:
        median: Median of the samples, in their unit.
        low: Lower end of the interval of the median.
        high: Upper end of the interval of the median.
        n: Number of samples.
        confidence: Probability that such an interval holds the true median. It is at least what was
            asked for where there are samples enough, else what the interval from the smallest to the
            largest sample really has (0 for a single sample).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    median: float
    low: float
    high: float
    n: int
    confidence: float


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Summary:
    """Median and its order-statistic interval.

    The number of samples below the true median is binomial with p = 0.5, so the interval from the k-th
    smallest to the k-th largest sample holds it with probability 1 - 2 P(B < k), whatever the
    distribution (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2). The largest k that
    still has the confidence asked for is taken; it is conservative where samples repeat.

    Raises:
        ValueError: There are no samples, one is not finite, or the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence must lie between 0 and 1, not be {confidence}.")
    ordered = np.sort(_finite(samples, "samples"))
    n = len(ordered)
    rank, tail = 1, 0.5**n
    while rank < (n + 1) // 2:
        wider = tail + math.comb(n, rank) / 2**n
        if 1 - 2 * wider < confidence:
            break
        rank, tail = rank + 1, wider
    return Summary(
        median=float(np.median(ordered)),
        low=float(ordered[rank - 1]),
        high=float(ordered[n - rank]),
        n=n,
        confidence=max(0.0, 1 - 2 * tail),
    )


def verdict(samples: Sequence[float]) -> Verdict:
    """Whether the median of samples may be quoted: see ``FEWEST_SAMPLES`` and ``NOISY_HALF_WIDTH``."""
    if len(samples) < FEWEST_SAMPLES:
        return "few samples"
    summary = median_interval(samples)
    half_width = (summary.high - summary.low) / 2
    return "noisy" if half_width > NOISY_HALF_WIDTH * abs(summary.median) else "stable"


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of ``sum(numerators) / sum(denominators)`` over pairs.

    For a word error rate of a corpus the pairs are errors and reference words of each sample; for a mean
    the denominators are ones. The same seed gives the same interval.

    Raises:
        ValueError: No pairs, sequences of different length, values that are not finite, or denominators
            that are negative or all zero.
    """
    top, bottom = _finite(numerators, "numerators"), _finite(denominators, "denominators")
    if len(top) != len(bottom):
        raise ValueError(f"There are {len(top)} numerators but {len(bottom)} denominators.")
    if bottom.min() < 0 or bottom.sum() == 0:
        raise ValueError("The denominators must not be negative, and not all be zero.")
    drawn = np.random.default_rng(seed).integers(len(top), size=(resamples, len(top)))
    sums = bottom[drawn].sum(axis=1)
    ratios = top[drawn].sum(axis=1)[sums > 0] / sums[sums > 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def significant(value: float, low: float, high: float) -> str:
    """``value`` with the digits that its interval supports: those of two digits of the half width.

    >>> significant(1.23456, 1.20, 1.27)
    '1.235'
    >>> significant(123456.0, 121000.0, 126000.0)
    '123500'

    An interval without width supports any digits: four are shown. One digit of the value always stands.
    """
    half_width = abs(high - low) / 2
    if value == 0 or not math.isfinite(value) or not math.isfinite(half_width):
        return f"{value:.4g}"
    magnitude = _magnitude(value)
    finest = _magnitude(half_width) - 1 if half_width > 0 else magnitude - 3
    digits = min(max(magnitude - finest, 0), 15)
    if not -4 <= magnitude < 9:
        return f"{value:.{digits}e}"
    decimals = digits - magnitude
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def format_si(value: float, unit: str = "", digits: int = 4) -> str:
    """``value`` with an SI prefix and a number of significant digits.

    >>> format_si(11.03e12), format_si(617.84e9, "FLOP"), format_si(0.00125, "s")
    ('11.03 T', '617.8 GFLOP', '1.250 ms')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    # Rounding first carries 999.96 over to the next prefix.
    rounded = float(f"{value:.{digits - 1}e}")
    prefixes = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
    exponent = min(max(_magnitude(rounded) // 3 * 3, -12), 18)
    scaled = rounded / 10.0**exponent
    decimals = max(digits - 1 - _magnitude(scaled), 0)
    return f"{scaled:.{decimals}f} {prefixes[exponent]}{unit}".rstrip()


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other point beats, both coordinates counting as costs.

    A point is beaten by one that is no worse in either coordinate and better in one; equal points stand
    together. The indices run along the front, from the smallest first coordinate on.

    Raises:
        ValueError: A coordinate is not a number.
    """
    if any(math.isnan(x) or math.isnan(y) for x, y in points):
        raise ValueError("A point of a Pareto front has a coordinate that is not a number.")
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[index][1] < points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return front


def _magnitude(value: float) -> int:
    """Power of ten of the leading digit, read off ten digits so that 0.0999999999999 counts as 0.1."""
    return int(f"{abs(value):.9e}".split("e")[1])


def _finite(values: Sequence[float], what: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"There are no {what} to summarize.")
    if not np.isfinite(array).all():
        raise ValueError(
            f"The {what} must be finite, but number {int(np.argmin(np.isfinite(array)))} is not."
        )
    return array
