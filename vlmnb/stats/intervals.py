"""Statistics of samples: median and quantiles with intervals, bootstrap, verdict, Pareto front."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vlmnb.types import Frozen

FEWEST_SAMPLES = 6
"""With fewer samples no distribution-free interval of the median reaches 95 %: 1 - 2 * 0.5**5 = 0.94."""

ENOUGH = 0.95
"""Confidence that an interval needs to be shown as one of 95 %."""

NOISY_HALF_WIDTH = 0.05
"""Samples are noisy if half the width of the median's interval is more than this fraction of the median."""

Verdict = Literal["stable", "noisy", "few samples"]
Floats = npt.NDArray[np.float64]


class Summary(Frozen):
    """Median of samples with an interval that assumes nothing about the shape of their distribution.

    Attributes:
        low: Lower end of the interval of the median, in the unit of the samples.
        high: Upper end of the interval of the median.
        n: Number of samples.
        confidence: Probability that such an interval holds the true median; if there are too few samples
            for the one requested, that of the interval from the smallest to the largest sample.
    """

    median: float
    low: float
    high: float
    n: int
    confidence: float


class Interval(NamedTuple):
    """A number with the ends of its interval, in the same unit."""

    value: float
    low: float
    high: float


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Summary:
    """Return the median and its interval by interpolated order statistics, see :func:`median_ends`.

    Raises:
        ValueError: There are no samples, or one is not finite.
    """
    return _median_interval(tuple(samples), confidence)


@functools.lru_cache(maxsize=128)
def _median_interval(samples: tuple[float, ...], confidence: float) -> Summary:
    """Do the same, cached: the columns of a table row need the same samples several times."""
    ordered = np.sort(_finite(samples, "samples"))
    low, high, reached = median_ends(ordered, confidence)
    n = len(ordered)
    # Same as np.median, which is slower for few sorted samples.
    median = float(ordered[n // 2]) if n % 2 else float((ordered[n // 2 - 1] + ordered[n // 2]) / 2)
    return Summary(median=median, low=float(low), high=float(high), n=n, confidence=reached)


def median_ends(samples: Floats, confidence: float = 0.95) -> tuple[Floats, Floats, float]:
    """Return the ends of the interval of the median along the last axis, and their confidence.

    The number of samples below the true median is binomial with p = 0.5, so the interval from the d-th
    smallest to the d-th largest sample holds it with probability 1 - 2 P(B < d), whatever the
    distribution. Only a few probabilities are possible (8 samples: 99.2 % or 93.0 %); between the two
    that enclose the requested confidence, the ends are interpolated by Hettmansperger and Sheather
    (Statistics & Probability Letters 4, 1986, 75-79), whose weight hardly depends on the distribution
    (Nyblom, ibid. 14, 1992, 129-131).

    The coverage holds for independent samples. For samples that are correlated in time the interval is
    too narrow. If the median falls into a gap between two modes, few samples cover less as well; if samples
    repeat, the interval is conservative.
    """
    ordered = np.sort(samples, axis=-1)
    n = ordered.shape[-1]
    rank, weight, reached = _median_rank(n, confidence)
    if weight == 0:
        return ordered[..., rank - 1], ordered[..., n - rank], reached
    # Steps inward, so that equal samples give themselves and rounding never leaves their range.
    low = ordered[..., rank - 1] + weight * (ordered[..., rank] - ordered[..., rank - 1])
    high = ordered[..., n - rank] - weight * (ordered[..., n - rank] - ordered[..., n - rank - 1])
    return low, high, reached


@functools.lru_cache(maxsize=512)
def _median_rank(n: int, confidence: float) -> tuple[int, float, float]:
    """Return the rank of the outer order statistic, the weight of the next one inward, and the confidence."""
    rank, tail = 1, 0.5**n
    reached = 1 - 2 * tail
    if reached < confidence:
        return 1, 0.0, max(reached, 0.0)
    while rank < n // 2:
        wider = tail + math.comb(n, rank) / 2**n
        if 1 - 2 * wider < confidence:
            share = (1 - 2 * tail - confidence) / (2 * (wider - tail))
            return rank, (n - rank) * share / (rank + (n - 2 * rank) * share), confidence
        rank, tail = rank + 1, wider
    return rank, 0.0, 1 - 2 * tail


def quantile_interval(samples: Sequence[float], q: float, confidence: float = 0.95) -> Interval | None:
    """Return a quantile with the interval between order statistics that enclose it with this confidence.

    Each end is missed with at most half of the remaining probability, by the binomial distribution
    of the number of samples below the quantile (Conover, Practical Nonparametric Statistics, 3rd ed.,
    section 3.2). The interval is conservative.

    Returns:
        None if there are too few samples for such an interval: 36 are needed for the 90 % quantile,
        72 for the 95 % quantile, 6 for the median.

    Raises:
        ValueError: There are no samples, or one is not finite.
    """
    ordered = np.sort(_finite(samples, "samples"))
    n, tail = len(ordered), (1 - confidence) / 2
    below = np.cumsum([_binomial(n, k, q) for k in range(n + 1)])
    lower = int(np.searchsorted(below, tail, side="right"))  # P(B < lower) <= tail
    upper = int(np.searchsorted(below, 1 - tail, side="left")) + 1  # P(B >= upper) <= tail
    if lower < 1 or upper > n:
        return None
    low, high = float(ordered[lower - 1]), float(ordered[upper - 1])
    return Interval(value=float(np.quantile(ordered, q)), low=low, high=high)


def _binomial(n: int, k: int, p: float) -> float:
    log_ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log_ways + k * math.log(p) + (n - k) * math.log1p(-p))


def verdict(samples: Sequence[float]) -> Verdict:
    """Return whether the median can be quoted, by ``FEWEST_SAMPLES`` and ``NOISY_HALF_WIDTH``."""
    if len(samples) < FEWEST_SAMPLES:
        return "few samples"
    summary = median_interval(samples)
    half_width = (summary.high - summary.low) / 2
    return "noisy" if half_width > NOISY_HALF_WIDTH * abs(summary.median) else "stable"


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """Return ``sum(numerators) / sum(denominators)`` with its interval, see :func:`bootstrap_ratio`."""
    return Interval(sum(numerators) / sum(denominators), *bootstrap_ratio(numerators, denominators))


def wilson(successes: float, total: float) -> tuple[float, float]:
    """Return the 95 % interval of a proportion, which has a width even if all or none succeed.

    Wilson's score interval (Journal of the American Statistical Association 22, 1927, 209-212).
    """
    z2 = NormalDist().inv_cdf(0.975) ** 2
    share = successes / total
    center = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    # At the ends the exact value is 0 or 1; rounding must not leave the share outside its interval.
    return min(max(center - reach, 0.0), share), max(min(center + reach, 1.0), share)


def bootstrap_ratio(
    numerators: Sequence[float], denominators: Sequence[float], *, resamples: int = 1000
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of ``sum(numerators) / sum(denominators)`` over pairs.

    For a word error rate of a corpus the pairs are errors and reference words of each sample; for a mean
    the denominators are ones. The resamples are the same each time.

    Raises:
        ValueError: No pairs, sequences of different length, values that are not finite, or denominators
            that are negative or all zero.
    """
    top, bottom = _finite(numerators, "numerators"), _finite(denominators, "denominators")
    if len(top) != len(bottom):
        raise ValueError(f"There are {len(top)} numerators but {len(bottom)} denominators.")
    if bottom.min() < 0 or bottom.sum() == 0:
        raise ValueError("The denominators must not be negative, and not all be zero.")
    times = resampled(len(top), resamples)
    sums = times @ bottom
    ratios = (times @ top)[sums > 0] / sums[sums > 0]
    tail = (1 - ENOUGH) / 2
    return _quantile(ratios, tail), _quantile(ratios, 1 - tail)


def _quantile(values: Floats, q: float) -> float:
    """Return the same as ``np.quantile``, to the last digit, but faster: it would dominate a bootstrap."""
    place = q * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    low, high = np.partition(values, (below, above))[[below, above]]
    share = place - below
    # From the nearer end, as numpy does.
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))


@functools.lru_cache(maxsize=16)
def resampled(n: int, resamples: int = 1000) -> Floats:
    """Return how often each of n samples is drawn in each resample, of shape (resamples, n).

    Sums over resamples are products with it. The array is cached for the many metrics over the same
    samples, and read-only.
    """
    drawn = np.random.default_rng(0).integers(n, size=(resamples, n))
    rows = np.arange(resamples)[:, None] * n
    times = np.bincount((drawn + rows).ravel(), minlength=resamples * n).reshape(resamples, n)
    kept = times.astype(np.float64)
    kept.flags.writeable = False
    return kept


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point beats; both coordinates are costs.

    A point is beaten by one that is no worse in either coordinate and better in one; equal points are kept
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


def _finite(values: Sequence[float], what: str) -> Floats:
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"There are no {what} to summarize.")
    if not np.isfinite(array).all():
        raise ValueError(f"The {what} must be finite, but number {np.argmin(np.isfinite(array))} is not.")
    return array
