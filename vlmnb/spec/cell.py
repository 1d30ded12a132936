"""The cell: one point of a table, completely described."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from vlmnb.types import (
    Device,
    Dtype,
    Frozen,
    Length,
    Measured,
    ModelName,
    Reuse,
    Shape,
    Slug,
    Weights,
)

LATER = {"questions": 0, "reuse": "", "image_shape": "square"}
"""Fields that came later: left out where they have their default, so that older records keep their keys."""

DEVICES = {"cuda": "GPU", "cpu": "CPU"}
"""What readers call a device."""


class Cell(Frozen):
    """One point of a table, completely described.

    Attributes:
        image_size: Side in pixels of the square to which an image is resized, or its longer side.
        image_shape: ``square``, or ``kept``: the image keeps its shape.
        seq_len: Largest length of the text prompt in tokens: template, question and generation prompt,
            without the image tokens.
        max_new_tokens: Upper limit of generated tokens per answer.
        length: ``natural`` ends an answer where the model ends it; ``fixed`` generates exactly
            ``max_new_tokens`` (for speed; such a cell has no quality).
        measure: ``generation`` of answers, one forward pass of the prompts by ``layers``, ``reuse`` of a
            picture for several questions, or the ``preprocessing`` of batches.
        seed: Chooses the samples of the data set, and random weights.
        repeat: 0 for the one measurement that tables show; 1, 2, ... are repeats of it in windows of their
            own, which show how far two repeats of one cell differ (A/A repeats).
        interpolate: A model of one image size takes the size that is asked for, by interpolated
            position embeddings.
        questions: Questions asked about each picture, one after the other; 0 where pictures are not reused.
        reuse: What is kept of a picture between its questions: the output of its ``encoder``, or the
            ``prefix`` of the prompts in the cache of keys and values.
    """

    model: ModelName
    weights: Weights = "pretrained"
    dataset: Slug
    samples: int = Field(ge=1)
    device: Device
    dtype: Dtype
    optimization: str
    batch_size: int = Field(ge=1)
    image_size: int = Field(ge=1)
    seq_len: int = Field(ge=1)
    max_new_tokens: int = Field(ge=1)
    length: Length = "natural"
    seed: int = Field(default=0, ge=0)
    measure: Measured = "generation"
    interpolate: bool = False
    repeat: int = Field(default=0, ge=0)
    questions: int = Field(default=0, ge=0)
    reuse: Reuse = ""
    image_shape: Shape = "square"

    @model_serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if LATER.get(name) != value}


_FIELDS = tuple(Cell.model_fields)
_values = operator.attrgetter(*_FIELDS)


def fields(cell: Cell) -> dict[str, Any]:
    """Return the fields of a cell as they are written, like ``model_dump`` and faster."""
    found = dict(zip(_FIELDS, _values(cell), strict=True))
    for name, default in LATER.items():
        if found[name] == default:
            del found[name]
    return found


def words(cell: Cell) -> str:
    """Describe a cell in a few words."""
    more = f", repeat {cell.repeat}" * bool(cell.repeat) + ", shape kept" * (cell.image_shape == "kept")
    plural = "s" * (cell.questions > 1)
    more += f", {cell.reuse} cache, {cell.questions} question{plural} a picture" * bool(cell.questions)
    return (
        f"{cell.dataset}, {cell.device}, {cell.optimization}, batch {cell.batch_size}, "
        f"image {cell.image_size}, prompt {cell.seq_len}{more}"
    )


def line(cell: Cell) -> str:
    """Describe a cell that is being measured: also by the length of its answers, which a run may vary."""
    return f"{words(cell)}, {cell.length} length"


def told_apart(cells: Iterable[Cell]) -> dict[Cell, str]:
    """Describe each cell in a few words; add the fields that differ if several have the same description."""
    same: dict[tuple[str, str], list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        same.setdefault((cell.model, words(cell)), []).append(cell)
    told = {}
    for (_, said), alike in same.items():
        fields = _FIELDS if len(alike) > 1 else ()
        differing = [name for name in fields if len({getattr(cell, name) for cell in alike}) > 1]
        for cell in alike:
            more = (f"{name.replace('_', ' ')} {getattr(cell, name)}" for name in differing)
            told[cell] = ", ".join([said, *more])
    return told
