"""Find the cells of a sweep whose status is known before any model is loaded, and the shared ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlmnb import models
from vlmnb.device import machine
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.types import Status


def verdict(cell: Cell) -> tuple[Status, str] | None:
    """Return the status and reason that measuring a cell here must end in; None if only trying shows it."""
    if reason := models.get(cell.model).size_obstacle(cell.image_size, cell.interpolate):
        return "not_applicable", reason
    if cell.device == "cuda" and not machine.describe().gpus:
        return "unsupported", "this machine has no GPU"
    if reason := optimizations.obstacle(optimizations.of(cell), cell.device):
        return "unsupported", reason
    return None


def known(runs: Mapping[str, Sequence[Cell]]) -> dict[Cell, dict[str, Any]]:
    """Return each cell's known status and reason (or empty texts), and the runs whose tables show it.

    Args:
        runs: Cells by the name of the run that asks for them.
    """
    found: dict[Cell, dict[str, Any]] = {}
    for name, cells in runs.items():
        for cell in cells:
            if cell not in found:
                status, reason = verdict(cell) or ("", "")
                found[cell] = {"status": status, "reason": reason, "runs": []}
            found[cell]["runs"].append(name)
    return found
