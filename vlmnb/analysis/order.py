"""Which of several models is faster or more accurate, and which order may be chance: sentences on points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from vlmnb.stats import formatting, intervals
from vlmnb.views.pareto_figure import Point

Pair = tuple[Point, Point]


def told(listed: Sequence[Point], drift: float) -> str:
    """Who is on the Pareto front and who is beaten, with what may be chance in it.

    Args:
        listed: The models in one panel.
        drift: Relative difference that two windows of one cell may show on their machine.
    """
    front, behind = _sides(listed)
    doubted: list[Pair] = []
    for one, other in itertools.pairwise(front):
        if not (faster(one, other, drift) and better(other, one)):
            doubted.append((one, other))
    for beaten in behind:
        winners = [point for point in front if point.x <= beaten.x and point.y <= beaten.y]
        if not any(faster(winner, beaten, drift) and better(winner, beaten) for winner in winners):
            doubted.append((winners[0], beaten))
    if not doubted:
        return printed(listed)
    return f"by the numbers alone, {_order(front, behind, 'behind')}, but {_doubts(doubted, drift)}"


def printed(listed: Sequence[Point]) -> str:
    """The same by the numbers alone, as a report has them, which states no spread."""
    return _order(*_sides(listed), "beaten")


def faster(one: Point, other: Point, drift: float) -> bool:
    """Whether one latency is shorter than another by more than intervals and drift explain.

    The interval of the ratio is put together from those of both medians, as for rows that are not paired:
    see ``differences.compare``.
    """
    if one.disturbed or other.disturbed or one.few or other.few:
        return False
    ratio = math.log(other.x / one.x)
    down = math.hypot(math.log(other.x / other.x_ends[0]), math.log(one.x_ends[1] / one.x))
    return ratio > max(down, math.log1p(drift))


def better(one: Point, other: Point) -> bool:
    """Whether one error is smaller than another by more than the intervals of both explain."""
    return other.y - one.y > math.hypot(other.y - other.y_ends[0], one.y_ends[1] - one.y)


def _sides(listed: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    front = [listed[i] for i in intervals.pareto_front([(point.x, point.y) for point in listed])]
    return front, [point for point in listed if point not in front]


def _order(front: Sequence[Point], behind: Sequence[Point], verb: str) -> str:
    if len(front) + len(behind) == 1:
        return f"only {front[0].title} was measured"
    if len(front) == 1:
        return f"{front[0].title} has both the shortest latency and the smallest error"
    words = f"{_names(front)} are on the Pareto front, from fastest to most accurate"
    is_are = "is" if len(behind) == 1 else "are"
    return f"{words}; {_names(behind)} {is_are} {verb} in both" if behind else words


def _doubts(pairs: Sequence[Pair], drift: float) -> str:
    """Why the order of some points may be chance."""
    disturbed = list(dict.fromkeys(point for pair in pairs for point in pair if point.disturbed))
    latencies = [
        (a, b)
        for a, b in pairs
        if not (a.disturbed or b.disturbed or faster(a, b, drift) or faster(b, a, drift))
    ]
    errors = [(a, b) for a, b in pairs if not (better(a, b) or better(b, a))]
    said = []
    if disturbed:
        was = "was" if len(disturbed) == 1 else "were"
        said.append(f"others used the machine while {_names(disturbed)} {was} timed")
    if latencies and latencies == errors:
        said.append(f"neither the latencies nor the errors of {_pairs(errors)} can be told apart")
    else:
        for what, alike in (("latencies", latencies), ("errors", errors)):
            said += [f"the {what} of {_pairs(alike)} cannot be told apart"] if alike else []
    return formatting.enumerated(said)


def _pairs(pairs: Sequence[Pair]) -> str:
    return ", and of ".join(f"{one.title} and {other.title}" for one, other in pairs)


def _names(points: Sequence[Point]) -> str:
    return formatting.enumerated([point.title for point in points])
