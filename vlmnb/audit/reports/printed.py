"""Figures as a report prints them: which numbers they can stand for, and the rows they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlmnb.audit.rule import Where, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Quantity, digits, step

SHOWN_DIGITS = 7
"""Digits that are shown of a log's figure."""

UNITS = {"latency_s": "s", "energy_j_per_sample": "J", "flops": "FLOP", "wer": ""}


@dataclass(frozen=True)
class Row:
    """One row of a table as far as it is of one cell."""

    record: Record
    file: str
    table: str
    name: str
    figures: dict[str, Figure] = field(default_factory=dict)

    def value(self, quantity: Quantity) -> float | None:
        """A figure's number; None where the row has none."""
        found = self.figures.get(quantity)
        return found.value if found else None

    def where(self, *quantities: Quantity) -> Where:
        """Where some figures of it stand; all of them, if none is named."""
        chosen = [f for name, f in self.figures.items() if not quantities or name in quantities]
        return where(self.record, chosen)


def rows(records: Iterable[Record]) -> list[Row]:
    """All rows of all tables, one for each cell that they speak of."""
    made: dict[tuple[str, str, str, str], Row] = {}
    for record in records:
        for figure in record.reported.figures if record.reported else ():
            key = (record.key, figure.file, figure.table, figure.row)
            row = made.setdefault(key, Row(record, figure.file, figure.table, figure.row))
            row.figures[figure.quantity] = figure
    return list(made.values())


def finest(record: Record, quantity: Quantity) -> Figure | None:
    """The figure of a quantity that is printed with most digits, in a report or a log."""
    figures = record.reported.figures if record.reported else ()
    found = [f for f in figures if f.quantity == quantity and f.value is not None]
    return max(found, key=lambda figure: digits(figure.printed), default=None)


def ends(figure: Figure) -> tuple[float, float]:
    """Least and largest number that prints as the figure does, whether digits were rounded or cut off."""
    assert figure.value is not None
    return figure.value - step(figure) / 2, figure.value + step(figure)


def cut_not_rounded(short: Figure, full: float) -> bool:
    """Whether a figure has the digits that cutting off gives and rounding does not."""
    assert short.value is not None
    unit = step(short)
    return unit / 2 * (1 + 1e-9) < full - short.value < unit


def prints(figure: Figure, value: float) -> bool:
    """Whether a number prints as the figure does."""
    assert figure.value is not None
    slack = step(figure) * 1e-6
    return -step(figure) / 2 - slack <= value - figure.value < step(figure) - slack


def single(value: float) -> float:
    """A number as 32 bits hold it, which is what a log of tensors prints."""
    return float(np.float32(value))


def shown(figure: Figure) -> str:
    """A figure with its unit, as printed, the digits of a log shortened."""
    unit = UNITS.get(figure.quantity, "")
    if unit == "FLOP":
        return figure.printed
    text = figure.printed if digits(figure.printed) <= SHOWN_DIGITS else f"{figure.value:.{SHOWN_DIGITS}g}…"
    return f"{text} {unit}".rstrip()


def watts(row: Row) -> float | None:
    """Mean power of a row: joules per sample times samples of a batch, over the seconds of a batch."""
    energy, latency = row.value("energy_j_per_sample"), row.value("latency_s")
    return energy * row.record.cell.batch_size / latency if energy and latency else None


def watt_ends(row: Row) -> tuple[float, float]:
    """Least and largest mean power that the printed figures of a row allow."""
    energy, latency = ends(row.figures["energy_j_per_sample"]), ends(row.figures["latency_s"])
    size = row.record.cell.batch_size
    return energy[0] * size / latency[1], energy[1] * size / latency[0]


def distinct(found: Sequence[Row], *quantities: Quantity) -> Iterator[Row]:
    """Rows that print all of some quantities, one of each cell: the one with most digits."""
    best: dict[str, Row] = {}
    for row in found:
        if any(row.value(quantity) is None for quantity in quantities):
            continue
        other = best.get(row.record.key)
        if other is None or _precision(row, quantities) > _precision(other, quantities):
            best[row.record.key] = row
    yield from best.values()


def _precision(row: Row, quantities: Sequence[Quantity]) -> int:
    return min(digits(row.figures[quantity].printed) for quantity in quantities)
