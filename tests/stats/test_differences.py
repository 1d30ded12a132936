"""Differences between measurements: none is found where there is none, and those that count are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_stats import SKEWED, latencies

from vlmnb.stats import comparison

TIMES = st.lists(st.floats(1e-3, 1e3), min_size=6, max_size=30)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("name", SKEWED)
def test_a_against_a_is_called_different_in_at_most_5_percent(name: str, paired: bool) -> None:
    rng, wrong = np.random.default_rng(11), 0
    for n in (6, 8, 20, 96):
        found = [
            comparison.compare(a, b, paired=paired).differ
            for a, b in zip(latencies(name, (500, n), rng), latencies(name, (500, n), rng), strict=True)
        ]
        # 500 trials of 5 % give at most 37 with a probability of 99.9 %.
        assert found.count("yes") <= 37, f"n = {n}"
        wrong += found.count("yes")
    assert wrong <= 0.05 * 2000


def test_pairs_show_what_the_spread_of_questions_hides() -> None:
    rng = np.random.default_rng(0)
    questions = rng.lognormal(0, 0.5, 12)
    slower = questions * 1.2 * rng.lognormal(0, 0.01, 12)
    assert comparison.compare(questions, slower, paired=False).differ == "within"
    found = comparison.compare(questions, slower, paired=True)
    assert found.differ == "yes"
    assert found.low < 1.2 < found.high


@pytest.mark.parametrize(
    ("low", "high", "n", "most"),
    [(0.8, 1.1, 6, 0.25), (0.95, 1.14, 6, 0.14), (1.01, 1.2, 6, None), (0.8, 1.1, 5, None)],
)
def test_the_interval_says_how_large_a_difference_could_be(
    low: float, high: float, n: int, most: float | None
) -> None:
    differ = comparison._differ(n, low, high)
    found = comparison.Difference(ratio=1.0, low=low, high=high, n=n, paired=True, differ=differ)
    assert found.most() == (most if most is None else pytest.approx(most))


def test_the_bound_on_a_difference_holds_in_95_percent() -> None:
    """A true difference is above what the interval allows in at most 5 % of comparisons."""
    rng, above = np.random.default_rng(3), 0
    for a, b in zip(latencies(SKEWED[0], (400, 20), rng), latencies(SKEWED[0], (400, 20), rng), strict=True):
        found = comparison.compare(a, 1.1 * b, paired=False)
        above += (most := found.most()) is not None and most < 0.1
    assert above <= 0.05 * 400


@pytest.mark.parametrize("floor", [0.05, 0.27, 1.0])
def test_no_bound_is_below_the_noise_floor(floor: float) -> None:
    a = [1 + 0.01 * x for x in (0, 1, -1, 2, -2, 0, 1, -1)]
    most = comparison.compare(a, a[::-1], paired=False, noise_floor=floor).most()
    assert most is not None
    assert most >= floor - 1e-9


def test_drift_between_windows_widens_the_interval() -> None:
    a = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0]
    b = [1.04 * x for x in a]
    assert comparison.compare(a, b, paired=True).differ == "yes"
    allowed = comparison.compare(a, b, paired=True, noise_floor=0.05)
    assert allowed.differ == "within"
    assert allowed.most() == pytest.approx(1.04 * 1.05 - 1)
    assert (allowed.low, allowed.high) == pytest.approx((1.04 / 1.05, 1.04 * 1.05))


@pytest.mark.parametrize("n", [1, 5])
def test_few_samples_tell_nothing(n: int) -> None:
    assert comparison.compare([1.0] * n, [9.0] * n, paired=True).differ == "too few"


@given(TIMES, TIMES)
def test_the_other_way_round_is_the_reciprocal(a: list[float], b: list[float]) -> None:
    there, back = (comparison.compare(x, y, paired=False) for x, y in ((a, b), (b, a)))
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low))
    assert there.differ == back.differ
    assert there.low <= there.ratio <= there.high


@given(TIMES, st.floats(0.1, 10))
def test_a_constant_factor_is_found_exactly_in_pairs(a: list[float], factor: float) -> None:
    found = comparison.compare(a, [x * factor for x in a], paired=True)
    assert (found.low, found.high) == pytest.approx((factor, factor))


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [([1.0], [1.0, 2.0], "incomplete"), ([], [1.0], "at least one"), ([0.0], [1.0], "positive")],
)
def test_samples_without_a_ratio_are_refused(a: list[float], b: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        comparison.compare(a, b, paired=True)


@pytest.mark.parametrize("windows", [2, 3, 5, 10])
def test_repeats_keep_drift_from_being_called_a_difference(windows: int) -> None:
    rng, trials = np.random.default_rng(windows), 400

    def window(shift: float = 0.0) -> list[float]:
        return np.exp(shift + rng.normal(0, 0.03) + rng.normal(0, 0.01, 10)).tolist()

    naive = wrong = found = 0
    for _ in range(trials):
        told = comparison.repeatability([window() for _ in range(windows)])
        a, b = window(), window()
        naive += comparison.compare(a, b, paired=False).differ == "yes"
        wrong += comparison.compare(a, b, paired=False, noise_floor=told.threshold).differ == "yes"
        shifted = window(math.log1p(told.detectable))
        found += comparison.compare(a, shifted, paired=False, noise_floor=told.threshold).differ == "yes"
    assert naive / trials > 0.4, "without repeats, drift passes for a difference"
    assert wrong / trials <= 0.08
    assert found / trials == pytest.approx(comparison.POWER, abs=0.07)


def test_the_sign_test_is_the_exact_binomial_one() -> None:
    assert comparison.sign_test(0, 5) == pytest.approx(2 / 32)
    assert comparison.sign_test(6, 0) == pytest.approx(2 / 64)
    assert comparison.sign_test(1, 9) == pytest.approx(2 * 11 / 1024)
    assert comparison.sign_test(4, 4) == comparison.sign_test(0, 0) == 1
    assert comparison.one_sided_sign_test(5, 0) == 1 / 32
    assert comparison.one_sided_sign_test(9, 1) == pytest.approx(11 / 1024)


@given(st.integers(0, 30), st.integers(0, 30))
def test_one_sided_sign_test_falls_with_the_imbalance(more: int, fewer: int) -> None:
    p = comparison.one_sided_sign_test(more, fewer)
    assert 0 < p <= 1
    assert comparison.one_sided_sign_test(more + 1, fewer) <= p
    assert p >= 0.5 or more > fewer


def test_a_window_listed_twice_is_no_repeat() -> None:
    windows = [[1.0, 1.1, 1.2], [1.05, 1.15, 1.3], [1.0, 1.1, 1.2]]
    with pytest.raises(ValueError, match="Windows 0 and 2"):
        comparison.repeatability(windows)
    with pytest.raises(ValueError, match="two windows or more"):
        comparison.repeatability(windows[:1])


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 3, 3.1824), (0.975, 4, 2.7764), (0.975, 30, 2.0423),
     (0.8, 5, 0.9195), (0.95, 9, 1.8331), (0.995, 10, 3.1693), (0.5, 3, 0.0)],
)  # fmt: skip
def test_student_quantiles_are_those_of_the_tables(probability: float, freedom: int, value: float) -> None:
    assert comparison.student_quantile(probability, freedom) == pytest.approx(value, abs=1e-4)
