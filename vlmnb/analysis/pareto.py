"""Latency and error of the models of one set-up: the Pareto front, and which order may be chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from vlmnb.analysis import series
from vlmnb.analysis.base_configuration import BaseResult, dataset_names
from vlmnb.analysis.series import Change
from vlmnb.records.record import Record
from vlmnb.stats import intervals


class Point(NamedTuple):
    """A model on one data set.

    Attributes:
        x: Latency, in seconds per batch.
        y: Error: 1 - accuracy, or the word error rate of a data set without scores.
    """

    title: str
    record: Record
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]

    @property
    def disturbed(self) -> bool:
        """Return whether background load disturbed the latency."""
        return self.record.batches_under_load


Pair = tuple[Point, Point]


class Compared(NamedTuple):
    """The latencies of two models on one data set, that of the slower one compared with the other."""

    fast: Point
    slow: Point
    change: Change


class Order(NamedTuple):
    """Who is on the Pareto front, who is not, and what of it may be chance.

    Attributes:
        front: Points on the front, from the fastest to the most accurate.
        doubted: Pairs whose order may be chance; because of the ``errors``, or of latencies that are
            ``equal`` or ``hidden`` by noise.
        disturbed: Points of these whose latency background load disturbed.
    """

    front: list[Point]
    behind: list[Point]
    doubted: list[Pair]
    disturbed: list[Point]
    equal: list[Compared]
    hidden: list[Compared]
    errors: list[Pair]


def panels(results: Sequence[BaseResult]) -> dict[str, list[Point]]:
    """Return the points of each data set on which two models or more can be compared."""
    return {name: found for name in dataset_names(results) if len(found := points(results, name)) > 1}


def points(results: Sequence[BaseResult], dataset: str) -> list[Point]:
    """Return the models that have both a latency and an error on a data set."""
    made = []
    for result in results:
        record = result.plotted(dataset)
        if record is None or record.latency_s is None or record.wer is None:
            continue
        x, latency, ends = record.latency_s, record.latency, record.accuracy_interval
        y, y_ends = record.wer, record.wer_interval or (record.wer, record.wer)
        if record.accuracy is not None and ends is not None:
            y, y_ends = 1 - record.accuracy, (1 - ends[1], 1 - ends[0])
        x_ends = (latency.low, latency.high) if latency else (x, x)
        made.append(Point(result.model.title, record, x, y, x_ends, y_ends))
    return made


def order(listed: Sequence[Point], noise_floor: float | None) -> Order:
    """Return who is on the Pareto front, and which order may be chance.

    Without a noise floor nothing is doubted: a report states no spread.
    """
    front = [listed[i] for i in intervals.pareto_front([(point.x, point.y) for point in listed])]
    behind = [point for point in listed if point not in front]
    if noise_floor is None:
        return Order(front, behind, [], [], [], [], [])
    doubted = [
        (one, other)
        for one, other in itertools.pairwise(front)
        if not (faster(one, other, noise_floor) and better(other, one))
    ]
    for beaten in behind:
        winners = [point for point in front if point.x <= beaten.x and point.y <= beaten.y]
        if not any(faster(winner, beaten, noise_floor) and better(winner, beaten) for winner in winners):
            doubted.append((winners[0], beaten))
    apart = [compared(*pair, noise_floor) for pair in doubted]
    return Order(
        front=front,
        behind=behind,
        doubted=doubted,
        disturbed=[one for one in listed if one.disturbed and any(one in pair for pair in doubted)],
        equal=[each for each in apart if each.change.tied and each.change.equal()],
        hidden=[each for each in apart if each.change.trend in ("within", "few") and not each.change.equal()],
        errors=[(a, b) for a, b in doubted if not (better(a, b) or better(b, a))],
    )


def faster(one: Point, other: Point, noise_floor: float) -> bool:
    """Return whether one latency is shorter than another, by the rule of all comparisons: see ``series``."""
    return series.change(one.record, other.record, noise_floor).trend == "grows"


def compared(one: Point, other: Point, noise_floor: float) -> Compared:
    """Compare the latencies of two models by the rule of all comparisons: see ``series``."""
    fast, slow = sorted((one, other), key=lambda point: point.x)
    return Compared(fast, slow, series.change(fast.record, slow.record, noise_floor))


def better(one: Point, other: Point) -> bool:
    """Return whether one error is smaller than another by more than the intervals of both."""
    return other.y - one.y > math.hypot(other.y - other.y_ends[0], one.y_ends[1] - one.y)
