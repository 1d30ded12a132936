"""Names and sentences for pages about optimizations."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.types import Dtype


def omitted(cells: Sequence[Cell], base: Dtype) -> list[str]:
    """Return the optimizations of the preset that none of the cells has."""
    shown = {cell.optimization for cell in cells}
    return [name for name in optimizations.defaults(base) if name not in shown]


def label(field: str, cell: Cell, cells: Sequence[Cell]) -> str:
    """Return a cell's name in a table: the value of a field, and the batch size if the first row has another.

    The batch size is added on the optimization axis only, where a table can have rows of two batch sizes.
    """
    aside = field == "optimization" and cell.batch_size != cells[0].batch_size
    return f"{getattr(cell, field)}, batch {cell.batch_size}" if aside else str(getattr(cell, field))
