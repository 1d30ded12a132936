"""The axes: questions that are asked of every model, one notebook each.

Adding an axis means adding an entry to ``axes.yaml`` and a notebook of its name. An entry carries all that
plans, tables, figures and pages ask of an axis. Only texts about one axis alone treat it by name: the tables
of optimizations, and the rules that compare the written reports with their logs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vlmnb.errors import UserError, nearest
from vlmnb.spec.cell import DEVICES, Cell
from vlmnb.spec.parameters import BATCH_SIZE, FIXED, KINDS, Kind
from vlmnb.types import Frozen, Measured

NOISE_FLOOR = "vlmnb-noise-floor"
"""Marks the output of a notebook that shows the noise floor, in its metadata: the page depends on it."""


class Axis(Frozen):
    """One question asked of every model.

    Attributes:
        name: Name of the notebook.
        title: Heading of its pages.
        varies: The field of a cell that varies; empty for a notebook that measures nothing.
        values: The notebook parameter that lists the field's values.
        numeric: Values are whole numbers, drawn as points in their order; else names, drawn as bars.
        default: The values if the notebook is given none; empty if they depend on the model.
        row_title: Heading of the column of values, with their unit.
        noun: Name of the axis within a sentence.
        several_datasets: The table has columns for several data sets (``datasets``); else it is of one
            (``dataset``).
        choice_questions: Asks the model's multiple-choice data set by default, not the one for speed.
        against_original: The first row is the original, and the others are compared with it.
        in_reports: The reports have this table.
        noise_floor: Its page always compares something that took no turns, and shows the noise floor.
        batch_size: Batch size of the base configuration, as in the reports.
        speed: Its page also times answers of fixed length.
        measure: What its cells measure: generation, or one forward pass by layers.
        extra: Parameters that this notebook has and others do not.
        own: Parameters and default values of a notebook that measures nothing; 0 means the model's own.
    """

    name: str
    title: str
    question: str
    varies: str = ""
    values: str = ""
    numeric: bool = True
    default: tuple[int | str, ...] = ()
    row_title: str = ""
    noun: str = ""
    several_datasets: bool = False
    choice_questions: bool = False
    against_original: bool = False
    in_reports: bool = False
    noise_floor: bool = False
    batch_size: int = BATCH_SIZE
    speed: bool = False
    measure: Measured = "generation"
    extra: tuple[str, ...] = ()
    own: dict[str, int | str] = {}

    @property
    def parameters(self) -> dict[str, Kind]:
        """Notebook parameters and their types, in the order of the parameters cell."""
        if self.own:
            return {name: KINDS[name] for name in self.own}
        data = "datasets" if self.several_datasets else "dataset"
        kinds = {**KINDS, self.values: (list, int if self.numeric else str)}
        wanted = ("model", "weights", data, "samples", self.values, *self.extra, *FIXED)
        left_out = {self.varies}
        if self.measure == "layers":
            left_out |= {"samples", "max_new_tokens", "length"}  # one batch, and nothing is generated
        if self.measure == "reuse":
            left_out |= {"batch_size", "length"}  # one question after the other, and answers are compared
        if self.measure == "preprocessing":
            left_out |= {"length"}
        if "precisions" in self.extra:
            left_out |= {
                "optimization",
                "length",
            }  # for precisions, and answers of fixed length have no quality
        return {name: kinds[name] for name in wanted if name not in left_out}

    def value(self, cell: Cell) -> Any:
        """Return a cell's value on this axis."""
        return getattr(cell, self.varies)

    def shown(self, value: object) -> str:
        """Return a value of this axis as readers see it."""
        return DEVICES[str(value)] if self.varies == "device" else str(value)

    def text(self, cell: Cell) -> str:
        """Return a cell's value on this axis as readers see it."""
        return self.shown(self.value(cell))


AXES: dict[str, Axis] = {
    name: Axis(name=name, **entry)
    for name, entry in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")).items()
}


def get(name: str) -> Axis:
    """Return the axis of a name.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    try:
        return AXES[name]
    except KeyError:
        raise UserError(f"unknown axis {name!r}; {nearest(name, AXES)}") from None
