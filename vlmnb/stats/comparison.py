"""Compare two measurements: interval of their ratio, verdict, and the threshold from A/A repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from vlmnb.stats import intervals
from vlmnb.types import Frozen

POWER = 0.8
"""Probability that a difference of the detectable size is found."""

Answer = Literal["yes", "within", "too few"]


class Difference(Frozen):
    """The ratio of two measurements, the second over the first.

    Attributes:
        ratio: Second over first: of the medians, or the median of the ratios of pairs.
        low: Lower end of the interval of the ratio, noise floor included.
        high: Upper end of it.
        n: Pairs, or the smaller of the two numbers of samples.
        paired: Samples of the same position were compared.
        differ: ``yes`` if the interval leaves out 1; ``within`` if it holds 1, so that no difference is
            larger than :meth:`most`; ``too few`` with fewer samples than ``intervals.FEWEST_SAMPLES``.
    """

    ratio: float
    low: float
    high: float
    n: int
    paired: bool
    differ: Answer

    def most(self, scale: float = 1.0) -> float | None:
        """Return the largest relative difference that the interval allows, either way round.

        Args:
            scale: Factor of ratio and interval, such as that from batches to samples.

        Returns:
            How far the interval reaches from 1: 0.25 for 0.8 to 1.1, since the first is then at most 1.25
            times the second. None if the interval leaves out 1, or samples are too few.
        """
        low, high = scale * self.low, scale * self.high
        return None if self.differ == "too few" or not low <= 1 <= high else max(high, 1 / low) - 1


class Repeatability(Frozen):
    """Noise of one cell measured several times (A/A repeats).

    Attributes:
        windows: Number of repeats.
        spread: Standard deviation of the logarithm of the windows' medians, roughly a relative one.
        threshold: Relative difference that 95 % of repeats of one cell stay below: what is smaller is no
            evidence of anything.
        detectable: Smallest relative difference between two cells that one window of each would show
            with a probability of ``POWER``.
    """

    windows: int
    spread: float
    threshold: float
    detectable: float


def compare(
    first: Sequence[float],
    second: Sequence[float],
    *,
    paired: bool,
    noise_floor: float = 0.0,
    confidence: float = 0.95,
) -> Difference:
    """Compare two lists of positive samples, such as the latencies of two windows.

    Paired samples (the same questions, batch by batch) give a ratio each; the interval of their median runs
    between order statistics, so that deciding by it is the sign test and errs in at most 5 % (Conover,
    Practical Nonparametric Statistics, 3rd ed., section 3.4). For samples that are not paired, the
    intervals of both medians, on the scale of logarithms, are put together to one of their difference
    (method of variance estimates recovery: Zou and Donner, Statistics in Medicine 27, 2008, 1693-1702).

    Args:
        first: Samples of the first measurement.
        second: Samples of the second, in the order of the first if paired.
        paired: Samples of the same position belong together.
        noise_floor: Relative difference that two repeats of the same cell may show
            (:attr:`Repeatability.threshold`); the samples of one window do not show how windows differ, so
            the interval is made at least that wide.
        confidence: Of the interval.

    Raises:
        ValueError: A list is empty, a sample is not positive, or pairs are incomplete.
    """
    a, b = _logarithms(first), _logarithms(second)
    if paired and len(a) != len(b):
        raise ValueError(f"Pairs are incomplete: {len(a)} samples against {len(b)}.")
    if paired:
        center, low, high = _signs(b - a, confidence)
    else:
        center, low, high = _recovered(a, b, confidence)
    reach = math.log1p(noise_floor)
    ends = (math.exp(min(low, center - reach)), math.exp(max(high, center + reach)))
    n = min(len(a), len(b))
    return Difference(
        ratio=math.exp(center), low=ends[0], high=ends[1], n=n, paired=paired,
        differ=_differ(n, *ends),
    )  # fmt: skip


def sign_test(better: int, worse: int) -> float:
    """Return the exact, two-sided probability of pairs at least as one-sided, by chance alone.

    Pairs without a difference do not count. For pairs of right and wrong answers it is McNemar's exact test.
    """
    return min(1.0, 2 * one_sided_sign_test(max(better, worse), min(better, worse)))


def one_sided_sign_test(more: int, fewer: int) -> float:
    """Return the probability of at least ``more`` heads in ``more + fewer`` tosses of a fair coin."""
    tosses = more + fewer
    return float(sum(math.comb(tosses, k) for k in range(more, tosses + 1)) / 2**tosses)


def repeatability(windows: Sequence[Sequence[float]]) -> Repeatability:
    """Return the noise of A/A repeats: windows of one cell that were measured at different times.

    The logarithms of the windows' medians are taken as normal around one value, with everything in them
    that makes windows differ. The difference of two has the standard deviation sqrt(2) * spread; the
    threshold is its 97.5 % quantile by Student's t with windows - 1 degrees of freedom, and the detectable
    difference adds the quantile of the power (Bloom, Evaluation Review 19, 1995, 547-556). Two windows
    alone make both very large, as they should: five are a good start.

    Raises:
        ValueError: Fewer than two windows, a window that is empty or holds what is not positive, or two
            windows that hold the very same samples and so are one, listed twice.
    """
    if len(windows) < 2:
        raise ValueError(f"Repeatability needs two windows or more, but there are {len(windows)}.")
    for (i, one), (j, other) in combinations(enumerate(windows), 2):
        if len(set(one)) > 1 and list(one) == list(other):
            raise ValueError(f"Windows {i} and {j} hold the very same samples; one was listed twice.")
    medians = np.array([np.median(_logarithms(window)) for window in windows])
    spread, freedom = float(np.std(medians, ddof=1)), len(windows) - 1
    false_alarm, found = student_quantile(0.975, freedom), student_quantile(POWER, freedom)
    return Repeatability(
        windows=len(windows),
        spread=spread,
        threshold=_relative(false_alarm * math.sqrt(2) * spread),
        detectable=_relative((false_alarm + found) * math.sqrt(2) * spread),
    )


def pooled(cells: Sequence[Sequence[Sequence[float]]]) -> float:
    """Return the threshold (see :class:`Repeatability`) of the repeats of several cells together.

    The spread is the root of the mean of the cells' variances, weighted by their degrees of freedom, as in
    the analysis of variance within groups.

    Raises:
        ValueError: As :func:`repeatability`.
    """
    found = [repeatability(windows) for windows in cells]
    freedom = sum(one.windows - 1 for one in found)
    spread = math.sqrt(sum((one.windows - 1) * one.spread**2 for one in found) / freedom)
    return _relative(student_quantile(0.975, freedom) * math.sqrt(2) * spread)


def student_quantile(probability: float, freedom: int) -> float:
    """Return a quantile (0.5 to 1) of Student's t distribution, for a whole number of degrees of freedom.

    Found by bisection of the closed form of its distribution function (Abramowitz and Stegun, Handbook of
    Mathematical Functions, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if (1 + _central(angle, freedom)) / 2 < probability else (low, angle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _central(angle: float, freedom: int) -> float:
    """Return the probability that t lies between plus and minus sqrt(freedom) * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom % 2 == 0:
        term, total = 1.0, 1.0
        for k in range(1, freedom // 2):
            term *= cosine**2 * (2 * k - 1) / (2 * k)
            total += term
        return sine * total
    term, total = cosine, 0.0
    for k in range(1, (freedom - 1) // 2 + 1):
        total += term
        term *= cosine**2 * (2 * k) / (2 * k + 1)
    return 2 / math.pi * (angle + sine * total)


def _differ(n: int, low: float, high: float) -> Answer:
    if n < intervals.FEWEST_SAMPLES:
        return "too few"
    return "within" if low <= 1 <= high else "yes"


def _signs(values: intervals.Floats, confidence: float) -> tuple[float, float, float]:
    """Return the median and the interval between order statistics that has at least the confidence."""
    found = intervals.quantile_interval(values.tolist(), 0.5, confidence)
    if found is None:
        return float(np.median(values)), float(values.min()), float(values.max())
    return found.value, found.low, found.high


def _recovered(a: intervals.Floats, b: intervals.Floats, confidence: float) -> tuple[float, float, float]:
    center_a, center_b = float(np.median(a)), float(np.median(b))
    low_a, high_a, _ = intervals.median_ends(a, confidence)
    low_b, high_b, _ = intervals.median_ends(b, confidence)
    center = center_b - center_a
    down = math.hypot(center_b - float(low_b), float(high_a) - center_a)
    up = math.hypot(float(high_b) - center_b, center_a - float(low_a))
    return center, center - down, center + up


def _relative(logarithm: float) -> float:
    return math.expm1(min(logarithm, 700.0))


def _logarithms(samples: Sequence[float]) -> intervals.Floats:
    array = np.asarray(samples, dtype=np.float64)
    if array.size == 0 or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError("Ratios are of positive, finite samples, and of at least one.")
    return np.log(array)
