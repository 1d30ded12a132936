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


def aside(cells: Sequence[Cell]) -> str:
    """Return heading and sentence, as Markdown, for the table of a group that is not the first."""
    size, names = cells[0].batch_size, ", ".join(f"`{cell.optimization}`" for cell in cells[1:])
    return (
        f"### At batch {size}\n\n{names}: at most {size} at a time. The original is measured at batch {size} "
        "too and is the row to compare with. Seconds per batch cannot be compared with those above, whose "
        "batches hold more questions."
    )
