"""The interval of pairs in turns is that of Wilcoxon's test, and rarely errs where batches differ alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy

from vlmnb.analysis import signed_ranks
from vlmnb.stats.intervals import Floats

Draw = Callable[[np.random.Generator, int, int], Floats]


def bursts(chance: np.random.Generator, rounds: int, batches: int) -> Floats:
    """Noise of 10 % as on a rented machine: now and then something else runs meanwhile."""
    made = 0.1 * chance.standard_normal((rounds, batches))
    return made * np.where(chance.random((rounds, batches)) < 1 / 12, 5, 1)


def of_batches(share: float) -> Draw:
    """Part of the noise, by its variance, is of the batch and the same in every round."""

    def made(chance: np.random.Generator, rounds: int, batches: int) -> Floats:
        own = 0.1 * chance.standard_normal((1, batches))
        return share**0.5 * own + (1 - share) ** 0.5 * 0.1 * chance.standard_normal((rounds, batches))

    return made


def drifting(chance: np.random.Generator, rounds: int, batches: int) -> Floats:
    """A machine that gets slower and faster meets both of a pair, which are one after the other."""
    speed = np.cumsum(0.02 * chance.standard_normal(2 * rounds * batches)).reshape(rounds, batches, 2)
    return np.asarray(speed[..., 1] - speed[..., 0] + 0.02 * chance.standard_normal((rounds, batches)))


@pytest.mark.parametrize("count", [6, 12, 24, 60, 61, 200])
def test_alone_it_decides_as_wilcoxons_test(count: int) -> None:
    values = np.random.default_rng(count).normal(0.1, 0.1, count)
    found = signed_ranks.interval(values[:, None], 0.95)  # one batch is no cluster among others
    for end, outward in ((found.low, -1e-9), (found.high, 1e-9)):
        inside, outside = (scipy.stats.wilcoxon(values - end - step).pvalue for step in (-outward, outward))
        assert outside <= 0.05 + 1e-3 * (count > 60)
        assert inside > 0.05 - 1e-3 * (count > 60)
    every = [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]
    assert found.value == pytest.approx(np.median(every))


@pytest.mark.parametrize(("rounds", "batches"), [(2, 6), (4, 6), (3, 12)])
@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (bursts, 0.05), (drifting, 0.05), (of_batches(0.0), 0.05),
        (of_batches(0.1), 0.07), (of_batches(0.4), 0.07), (of_batches(0.9), 0.07),
    ],
    ids=["bursts", "drift", "none", "tenth", "less", "nearly all"],
)  # fmt: skip
def test_pairs_of_one_and_the_same_cell_are_rarely_called_different(
    draw: Draw, most: float, rounds: int, batches: int
) -> None:
    chance, tries = np.random.default_rng(0), 600
    wrong = 0
    for _ in range(tries):
        found = signed_ranks.interval(draw(chance, rounds, batches), 0.95)
        wrong += not found.low <= 0 <= found.high
    assert wrong / tries <= most + 2 * (most * (1 - most) / tries) ** 0.5, "chance included"


def test_one_disturbed_pair_hardly_moves_the_estimate() -> None:
    quiet = np.random.default_rng(1).normal(0.1, 0.02, (2, 6))
    disturbed = quiet.copy()
    disturbed[1, 3] = 1.0
    before, after = (signed_ranks.interval(each, 0.95) for each in (quiet, disturbed))
    assert after.value == pytest.approx(before.value, abs=0.01)
    assert after.high - after.low < 2 * (before.high - before.low)


def test_batches_that_differ_alike_in_every_round_widen_the_interval() -> None:
    own = np.random.default_rng(2).normal(0.0, 0.1, (1, 6))
    alike = own + 0.001 * np.random.default_rng(3).standard_normal((4, 6))
    effect = signed_ranks.design_effect(alike)
    assert 3 < effect < 5
    found = signed_ranks.interval(alike, 0.95)
    apart = signed_ranks.interval(alike.reshape(-1, 1), 0.95)
    assert found.high - found.low > 1.5 * (apart.high - apart.low)
    assert signed_ranks.design_effect(np.zeros((4, 6))) == 1


def test_rounding_decides_nothing() -> None:
    """The middle two of an even number of pairs are equally far from the median: their ranks are the same."""
    chance = np.random.default_rng(2)
    for _ in range(100):
        values = 0.1 * chance.standard_normal((2, 6))
        for shift in (0.1, -0.3, 0.7):
            found, moved = (signed_ranks.interval(each, 0.95) for each in (values, values + shift))
            assert moved == pytest.approx([each + shift for each in found])
            assert signed_ranks.design_effect(values + shift) == pytest.approx(
                signed_ranks.design_effect(values)
            )
