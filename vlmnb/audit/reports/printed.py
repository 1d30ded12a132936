"""Read figures as a report prints them: the numbers they can stand for, and the rows they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from vlmnb.audit.rule import Where, grouped, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Quantity, digits, step
from vlmnb.spec.cell import Cell

SHOWN_DIGITS = 7
"""Digits shown of a log's figure."""

NOISE = 0.05
"""Relative difference of latencies that repeats of one cell may show; the reports state no repeats."""

UNITS = {"latency_s": "s", "energy_j_per_sample": "J", "flops": "FLOP", "wer": ""}

ORIGINAL = ("cuda", "fp16")
"""Device and optimization that the reports compare the others with."""


@dataclass(frozen=True)
class OfCell:
    """Something printed about the cell of a record."""

    record: Record

    @property
    def cell(self) -> Cell:
        return self.record.cell


Printed = TypeVar("Printed", bound=OfCell)


@dataclass(frozen=True)
class CellFigure(OfCell):
    """A figure of a cell."""

    figure: Figure

    @property
    def number(self) -> float:
        return self.figure.number

    @property
    def shown(self) -> str:
        return shown(self.figure)

    @property
    def where(self) -> Where:
        """Return the record and the figure's place in it."""
        return where(self.record, [self.figure])


@dataclass(frozen=True)
class Row(OfCell):
    """The part of one table row that is about one cell."""

    file: str
    table: str
    name: str
    figures: dict[str, Figure] = field(default_factory=dict)

    def value(self, quantity: Quantity) -> float | None:
        """Return a figure's number; None if the row has none."""
        found = self.figures.get(quantity)
        return found.value if found else None

    def number(self, quantity: Quantity) -> float:
        """Return the number of a figure that the row has."""
        return self.figures[quantity].number

    def shown(self, quantity: Quantity) -> str:
        """Return a figure that the row has, as printed."""
        return shown(self.figures[quantity])

    def where(self, *quantities: Quantity) -> Where:
        """Return the places of some figures of the row; of all, if none is named."""
        chosen = [f for name, f in self.figures.items() if not quantities or name in quantities]
        return where(self.record, chosen)


def figures(record: Record) -> tuple[Figure, ...]:
    """Return all that is printed about a cell."""
    return record.reported.figures if record.reported else ()


def rows(records: Iterable[Record]) -> list[Row]:
    """Return all rows of all tables, one for each cell that they are about."""
    made: dict[tuple[str, str, str, str], Row] = {}
    for record in records:
        for figure in figures(record):
            key = (record.key, figure.file, figure.table, figure.row)
            row = made.setdefault(key, Row(record, figure.file, figure.table, figure.row))
            row.figures[figure.quantity] = figure
    return list(made.values())


def numbers(records: Iterable[Record], quantity: Quantity) -> list[CellFigure]:
    """Return all figures of a quantity that are not blank."""
    return [
        CellFigure(record, figure)
        for record in records
        for figure in figures(record)
        if figure.quantity == quantity and figure.value is not None
    ]


def finest(records: Iterable[Record], quantity: Quantity) -> list[CellFigure]:
    """Return for each record the figure of a quantity with most digits, in a report or a log, if any."""
    groups = grouped(numbers(records, quantity), lambda one: one.record.key)
    return [max(group, key=lambda one: digits(one.figure.printed)) for group in groups]


def families(found: Iterable[Printed], name: str) -> list[list[Printed]]:
    """Group what agrees in everything but one field of the cell, in the order of its values.

    Devices and optimizations have no order: there the original comes first.
    """

    def order(one: Printed) -> int:
        value = getattr(one.cell, name)
        return value if isinstance(value, int) else value not in ORIGINAL

    groups = grouped(found, lambda one: one.cell.model_dump_json(exclude={name}))
    return [sorted(group, key=order) for group in groups]


def ends(figure: Figure) -> tuple[float, float]:
    """Return the smallest and largest number that prints as the figure, whether rounded or cut off."""
    return figure.number - step(figure) / 2, figure.number + step(figure)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two ranges share a number."""
    return one[0] <= other[1] and other[0] <= one[1]


def prints(figure: Figure, value: float) -> bool:
    """Return whether a number prints as the figure."""
    slack = step(figure) * 1e-6
    return -step(figure) / 2 - slack <= value - figure.number < step(figure) - slack


def single(value: float) -> float:
    """Return a number as 32 bits hold it, which is what a log of tensors prints."""
    return float(np.float32(value))


def shown(figure: Figure) -> str:
    """Return a figure as printed with its unit; a log's digits are shortened."""
    unit = UNITS.get(figure.quantity, "")
    if unit == "FLOP":
        return figure.printed
    text = figure.printed if digits(figure.printed) <= SHOWN_DIGITS else f"{figure.value:.{SHOWN_DIGITS}g}…"
    return f"{text} {unit}".rstrip()


def watts(row: Row) -> float:
    """Return the mean power of a row: joules per sample times samples of a batch, over seconds of a batch."""
    return row.number("energy_j_per_sample") * row.cell.batch_size / row.number("latency_s")


def watt_ends(row: Row) -> tuple[float, float]:
    """Return the smallest and largest mean power that the printed figures of a row allow."""
    (least, most), (short, long) = ends(row.figures["energy_j_per_sample"]), ends(row.figures["latency_s"])
    return least * row.cell.batch_size / long, most * row.cell.batch_size / short


def distinct(found: Iterable[Row], *quantities: Quantity) -> list[Row]:
    """Return of each cell the row with most digits among those that print all of some quantities."""
    complete = [row for row in found if all(row.value(quantity) is not None for quantity in quantities)]

    def finest(row: Row) -> int:
        return min(digits(row.figures[quantity].printed) for quantity in quantities)

    return [max(group, key=finest) for group in grouped(complete, lambda row: row.record.key)]
