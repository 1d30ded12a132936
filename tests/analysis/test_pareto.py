"""Which model is faster or more accurate, and which order may be chance."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from background import disturbed
from factory import but, timed

from vlmnb.analysis import pareto
from vlmnb.analysis.pareto import Point
from vlmnb.views import pareto_figure
from vlmnb.views.templates import say

NOISE_FLOOR = 0.2


def point(
    title: str, x: float, y: float, *, wide: float = 0.02, reach: float = 0.02, batches: int = 12
) -> Point:
    """A model whose batches take up to a share more or less, and whose error's interval reaches a number."""
    apart = [x * (1 + wide * (2 * at / (batches - 1) - 1)) for at in range(batches)]
    record = timed(tuple(random.Random(title).sample(apart, batches)))
    return Point(title, record, x, y, (x * (1 - wide), x * (1 + wide)), (y - reach, y + reach))


def titles(points: Iterable[Point]) -> list[str]:
    return [point.title for point in points]


def test_clear_differences_are_not_doubted() -> None:
    best, slow, poor = point("A", 0.2, 0.1), point("B", 0.5, 0.3), point("C", 0.3, 0.5)
    found = pareto.order([best, slow, poor], NOISE_FLOOR)
    assert (titles(found.front), titles(found.behind), found.doubted) == (["A"], ["B", "C"], [])
    assert pareto_figure.clause(found) == "A has both the shortest latency and the smallest error"
    found = pareto.order([point("A", 0.2, 0.3), point("B", 0.5, 0.1), point("C", 0.5, 0.5)], NOISE_FLOOR)
    assert (titles(found.front), titles(found.behind), found.doubted) == (["A", "B"], ["C"], [])
    assert "C is beaten in both" in pareto_figure.clause(found)


@pytest.mark.parametrize(
    ("other", "latencies", "errors"),
    [
        (point("B", 0.193, 0.4, wide=0.27), True, False),
        (point("B", 0.225, 0.4), True, False),
        (point("B", 0.5, 0.11), False, True),
        (point("B", 0.2, 0.11), True, True),
        (point("B", 0.9, 0.4, batches=5), True, False),
    ],
)
def test_an_order_within_intervals_or_noise_floor_is_doubted(
    other: Point, latencies: bool, errors: bool
) -> None:
    one = point("A", 0.192, 0.1)
    found = pareto.order([one, other], NOISE_FLOOR)
    assert titles(found.front) == ["A"]
    assert ([(c.fast, c.slow) for c in (*found.hidden, *found.equal)] == [(one, other)]) == latencies
    assert (found.errors == [(one, other)]) == errors
    said = pareto_figure.clause(found)
    assert said.startswith("by the numbers alone, A has both")
    assert [word in said.lower() for word in ("latencies", "errors")] == [latencies, errors]
    assert "of A and B" in said


@pytest.mark.parametrize(
    ("seconds", "floor", "outcome"),
    [
        (0.3, 0.1, "differs"),
        (0.205, 0.1, "equal within 13 %"),
        (0.24, 0.3, "may be noise"),
        (0.3, 0.6, "may be noise"),
    ],
)
def test_two_models_differ_are_equal_or_may_differ_by_noise(
    seconds: float, floor: float, outcome: str
) -> None:
    one, other = point("A", 0.2, 0.1), point("B", seconds, 0.4)
    found = pareto.compared(other, one, floor)
    assert (found.fast, found.slow) == (one, other)
    assert say("pareto", "outcome", change=found.change) == outcome
    said = pareto_figure.clause(pareto.order([one, other], floor))
    assert ("May be noise: latencies of A and B" in said) == (outcome == "may be noise")
    assert ("of A and B: equal within 13 %" in said) == (outcome == "equal within 13 %")
    busy = other._replace(record=disturbed(other.record))
    assert say("pareto", "outcome", change=pareto.compared(one, busy, floor).change) == "not reliable (†)"


def test_a_latency_under_background_load_is_doubted() -> None:
    busy = point("B", 0.9, 0.4)
    busy = busy._replace(record=disturbed(busy.record))
    found = pareto.order([point("A", 0.192, 0.1), busy], NOISE_FLOOR)
    assert (found.disturbed, found.equal, found.hidden, found.errors) == ([busy], [], [], [])
    assert "smallest error. Other processes used the machine while B was measured" in pareto_figure.clause(
        found
    )


def test_beaten_by_less_than_the_noise_floor_is_not_beaten() -> None:
    points = [point("A", 0.2, 0.3), point("B", 0.5, 0.1), point("C", 0.234, 0.5)]
    found = pareto.order(points, NOISE_FLOOR)
    assert [(each.fast.title, each.slow.title) for each in found.hidden] == [("A", "C")]
    assert "C is behind in both. May be noise: latencies of A and C" in pareto_figure.clause(found)
    assert not pareto.order(points, 0.05).doubted
    assert not pareto.order(points, None).doubted, "a report states no spread"


def test_models_in_turns_need_no_noise_floor() -> None:
    points = [point("A", 0.2, 0.3), point("C", 0.225, 0.5)]
    assert pareto.order(points, NOISE_FLOOR).doubted
    shared = [p._replace(record=but(p.record, timing=but(p.record.timing, turns="t"))) for p in points]
    assert not pareto.order(shared, NOISE_FLOOR).doubted
