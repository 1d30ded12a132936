"""Find the cells of a sweep whose status is known before any model is loaded, and the shared ones."""

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
    """Return the status and reason that measuring a cell here must end in; None if only trying shows it."""
    if reason := models.get(cell.model).size_obstacle(cell.image_size, cell.interpolate):
        return "not_applicable", reason
    if cell.device == "cuda" and not machine.describe().gpus:
        return "unsupported", "this machine has no GPU"
    if reason := optimizations.obstacle(optimizations.of(cell), cell.device):
        return "unsupported", reason
    return None


def known(runs: Runs) -> dict[Cell, dict[str, Any]]:
    """Return each cell's known status and reason (or empty texts), and the runs whose tables show it."""
    found: dict[Cell, dict[str, Any]] = {}
    for name, cells in runs.items():
        for cell in cells:
            if cell not in found:
                status, reason = verdict(cell) or ("", "")
                found[cell] = {"status": status, "reason": reason, "runs": []}
            found[cell]["runs"].append(name)
    return found


def summary(runs: Runs) -> list[str]:
    """Return a line with the number of cells for each status and reason known in advance."""
    distinct = {cell for cells in runs.values() for cell in cells}
    counts = Counter(found for cell in distinct if (found := verdict(cell)))
    return [
        f"{count} {status.replace('_', ' ')}, known in advance: {reason}"
        for (status, reason), count in counts.most_common()
    ]
