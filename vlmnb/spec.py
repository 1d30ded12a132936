"""What is asked for: a cell (one point of a table), a run (one notebook for one model), a sweep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlmnb.errors import UserError, nearest

Weights = Literal["pretrained", "random"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["fp32", "bf16", "fp16"]
Length = Literal["natural", "fixed"]
Status = Literal["ok", "not_applicable", "not_enough_tokens", "out_of_memory", "unsupported", "failed"]
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
        seed: Chooses the samples of the data set.
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


def digest(value: object, length: int = 16) -> str:
    """Hash of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UserError: The file is missing, is no YAML, or has an unknown key, a wrong type, an empty list or
            a model twice; the message names the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the sweep {path}: {error}") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: expected keys such as 'models:' and 'axes:', found {type(content).__name__}"
        )
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Sweep.model_fields)}") from None
    twice = sorted({name for name in sweep.models if sweep.models.count(name) > 1})
    if twice:
        raise UserError(f"{path}: models lists {', '.join(twice)} twice")
    for name in sweep.overrides:
        if name not in sweep.models:
            raise UserError(
                f"{path}: overrides names {name!r}, no model of it; {nearest(name, sweep.models)}"
            )
    return sweep


def explain(error: ValidationError, fields: Mapping[str, Any]) -> str:
    """One line for the first problem pydantic found, with the nearest valid name for a typo."""
    problems = error.errors()
    # A typo shows as two problems, a missing key and an unknown one; the unknown one says more.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in problem["loc"]) or "the whole"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place!r}; {nearest(place, fields)}"
    return f"{place}: {problem['msg'][:1].lower()}{problem['msg'][1:]} (got {problem['input']!r})"


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]
    """YAML that refuses a key given twice, which plain YAML would silently let the last one win."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    made: dict[Any, Any] = yaml.SafeLoader.construct_mapping(loader, node, deep=True)
    return made


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
