"""What samples are boiled down to: intervals that cover, digits that are earned, and fronts."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from vlmnb import stats


def test_median_interval_names_the_order_statistics() -> None:
    ten = stats.median_interval([10, 1, 9, 2, 8, 3, 7, 4, 6, 5])
    assert (ten.median, ten.low, ten.high, ten.n) == (5.5, 2, 9, 10)
    assert ten.confidence == pytest.approx(1 - 2 * 11 / 1024)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_samples_give_their_range_and_say_what_it_covers(n: int) -> None:
    summary = stats.median_interval(list(range(n)))
    assert (summary.low, summary.high) == (0, n - 1)
    assert summary.confidence == 1 - 2 * 0.5**n


@pytest.mark.parametrize("n", [6, 7, 11, 30, 301, 2000])
def test_enough_samples_reach_the_confidence_and_not_much_more(n: int) -> None:
    summary = stats.median_interval(list(range(n)))
    assert 0.95 <= summary.confidence < 0.99
    assert summary.low < summary.median < summary.high


@pytest.mark.parametrize("n", [4, 6, 15])
def test_the_stated_confidence_is_the_coverage(n: int) -> None:
    rng, trials = np.random.default_rng(1), 2000
    summaries = [stats.median_interval(rng.exponential(size=n).tolist()) for _ in range(trials)]
    covered = sum(s.low <= math.log(2) <= s.high for s in summaries) / trials
    assert covered == pytest.approx(summaries[0].confidence, abs=0.02)


@pytest.mark.parametrize(
    ("samples", "words"), [([], "no samples"), ([1, math.nan], "number 1"), ([math.inf], "finite")]
)
def test_samples_that_cannot_be_summarized_are_refused(samples: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        stats.median_interval(samples)


def test_verdict() -> None:
    assert stats.verdict([1.0] * 5) == "few samples"
    assert stats.verdict([0.0] * 6) == "stable"
    assert stats.verdict([0.97, 0.98, 0.99, 1.01, 1.02, 1.03]) == "stable"
    assert stats.verdict([0.9, 0.95, 1.0, 1.0, 1.05, 1.1]) == "noisy"


def test_bootstrap_ratio_is_the_same_each_time_and_covers() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        words = rng.integers(1, 12, size=60)
        errors = rng.binomial(words, 0.3)
        low, high = stats.bootstrap_ratio(errors.tolist(), words.tolist(), resamples=300)
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 200 <= 1
    assert stats.bootstrap_ratio([1, 0, 1], [1, 1, 1]) == stats.bootstrap_ratio([1, 0, 1], [1, 1, 1])


def test_bootstrap_ratio_weighs_pairs_by_their_denominators() -> None:
    assert stats.bootstrap_ratio([2, 20], [4, 40]) == (0.5, 0.5)
    assert stats.bootstrap_ratio([0, 3], [0, 1]) == (3, 3)


@pytest.mark.parametrize(("top", "bottom"), [([1], [1, 2]), ([], []), ([1], [0]), ([1, 1], [2, -1])])
def test_bootstrap_ratio_refuses_what_has_no_ratio(top: list[float], bottom: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        stats.bootstrap_ratio(top, bottom)


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.23456, 1.20, 1.27, "1.235"),
        (123456, 121000, 126000, "123500"),
        (0.012349, 0.0121, 0.0126, "0.01235"),
        (5.0, 5.0, 5.0, "5.000"),
        (3.0, -100.0, 100.0, "3"),
        (0.0, -1.0, 1.0, "0"),
        (1.1034e13, 1.09e13, 1.11e13, "1.103e+13"),
        (1.5e-7, 1.4e-7, 1.6e-7, "1.50e-07"),
        (math.inf, 0.0, 1.0, "inf"),
    ],
)
def test_significant(value: float, low: float, high: float, text: str) -> None:
    assert stats.significant(value, low, high) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (11.03e12, "", "11.03 T"),
        (617.84e9, "FLOP", "617.8 GFLOP"),
        (999.96e9, "B", "1.000 TB"),
        (1000, "J", "1.000 kJ"),
        (-0.00125, "s", "-1.250 ms"),
        (3.0, "s", "3.000 s"),
        (0, "J", "0 J"),
        (2e21, "", "2000 E"),
    ],
)
def test_format_si(value: float, unit: str, text: str) -> None:
    assert stats.format_si(value, unit) == text


def test_pareto_front() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 2.5), (3.0, 3.0), (2.0, 2.0), (1.0, 4.0)]
    assert stats.pareto_front(points) == [1, 2, 5, 0]
    assert stats.pareto_front([]) == []
    with pytest.raises(ValueError, match="not a number"):
        stats.pareto_front([(1.0, math.nan)])


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(stats).failed == 0
