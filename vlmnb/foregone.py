"""What is known of a sweep's cells before any model is loaded: not applicable, unsupported, shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vlmnb import machine, models, optimizations
from vlmnb.spec import Cell, Status

Runs = Mapping[str, Sequence[Cell]]
"""Cells by the name of the run that asks for them."""


def verdict(cell: Cell) -> tuple[Status, str] | None:
    """The status and reason that measuring a cell here will end in, where that is certain beforehand."""
    if reason := models.get(cell.model).size_obstacle(cell.image_size, cell.interpolate):
        return "not_applicable", reason
    if cell.device == "cuda" and not machine.describe().gpus:
        return "unsupported", "this machine has no GPU"
    attention = optimizations.parse(cell.optimization, cell.dtype).attention
    if reason := optimizations.obstacle(attention, cell.dtype, cell.device):
        return "unsupported", reason
    return None


def remarks(runs: Runs) -> dict[Cell, str]:
    """What is to be said of each cell: its verdict, and the other runs whose tables show it too."""
    asked: dict[Cell, list[str]] = {}
    for name, cells in runs.items():
        for cell in cells:
            asked.setdefault(cell, []).append(name)
    told = {}
    for cell, names in asked.items():
        found = verdict(cell)
        parts = [f"{found[0].replace('_', ' ')}: {found[1]}"] if found else []
        parts += [f"shared by {', '.join(names)}"] if len(names) > 1 else []
        told[cell] = f" [{'; '.join(parts)}]" if parts else ""
    return told


def summary(runs: Runs) -> list[str]:
    """How many cells have which verdict, a line for each."""
    distinct = {cell for cells in runs.values() for cell in cells}
    counts = Counter(found for cell in distinct if (found := verdict(cell)))
    return [
        f"{count} {status.replace('_', ' ')}, known beforehand: {reason}"
        for (status, reason), count in counts.most_common()
    ]
