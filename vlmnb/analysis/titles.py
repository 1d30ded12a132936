"""What readers call models, data sets and cells. Imports little, so that all of ``analysis`` can use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlmnb import models
from vlmnb.data import catalogue
from vlmnb.errors import UserError
from vlmnb.models.entry import ModelEntry
from vlmnb.spec import cell as names
from vlmnb.spec.cell import DEVICES, Cell

ALWAYS = {
    "model": "{}", "dataset": "{}", "device": "{}", "optimization": "{}", "batch_size": "batch size {}",
    "image_size": "image size {}", "seq_len": "prompt length {}",
}  # fmt: skip
"""What is said of fields that pages vary, even if the named cells have all of their values."""

SELDOM = {
    "length": "answers of {} length", "reuse": "kept: {}", "questions": "questions a picture: {}",
    "repeat": "repeat {}",
}  # fmt: skip


def entry_of(name: str) -> ModelEntry | None:
    """Return a model's registry entry; None for a model that the registry no longer has.

    A folder's title is the end of its path, behind ``…/``: the whole one is too long for a heading.
    """
    try:
        entry = models.get(name)
    except UserError:
        return None
    if not entry.title.startswith("/"):
        return entry
    short = {
        "title": "/".join(("…", *Path(entry.title).parts[-2:])),
        "summary": "A model measured by its folder.",
    }
    return entry.model_copy(update=short)


def dataset_title(name: str) -> str:
    """Return the title of a data set; the name of one that is no longer known."""
    return catalogue.CATALOGUE[name].title if name in catalogue.CATALOGUE else name


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
