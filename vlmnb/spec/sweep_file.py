"""Read sweep files; errors name the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from vlmnb import models
from vlmnb.errors import UserError, nearest
from vlmnb.files import plain_yaml
from vlmnb.models.entry import named_entry
from vlmnb.types import Frozen, ModelName, Slug

MOST_VALUES = 1000
"""A list that is longer was made by mistake: every value costs at least a cell."""


def _in_full(name: Any) -> Any:
    """Return a model's name; that of a folder (a path from the working folder) is its whole path."""
    if not isinstance(name, str) or name in models.registry():
        return name
    return found.name if (found := named_entry(name)) else name


Model = Annotated[ModelName, BeforeValidator(_in_full)]


class Sweep(Frozen):
    """A YAML file of ``sweeps/``: the product of models and axes.

    Attributes:
        parameters: Notebook parameters for every run that has them.
        axes: Axis names, each with parameters of its own.
        overrides: Parameters of single models, by model name.
    """

    title: str = Field(min_length=1)
    models: tuple[Model, ...] = Field(min_length=1, max_length=MOST_VALUES)
    parameters: dict[str, Any] = {}
    axes: dict[Slug, dict[str, Any] | None] = Field(min_length=1)
    overrides: dict[Model, dict[str, Any]] = {}


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UserError: The file is missing, is no plain YAML, or has an unknown key, a wrong type, an empty list
            or a model twice; the message names the file, the line and the nearest valid name.
    """
    content = plain_yaml.load(path)
    try:
        return _sweep(content)
    except UserError as error:
        raise plain_yaml.located(path, error) from None


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
"""Plainer words for the most common messages of pydantic."""


def _problem(error: ValidationError) -> Any:
    """Return the problem to report: of a typo the unknown key, which helps more than the missing one."""
    problems = error.errors()
    return next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])


def explain(error: ValidationError, fields: Mapping[str, Any], named: Mapping[str, str] = {}) -> str:
    """Describe the first problem that pydantic found in one line, with the nearest valid name for a typo.

    ``named`` holds other names under which fields were given.
    """
    problem = _problem(error)
    steps = [named.get(str(part), str(part)) for part in problem["loc"] if part != "[key]"]
    place = ".".join(steps) or "the whole"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place!r}; {nearest(place, fields)}"
    if problem["type"] == "missing":
        return f"key {place!r} is missing"
    of_model = problem["type"] == "string_pattern_mismatch" and problem["loc"][0] in ("models", "overrides")
    said = "is no model: name one of `vlmnb models`, OWNER/NAME or a folder ./PATH" if of_model else ""
    said = said or _KINDS.get(problem["type"]) or f"{problem['msg'][:1].lower()}{problem['msg'][1:]}"
    given = " ".join(repr(problem["input"]).split())
    return f"{place}: {said} (got {given if len(given) <= 60 else given[:59] + '…'})"
