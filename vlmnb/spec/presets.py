"""Which settings the optimization axis shows, and at which batch size each is held against the original."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import COMPILE, DECODING, FLASH, LIBRARIES, PROMPT_LOOKUP, parse
from vlmnb.types import Dtype

Rows = tuple[int, list[str]]
"""A batch size and the settings measured at it, the first being the original."""


def defaults(base: Dtype) -> list[str]:
    """The settings that the axis shows, the first being the original.

    The reports' rows come first, then every other setting alone.
    """
    rows = [base, COMPILE, FLASH, "bf16", "fp16", "fp32", "sdpa", *LIBRARIES, *DECODING]
    return list(dict.fromkeys(parse(row, base).name for row in rows))


def at_batches(settings: Sequence[str], batch_size: int) -> list[Rows]:
    """Settings by the batch size that they are measured at, where none was asked for.

    Prompt lookup takes one question at a time. It is measured so, and beside it the original: a batch of
    one against a batch of many would compare batch sizes.
    """
    lone = [name for name in settings if PROMPT_LOOKUP in name.split("+")]
    if settings[0] in lone:
        return [(1, list(settings))]
    many = [name for name in settings if name not in lone]
    return [(batch_size, many)] + ([(1, [settings[0], *lone])] if lone else [])


def omitted(cells: Sequence[Cell], base: Dtype) -> list[str]:
    """The preset's settings that cells do not hold."""
    held = {cell.optimization for cell in cells}
    return [name for name in defaults(base) if name not in held]


def groups(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Cells of the optimization axis that may be held against one another: of one batch size each."""
    sizes = dict.fromkeys(cell.batch_size for cell in cells)
    return [tuple(cell for cell in cells if cell.batch_size == size) for size in sizes]


def label(axis: str, cell: Cell, cells: Sequence[Cell]) -> str:
    """A cell's name in a table over an axis; with its batch size where that is not the first row's."""
    aside = axis == "optimization" and cell.batch_size != cells[0].batch_size
    return f"{getattr(cell, axis)}, batch {cell.batch_size}" if aside else str(getattr(cell, axis))


def aside(cells: Sequence[Cell]) -> str:
    """Heading and sentence, as Markdown, above the table of a group that is not the first."""
    size, names = cells[0].batch_size, ", ".join(f"`{cell.optimization}`" for cell in cells[1:])
    return (
        f"### At batch {size}\n\nPrompt lookup ({names}) takes one question at a time. It is held against "
        f"the original at batch {size}, measured for that; seconds per batch are not to be compared with "
        "those above, which are of more questions."
    )
