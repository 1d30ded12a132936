"""What is asked for: a cell (one point of a table), a run (one notebook for one model), a sweep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlmnb import yamlfile
from vlmnb.errors import UserError, nearest

Weights = Literal["pretrained", "random"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["fp32", "bf16", "fp16"]
Length = Literal["natural", "fixed"]
Measured = Literal["generation", "layers"]
Status = Literal[
    "ok", "not_applicable", "not_enough_tokens", "out_of_memory", "unsupported", "failed", "unstated"
]
Source = Literal["measured", "reports"]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Frozen(BaseModel):
    """Base of every data type here: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(Frozen):
    """One point of a table, completely described.

    Attributes:
        image_size: Side in pixels to which the (square) image is resized.
        seq_len: Budget of the text prompt in tokens: template, question and generation prompt, without
            the image tokens.
        max_new_tokens: Upper limit of generated tokens per answer.
        length: ``natural`` ends an answer where the model ends it; ``fixed`` generates exactly
            ``max_new_tokens`` (for speed; such a cell has no quality).
        measure: ``generation`` of answers, or one forward pass of the prompts by ``layers``.
        seed: Chooses the samples of the data set, and random weights.
        repeat: 0 for the one measurement that tables show; 1, 2, ... are repeats of it in windows of their
            own, which tell how far two windows of one cell differ (A/A repeats).
        interpolate: Whether a model of one image size takes the size that is asked for, by interpolated
            position embeddings.
    """

    model: Slug
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


class Run(Frozen):
    """One notebook for one model: the unit that is launched, retried and resumed."""

    model: Slug
    axis: Slug
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """``model/axis``, unique within a sweep."""
        return f"{self.model}/{self.axis}"


class Sweep(Frozen):
    """A YAML file of ``sweeps/``: the product of models and axes.

    Attributes:
        parameters: Notebook parameters for every run that has them.
        axes: Axis names, each with parameters of its own.
        overrides: Parameters of single models, by model name.
    """

    title: str = Field(min_length=1)
    models: tuple[Slug, ...] = Field(min_length=1)
    parameters: dict[str, Any] = {}
    axes: dict[Slug, dict[str, Any] | None] = Field(min_length=1)
    overrides: dict[Slug, dict[str, Any]] = {}


def words(cell: Cell) -> str:
    """A cell in a few words."""
    return (
        f"{cell.dataset}, {cell.device}, {cell.optimization}, batch {cell.batch_size}, "
        f"image {cell.image_size}, prompt {cell.seq_len}{f', window {cell.repeat}' * bool(cell.repeat)}"
    )


def told_apart(cells: Iterable[Cell]) -> dict[Cell, str]:
    """Each cell in a few words, and in more where others among them have the same few."""
    same: dict[tuple[str, str], list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        same.setdefault((cell.model, words(cell)), []).append(cell)
    told = {}
    for (_, said), alike in same.items():
        differing = [name for name in Cell.model_fields if len({getattr(cell, name) for cell in alike}) > 1]
        for cell in alike:
            more = (f"{name.replace('_', ' ')} {getattr(cell, name)}" for name in differing)
            told[cell] = ", ".join([said, *more])
    return told


def digest(value: object, length: int = 16) -> str:
    """Hash of a JSON-able value, independent of key order."""
    return digest_of(canonical(value), length)


def digest_of(text: str, length: int = 16) -> str:
    """Hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""A JSON-able value as text, independent of key order."""


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UserError: The file is missing, is no plain YAML, or has an unknown key, a wrong type, an empty list
            or a model twice; the message names the file, the line and the nearest valid name.
    """
    content = yamlfile.load(path)
    try:
        return _sweep(content)
    except UserError as error:
        raise yamlfile.located(path, error) from None


def _sweep(content: Any) -> Sweep:
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise UserError(f"expected keys such as 'models:' and 'axes:', found {kind}")
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        place = _problem(error)["loc"]
        raise UserError(explain(error, Sweep.model_fields), place) from None
    for i, name in enumerate(sweep.models):
        if name in sweep.models[:i]:
            raise UserError(f"models lists {name} twice", ("models", i))
    for name in sweep.overrides:
        if name not in sweep.models:
            raise UserError(
                f"overrides names {name!r}, which is not among the models; {nearest(name, sweep.models)}",
                ("overrides", name),
            )
    return sweep


_KINDS = {
    "tuple_type": "takes a list, such as [a, b]",
    "dict_type": "takes names with values beneath it",
    "string_type": "takes a text",
    "too_short": "is empty; name at least one",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "is no name: small letters, digits, '.', '_' and '-' only",
}
"""Plainer words for pydantic's commonest findings."""


def _problem(error: ValidationError) -> Any:
    """The problem to tell: a typo shows as a missing and an unknown key, and the unknown one says more."""
    problems = error.errors()
    return next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])


def explain(error: ValidationError, fields: Mapping[str, Any], named: Mapping[str, str] = {}) -> str:
    """One line for the first problem pydantic found, with the nearest valid name for a typo.

    Args:
        error: What pydantic raised.
        fields: The names there are.
        named: What a field is called where its value was given, if by another name.
    """
    problem = _problem(error)
    steps = [named.get(str(part), str(part)) for part in problem["loc"] if part != "[key]"]
    place = ".".join(steps) or "the whole"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place!r}; {nearest(place, fields)}"
    if problem["type"] == "missing":
        return f"key {place!r} is missing"
    said = _KINDS.get(problem["type"]) or f"{problem['msg'][:1].lower()}{problem['msg'][1:]}"
    given = " ".join(repr(problem["input"]).split())
    return f"{place}: {said} (got {given if len(given) <= 60 else given[:59] + '…'})"
