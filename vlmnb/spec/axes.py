"""The axes: questions that are asked of every model, one notebook each.

Adding an axis means adding an entry here and a notebook of its name. An entry carries all that is known of an
axis; no other module treats an axis by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vlmnb.errors import UserError, nearest
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.parameters import FIXED, PARAMETERS, Context, Kind
from vlmnb.types import Measured

BATCH_SIZE = 16
"""Batch size of the base configuration, as in the reports."""

REPORTED_OPTIMIZATIONS = ("fp16", "compile", "flash_attention_2")
"""Rows of the reports' tables of optimizations."""


def _nothing(context: Context, axis: Axis) -> list[Any]:
    return []


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One question asked of every model.

    Attributes:
        name: Name of the notebook.
        title: Heading of its pages.
        question: The question, as a sentence.
        varies: The field of a cell that varies; empty for a notebook that measures nothing.
        values: The notebook parameter that lists the field's values.
        kind: Type of one value. Numbers are drawn as points in their order, names as bars.
        default: Returns the values if the notebook is given none.
        row_title: Heading of the column of values, with their unit.
        noun: Name of the axis within a sentence.
        several_datasets: The table has columns for several data sets (``datasets``); else it is of one
            (``dataset``).
        choice_questions: Asks the model's multiple-choice data set by default, not the one for speed.
        against_original: The first row is the original, and the others are compared with it.
        in_reports: The reports have this table.
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
    kind: type = int
    default: Callable[[Context, Axis], list[Any]] = _nothing
    row_title: str = ""
    noun: str = ""
    several_datasets: bool = False
    choice_questions: bool = False
    against_original: bool = False
    in_reports: bool = False
    batch_size: int = BATCH_SIZE
    speed: bool = False
    measure: Measured = "generation"
    extra: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Kind]:
        """Notebook parameters and their types, in the order of the parameters cell."""
        if self.own:
            return {name: PARAMETERS[name].kind for name in self.own}
        data = "datasets" if self.several_datasets else "dataset"
        kinds = {name: known.kind for name, known in PARAMETERS.items()} | {self.values: (list, self.kind)}
        wanted = ("model", "weights", data, "samples", self.values, *self.extra, *FIXED)
        return {name: kinds[name] for name in wanted if name != self.varies and self._takes(name)}

    def _takes(self, name: str) -> bool:
        """Return whether a parameter applies: by layers nothing is generated from one batch."""
        if "precisions" in self.extra and name in ("optimization", "length"):
            return False  # precisions replace the first, and answers of fixed length have no quality
        return self.measure == "generation" or name not in ("samples", "max_new_tokens", "length")

    def value(self, cell: Cell) -> Any:
        """Return a cell's value on this axis."""
        return getattr(cell, self.varies)

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.kind is int


def _devices(context: Context, axis: Axis) -> list[str]:
    return ["cuda", "cpu"]


def _batch_sizes(context: Context, axis: Axis) -> list[int]:
    return [1, 16] if axis.measure == "layers" else [1, 4, 8, 16]


def _image_sizes(context: Context, axis: Axis) -> list[int]:
    return list(context.entry.image_sizes)


def _seq_lens(context: Context, axis: Axis) -> list[int]:
    return list(context.entry.seq_lens)


def _optimizations(context: Context, axis: Axis) -> list[str]:
    return list(REPORTED_OPTIMIZATIONS) if context.reported else optimizations.defaults(context.base)


def _repeats(context: Context, axis: Axis) -> list[int]:
    return [1, 2, 3, 4, 5]


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(
            name="device",
            varies="device",
            values="devices",
            kind=str,
            default=_devices,
            title="Device",
            question="What does one question cost on a GPU, and what on the CPU beside it?",
            row_title="Device",
            noun="device",
            in_reports=True,
            batch_size=1,
            speed=True,
        ),
        Axis(
            name="batch_size",
            varies="batch_size",
            values="batch_sizes",
            default=_batch_sizes,
            title="Batch size",
            question="How do latency per batch and energy per sample change as more questions share a batch?",
            row_title="Batch size",
            noun="batch size",
            in_reports=True,
            speed=True,
        ),
        Axis(
            name="image_size",
            varies="image_size",
            values="image_sizes",
            default=_image_sizes,
            title="Image size",
            question="What do larger images cost, and do they buy better answers?",
            row_title="Image size, px",
            noun="image size",
            several_datasets=True,
            in_reports=True,
            extra=("interpolate",),
        ),
        Axis(
            name="seq_len",
            varies="seq_len",
            values="seq_lens",
            default=_seq_lens,
            title="Prompt length",
            question="What is saved by cutting the text prompt, and what is lost?",
            row_title="Prompt length, tokens",
            noun="prompt length",
            several_datasets=True,
            in_reports=True,
        ),
        Axis(
            name="optimization",
            varies="optimization",
            values="optimizations",
            kind=str,
            default=_optimizations,
            title="Optimization",
            question="Which setting makes the model faster or thriftier, and does it change the answers?",
            row_title="Optimization",
            noun="optimization",
            choice_questions=True,
            against_original=True,
            in_reports=True,
            speed=True,
        ),
        Axis(
            name="layers",
            varies="batch_size",
            values="batch_sizes",
            default=_batch_sizes,
            title="By layers",
            question="Where inside the model do the time, the energy and the FLOPs of a prompt go?",
            row_title="Batch size",
            noun="batch size",
            measure="layers",
        ),
        Axis(
            name="agreement",
            varies="batch_size",
            values="batch_sizes",
            default=_batch_sizes,
            title="Agreement",
            question="Do the answers stay the same whatever the batch size and the precision?",
            row_title="Batch size",
            noun="batch size",
            extra=("precisions",),
        ),
        Axis(
            name="repeat",
            varies="repeat",
            values="repeats",
            default=_repeats,
            title="Repeats",
            question="How much do repeats of the same cell differ on this machine (A/A repeats)?",
            row_title="Repeat",
            noun="repeat",
            several_datasets=True,
        ),
        Axis(
            name="card",
            title="Model card",
            question="What is the model, how much memory does it take, and which GPUs run it?",
            own={
                "model": "", "quantization": "fp16", "batch_size": 1, "image_size": 0, "seq_len": 0,
                "max_new_tokens": 0, "results": "results",
            },
        ),
    )
}  # fmt: skip


def get(name: str) -> Axis:
    """Return the axis of a name.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    try:
        return AXES[name]
    except KeyError:
        raise UserError(f"unknown axis {name!r}; {nearest(name, AXES)}") from None
