"""What is known of a sweep's cells before any model is loaded: not applicable, unsupported, shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vlmnb import models
from vlmnb.device import machine
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.types import Status

Runs = Mapping[str, Sequence[Cell]]
"""Cells by the name of the run that asks for them."""


def verdict(cell: Cell) -> tuple[Status, str] | None:
    """The status and reason that measuring a cell here will end in, where that is certain beforehand."""
    if reason := models.get(cell.model).size_obstacle(cell.image_size, cell.interpolate):
        return "not_applicable", reason
    if cell.device == "cuda" and not machine.describe().gpus:
        return "unsupported", "this machine has no GPU"
    if reason := optimizations.obstacle(optimizations.of(cell), cell.device):
        return "unsupported", reason
    return None


def known(runs: Runs) -> dict[Cell, dict[str, Any]]:
    """Of each cell, for a program: its verdict, empty where it is open, and the runs whose tables show it."""
    asked: dict[Cell, list[str]] = {}
    for name, cells in runs.items():
        for cell in cells:
            asked.setdefault(cell, []).append(name)
    found = {cell: verdict(cell) or ("", "") for cell in asked}
    return {
        cell: {"status": found[cell][0], "reason": found[cell][1], "runs": names}
        for cell, names in asked.items()
    }


def remarks(runs: Runs) -> dict[Cell, str]:
    """What is to be said of each cell: its verdict, and the other runs whose tables show it too."""
    told = {}
    for cell, of in known(runs).items():
        parts = [f"{of['status'].replace('_', ' ')}: {of['reason']}"] if of["status"] else []
        parts += [f"shared by {', '.join(of['runs'])}"] if len(of["runs"]) > 1 else []
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
