"""Cells in the words of the pages: titles of models, data sets and devices in place of their names."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis.base_configuration import dataset_title, entry_of
from vlmnb.spec import cell as names
from vlmnb.spec.axes import DEVICES
from vlmnb.spec.cell import Cell

ALWAYS = {
    "model": "{}", "dataset": "{}", "device": "{}", "optimization": "{}", "batch_size": "batch size {}",
    "image_size": "image size {}", "seq_len": "prompt length {}",
}  # fmt: skip
"""What is said of fields that pages vary, even if the named cells have all of their values."""

SELDOM = {
    "length": "answers of {} length", "reuse": "kept: {}", "questions": "questions a picture: {}",
    "repeat": "repeat {}",
}  # fmt: skip


def titled(cell: Cell) -> Cell:
    """Return a cell with titles in place of the names of its model, data set and device, to be shown."""
    entry = entry_of(cell.model)
    titles = {
        "model": entry.title if entry else cell.model,
        "dataset": dataset_title(cell.dataset),
        "device": DEVICES[cell.device],
    }
    return cell.model_copy(update=titles)


def words(cell: Cell) -> str:
    """Describe a cell in a few words."""
    return names.words(titled(cell))


def where(cells: Sequence[Cell], every: Sequence[Cell]) -> str:
    """Name cells by the fields that differ between all cells of a page."""
    shown, parts = [titled(cell) for cell in cells], []
    for name, said in (ALWAYS | SELDOM).items():
        known = {getattr(cell, name) for cell in every}
        values = [value for value in dict.fromkeys(getattr(cell, name) for cell in shown) if value]
        varied = name in ALWAYS and (len(known) > 1 or len(every) == 1)
        if values and (varied or len(values) < len(known)):
            parts.append(said.format(", ".join(map(str, values))))
    return "; ".join(parts) or "all cells"
