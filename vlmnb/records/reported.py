"""Define a figure of a report: what was printed, and where."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from itertools import combinations
from typing import Literal

from vlmnb.types import Frozen

Quantity = Literal[
    "wer", "latency_s", "energy_j_per_sample", "flops", "latency_percent", "flops_percent", "energy_percent"
]
Kind = Literal["report", "log"]


Disputed = Collection[tuple[str, Quantity]]
"""Figures of reports by the key of their record, that errors and warnings of the audit are about."""


class Figure(Frozen):
    """One figure of a report.

    Attributes:
        file: Name of the source, such as ``report on Fuyu 8B``.
        kind: A report, or the raw log behind one.
        table: Heading of the table or section.
        axis: The page that the table belongs to.
        row: Label of the row, as printed.
        column: Heading of the column, as printed.
        unit: Unit of ``printed``, before any SI prefix.
        printed: The figure character by character; ``-`` and ``null`` are blanks.
        value: The same as a number in SI units; None if it is blank.
    """

    file: str
    kind: Kind
    table: str
    axis: str
    row: str
    column: str
    quantity: Quantity
    unit: str
    printed: str
    value: float | None

    @property
    def number(self) -> float:
        """Return ``value`` of a figure that is not blank."""
        assert self.value is not None
        return self.value

    @property
    def place(self) -> str:
        """Return file, table, row and column of the figure."""
        return f"{self.file}, {self.table}, {self.row}, {self.column}"


class Remark(Frozen):
    """A remark of ours on a table, shown on the page of its axis."""

    axis: str
    text: str


class Reported(Frozen):
    """Everything the reports print about one cell, in their order. Several tables may print one cell."""

    figures: tuple[Figure, ...] = ()
    remarks: tuple[Remark, ...] = ()

    def figure(self, quantity: Quantity) -> Figure | None:
        """Return the figure that is shown for a quantity.

        A report's figure is preferred to the log's; then the one with most digits, then the first. A blank
        is shown only if there is nothing else.
        """
        found = [figure for figure in self.figures if figure.quantity == quantity]
        return max(found, key=_rank, default=None)

    def value(self, quantity: Quantity) -> float | None:
        """Return the number of :meth:`figure`."""
        figure = self.figure(quantity)
        return figure.value if figure else None

    @property
    def places(self) -> str:
        """Return files and tables that print the cell: ``report on Fuyu 8B: Device Tests, Batch Tests``."""
        tables: dict[str, dict[str, None]] = {}
        for figure in self.figures:
            tables.setdefault(figure.file, {})[figure.table] = None
        return "; ".join(f"{file}: {', '.join(names)}" for file, names in tables.items())

    def on(self, axis: str) -> Reported:
        """Return the figures in the report's own table of an axis, and the remarks on it.

        A figure that another table of the report prints otherwise has a remark of its own.
        """
        ordered = [pair if pair[0].axis == axis else pair[::-1] for pair in self.doubles()]
        twice = [
            f"{one.column} is {one.printed} here and {other.printed} under {other.table} (row {other.row}): "
            "cut off in one of the tables, rounded in the other, or timed twice."
            for one, other in ordered
            if one.axis == axis
        ]
        return Reported(
            figures=tuple(f for f in self.figures if f.axis == axis and f.kind == "report"),
            remarks=(
                *(remark for remark in self.remarks if remark.axis == axis),
                *(Remark(axis=axis, text=text) for text in twice),
            ),
        )

    def doubles(self) -> list[tuple[Figure, Figure]]:
        """Return pairs of figures of a report's tables that differ although they have the same digits."""
        printed = [figure for figure in self.figures if figure.kind == "report" and figure.value is not None]
        return [
            (one, other)
            for one, other in combinations(printed, 2)
            if one.quantity == other.quantity
            and one.value != other.value
            and math.isclose(step(one), step(other))
        ]

    def conflicts(self) -> list[tuple[Figure, Figure]]:
        """Return pairs of figures of one quantity that cannot be one number, cut off or rounded."""
        pairs = [
            (one, other)
            for one, other in combinations(self.figures, 2)
            if one.quantity == other.quantity and not _agree(one, other)
        ]
        seen = {tuple(sorted((a.printed, b.printed))): (a, b) for a, b in reversed(pairs)}
        return list(reversed(seen.values()))


def digits(printed: str) -> int:
    """Count the significant digits of a figure as printed.

    >>> digits("0.078"), digits("11.03 T"), digits("-")
    (2, 4, 0)
    """
    number = re.match(r"[0-9.]*", printed)
    return len((number[0] if number else "").replace(".", "").lstrip("0"))


def _rank(figure: Figure) -> tuple[bool, bool, int]:
    return figure.value is not None, figure.kind == "report", digits(figure.printed)


def _agree(one: Figure, other: Figure) -> bool:
    """Return whether two figures may be one number: they differ by less than a step of the last digit."""
    if one.value is None or other.value is None:
        return True
    unit = max(step(one), step(other))
    return abs(one.value - other.value) < unit * (1 + 1e-9)


def step(figure: Figure) -> float:
    """Return the value of one step of the last printed digit, in SI units."""
    number = re.match(r"\d+(?:\.(\d+))?", figure.printed)
    value = figure.value or 0.0
    if number is None or not value:
        return 0.0
    return value / float(number[0]) * 10.0 ** -len(number[1] or "")
