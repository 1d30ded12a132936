"""Who is faster, more accurate, beaten: firm only where intervals, drift and other processes allow it."""

from __future__ import annotations

import pytest

from vlmnb.analysis import order
from vlmnb.views.pareto_figure import Point

DRIFT = 0.2


def point(
    title: str, x: float, y: float, *, wide: float = 0.02, reach: float = 0.02, disturbed: bool = False
) -> Point:
    """A model whose latency's interval reaches a share of it, and whose error's a number, to both sides."""
    ends = (x * (1 - wide), x * (1 + wide))
    return Point(title, "red", "o", x, y, ends, (y - reach, y + reach), disturbed=disturbed)


def test_clear_differences_are_said_plainly() -> None:
    best, slow, poor = point("A", 0.2, 0.1), point("B", 0.5, 0.3), point("C", 0.3, 0.5)
    assert order.told([best, slow, poor], DRIFT) == ("A has both the shortest latency and the smallest error")
    assert order.told([point("A", 0.2, 0.3), point("B", 0.5, 0.1), point("C", 0.5, 0.5)], DRIFT) == (
        "A and B are on the Pareto front, from fastest to most accurate; C is beaten in both"
    )
    assert order.told([best], DRIFT) == "only A was measured"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (point("B", 0.193, 0.4, wide=0.27), "the latencies of A and B cannot be told apart"),
        (point("B", 0.225, 0.4), "the latencies of A and B cannot be told apart"),
        (point("B", 0.5, 0.11), "the errors of A and B cannot be told apart"),
        (
            point("B", 0.2, 0.11),
            "neither the latencies nor the errors of A and B can be told apart",
        ),
        (point("B", 0.9, 0.4, disturbed=True), "others used the machine while B was timed"),
    ],
)
def test_what_may_be_chance_drift_or_other_processes_is_called_so(other: Point, why: str) -> None:
    said = order.told([point("A", 0.192, 0.1), other], DRIFT)
    assert said == (
        f"by the numbers alone, A has both the shortest latency and the smallest error, but {why}"
    )


def test_beaten_by_less_than_the_drift_is_not_beaten() -> None:
    front = [point("A", 0.2, 0.3), point("B", 0.5, 0.1)]
    behind = point("C", 0.234, 0.5)
    said = order.told([*front, behind], DRIFT)
    assert "beaten" not in said
    assert "C is behind in both, but the latencies of A and C cannot be told apart" in said
    assert "C is beaten in both" in order.told([*front, behind], 0.05)
    assert "C is beaten in both" in order.printed([*front, behind]), "a report states no spread"


def test_too_few_batches_tell_of_nothing() -> None:
    few = point("B", 0.9, 0.4)._replace(few=True)
    assert "the latencies of A and B cannot be told apart" in order.told([point("A", 0.2, 0.1), few], DRIFT)
