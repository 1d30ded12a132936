"""Intervals that cover, verdicts, bootstrap, Pareto fronts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmnb.stats import intervals


def test_median_interval_lies_between_enclosing_order_statistics() -> None:
    ten = intervals.median_interval([10, 1, 9, 2, 8, 3, 7, 4, 6, 5])
    # From the 2nd to the 9th: 97.9 %; from the 3rd to the 8th: 89.1 %.
    assert (ten.median, ten.n, ten.confidence) == (5.5, 10, 0.95)
    outer, inner = 1 - 22 / 1024, 1 - 112 / 1024
    share = (outer - 0.95) / (outer - inner)
    weight = 8 * share / (2 + 6 * share)
    assert ten.low == pytest.approx(2 + weight)
    assert ten.high == pytest.approx(9 - weight)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_samples_give_their_range_and_say_what_it_covers(n: int) -> None:
    summary = intervals.median_interval(list(range(n)))
    assert (summary.low, summary.high) == (0, n - 1)
    assert summary.confidence == 1 - 2 * 0.5**n


@pytest.mark.parametrize("n", [6, 7, 11, 30, 301, 2000])
def test_enough_samples_reach_the_confidence_and_not_much_more(n: int) -> None:
    summary = intervals.median_interval(list(range(n)))
    assert 0.95 <= summary.confidence < 0.99
    assert summary.low < summary.median < summary.high


def latencies(name: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Skewed times such as a machine gives: log-normal, gamma, heavy tails, and now and then a spike."""
    usual = rng.lognormal(0, 0.1, shape)
    spikes = {"spikes 2 %": (0.02, 5), "spikes 10 %": (0.1, 3), "spikes 20 %": (0.2, 10)}
    if name in spikes:
        how_often, how_high = spikes[name]
        return np.where(rng.random(shape) < how_often, usual * how_high, usual)
    return {
        "log-normal": usual,
        "log-normal, wide": rng.lognormal(0, 1.5, shape),
        "gamma": rng.gamma(0.5, 1, shape),
        "shifted gamma": 1 + rng.gamma(2, 0.1, shape),
        "Pareto": 1 + rng.pareto(1.5, shape),
    }[name]


SKEWED = ("log-normal", "log-normal, wide", "gamma", "shifted gamma", "Pareto", "spikes 2 %", "spikes 10 %",
          "spikes 20 %")  # fmt: skip


@pytest.mark.parametrize("name", SKEWED)
def test_the_interval_of_the_median_covers_between_93_and_97_percent(name: str) -> None:
    rng = np.random.default_rng(7)
    truth = np.median(latencies(name, (1, 300_000), rng))
    for n in (6, 7, 8, 9, 10, 12, 16, 25, 50, 100, 200):
        low, high, confidence = intervals.median_ends(latencies(name, (3000, n), rng))
        covered = np.mean((low <= truth) & (truth <= high))
        assert 0.93 <= covered <= 0.97, f"n = {n}"
        assert confidence == 0.95


def test_samples_that_follow_one_another_cover_less() -> None:
    rng, trials, n, same = np.random.default_rng(3), 4000, 30, 0.5
    noise = rng.normal(size=(trials, n))
    for i in range(1, n):
        noise[:, i] = same * noise[:, i - 1] + math.sqrt(1 - same**2) * noise[:, i]
    low, high, _ = intervals.median_ends(np.exp(0.2 * noise))
    covered = np.mean((low <= 1) & (high >= 1))
    assert 0.75 < covered < 0.85, "the methodology page quotes 79 %"


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40), st.floats(0.01, 100))
def test_the_interval_holds_the_median_and_scales_with_the_samples(samples: list[float], by: float) -> None:
    plain, scaled = intervals.median_interval(samples), intervals.median_interval([x * by for x in samples])
    assert min(samples) <= plain.low <= plain.median <= plain.high <= max(samples)
    assert (scaled.low, scaled.high) == pytest.approx((plain.low * by, plain.high * by))
    assert intervals.median_interval(samples[::-1]) == plain


@pytest.mark.parametrize(("q", "fewest"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.1, 36)])
def test_a_quantile_of_too_few_samples_has_no_interval(q: float, fewest: int) -> None:
    assert intervals.quantile_interval(list(range(fewest - 1)), q) is None
    found = intervals.quantile_interval(list(range(fewest)), q)
    assert found is not None
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("q", "n"), [(0.5, 15), (0.9, 40), (0.9, 200), (0.25, 60)])
def test_the_interval_of_a_quantile_covers_at_least_95_percent(q: float, n: int) -> None:
    rng, trials = np.random.default_rng(5), 1000
    found = [intervals.quantile_interval(rng.exponential(size=n).tolist(), q) for _ in range(trials)]
    covered = sum(f is not None and f.low <= -math.log(1 - q) <= f.high for f in found) / trials
    assert covered >= 0.94


@pytest.mark.parametrize(
    ("samples", "words"), [([], "no samples"), ([1, math.nan], "number 1"), ([math.inf], "finite")]
)
def test_samples_that_cannot_be_summarized_are_refused(samples: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        intervals.median_interval(samples)


def test_verdict() -> None:
    assert intervals.verdict([1.0] * 5) == "few samples"
    assert intervals.verdict([0.0] * 6) == "stable"
    assert intervals.verdict([0.97, 0.98, 0.99, 1.01, 1.02, 1.03]) == "stable"
    assert intervals.verdict([0.9, 0.95, 1.0, 1.0, 1.05, 1.1]) == "noisy"


def test_bootstrap_ratio_is_the_same_each_time_and_covers() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        words = rng.integers(1, 12, size=60)
        errors = rng.binomial(words, 0.3)
        low, high = intervals.bootstrap_ratio(errors.tolist(), words.tolist(), resamples=300)
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 200 <= 1
    assert intervals.bootstrap_ratio([1, 0, 1], [1, 1, 1]) == intervals.bootstrap_ratio([1, 0, 1], [1, 1, 1])


def test_resamples_draw_as_many_as_there_are() -> None:
    times = intervals.resampled(17, 50)
    assert times.shape == (50, 17)
    assert (times.sum(axis=1) == 17).all()
    with pytest.raises(ValueError, match="read-only"):
        times[0, 0] = 1


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_bootstrap_ratio_is_numpys_quantiles_to_the_last_digit(n: int) -> None:
    errors, words = np.random.default_rng(n).integers(0, [[5], [9]], size=(2, n)).astype(float)
    words += 1
    for resamples in (1, 2, 3, 300, 1000):
        times = intervals.resampled(n, resamples)
        expected = np.quantile((times @ errors) / (times @ words), [(1 - 0.95) / 2, 1 - (1 - 0.95) / 2])
        assert intervals.bootstrap_ratio(errors, words, resamples=resamples) == tuple(expected)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_median_is_numpys_to_the_last_digit(samples: list[float]) -> None:
    assert intervals.median_interval(samples).median == np.median(samples)


def test_bootstrap_ratio_weighs_pairs_by_their_denominators() -> None:
    assert intervals.bootstrap_ratio([2, 20], [4, 40]) == (0.5, 0.5)
    assert intervals.bootstrap_ratio([0, 3], [0, 1]) == (3, 3)


@pytest.mark.parametrize(("top", "bottom"), [([1], [1, 2]), ([], []), ([1], [0]), ([1, 1], [2, -1])])
def test_bootstrap_ratio_refuses_what_has_no_ratio(top: list[float], bottom: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        intervals.bootstrap_ratio(top, bottom)


def test_pareto_front() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 2.5), (3.0, 3.0), (2.0, 2.0), (1.0, 4.0)]
    assert intervals.pareto_front(points) == [1, 2, 5, 0]
    assert intervals.pareto_front([]) == []
    with pytest.raises(ValueError, match="not a number"):
        intervals.pareto_front([(1.0, math.nan)])
