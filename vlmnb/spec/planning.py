"""Expand an axis into cells, and a sweep into runs.

Driver and notebook both call :func:`plan`, so that the sweep knows a run's cells without executing it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from vlmnb import models
from vlmnb.data import catalogue
from vlmnb.errors import Place, UserError, nearest, placed
from vlmnb.models import geometry, named
from vlmnb.models.entry import ModelEntry
from vlmnb.spec import axes, optimizations, parameters
from vlmnb.spec.axes import Axis
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import Optimization
from vlmnb.spec.sweep_file import MOST_VALUES, Sweep, explain
from vlmnb.types import Frozen, Length, ModelName, Slug, Source

LENGTHS: dict[str, tuple[Length, ...]] = {
    "natural": ("natural",), "fixed": ("fixed",), "both": ("natural", "fixed"),
}  # fmt: skip
"""Values of the notebook parameter ``length``."""

FIXED_BATCHES = 8
"""Batches of a cell of fixed length, or of preprocessing: all do the same work; more would add nothing."""

_CELL = frozenset(Cell.model_fields)


class Plan(Frozen):
    """A run's parameters with every default filled in, and the cells they ask for, in table order."""

    axis: Axis
    parameters: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return str(self.parameters["model"])

    @property
    def source(self) -> str:
        """Return the source of its records."""
        return str(self.parameters["source"])

    def of_length(self, length: Length) -> tuple[Cell, ...]:
        """Return the cells of one answer length; a table never mixes them."""
        return tuple(cell for cell in self.cells if cell.length == length)


class Run(Frozen):
    """One notebook for one model: the unit that is launched, retried and resumed."""

    model: ModelName
    axis: Slug
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """Return ``model/axis``, unique within a sweep."""
        return f"{self.model}/{self.axis}"

    @functools.cached_property
    def plan(self) -> Plan:
        """Plan the run, once: whoever is handed the run is handed its plan.

        Raises:
            UserError: A parameter is wrong.
        """
        return plan(self.axis, self.parameters)


def plan(axis_name: str, values: Mapping[str, Any]) -> Plan:
    """Fill in default values and expand the axis into cells.

    Args:
        axis_name: One of ``axes.AXES``.
        values: Notebook parameters; a missing one, ``""``, ``0`` or ``[]`` means the base configuration of
            the model.

    Raises:
        UserError: An unknown parameter, a wrong type, or a value that no cell can have.
    """
    axis = axes.get(axis_name)
    given = {name: parameters.checked(axis, name, value) for name, value in values.items()}
    if given.get("source") == "reports" and given.get("length") == "both":
        given["length"] = ""  # the notebooks' default; a report has no answers of fixed length
    entry = models.get(given["model"]) if given.get("model") else models.default()
    if entry.generic and named.described(entry):
        entry = models.get(entry.name)  # with the sizes of its images, which are in its files
    if axis.own:
        filled = {name: given.get(name) or axis.own[name] for name in axis.own}
        return Plan(axis=axis, parameters=filled | {"model": entry.name}, cells=())
    if given.get("source") not in (None, "", *get_args(Source)):
        raise UserError(f"source is {' or '.join(get_args(Source))}, got {given['source']!r}")
    default = parameters.defaults(axis, entry, given)
    settings = {name: given.get(name) or default[name] for name in axis.parameters if name != "model"}
    names = settings.get("datasets") or [settings["dataset"]]
    for name in names:
        catalogue.get(name)
    lengths = LENGTHS.get(settings.get("length", "natural"))
    if lengths is None:
        raise UserError(f"length takes {', '.join(LENGTHS)}, got {settings['length']!r}")
    rows = [(settings, settings[axis.values])]
    if axis.against_original and not given.get("batch_size"):
        batches = optimizations.at_batches(settings[axis.values], axis.batch_size)
        rows = [(settings | {"batch_size": size}, values) for size, values in batches]
    cells = [
        _cell(entry, axis, own | {"optimization": optimization, "reuse": reuse}, value, name, length)
        for own, values in rows
        for value in values
        for optimization in settings.get("precisions") or [settings.get("optimization", "")]
        for reuse in settings.get("reuses") or [""]
        for name in names
        for length in lengths
    ]
    settings["model"] = entry.name
    unscored = axis.measure == "generation" and not any(_scored(cell) for cell in cells)
    if settings["source"] == "measured" and (axis.against_original or unscored):
        _check_batches(cells)
    return Plan(axis=axis, parameters=settings, cells=tuple(dict.fromkeys(cells)))


def runs(sweep: Sweep) -> tuple[Run, ...]:
    """Return the runs of a sweep, model by model, each of them checked; A/A repeats, which all need, first.

    Raises:
        UserError: A run is not possible; the error carries its place in the file.
    """
    made = []
    for axis_name, own in sweep.axes.items():
        with placed("axes", axis_name):
            known = axes.get(axis_name).parameters
        _check_names(own or {}, known, ("axes", axis_name))
    every = {name: kind for axis in sweep.axes for name, kind in axes.get(axis).parameters.items()}
    _check_names(sweep.parameters, every, ("parameters",))
    for model, changes in sweep.overrides.items():
        _check_names(changes, every, ("overrides", model))
    for i, model in enumerate(sweep.models):
        with placed("models", i):
            models.get(model)
        for axis_name, own in sweep.axes.items():
            places: dict[str, Place] = {name: ("parameters", name) for name in sweep.parameters}
            places |= {name: ("overrides", model, name) for name in sweep.overrides.get(model, {})}
            places |= {name: ("axes", axis_name, name) for name in own or {}}
            shared = {**sweep.parameters, **sweep.overrides.get(model, {})}
            known = axes.AXES[axis_name].parameters
            merged = {k: v for k, v in shared.items() if k in known} | (own or {}) | {"model": model}
            run = Run(model=model, axis=axis_name, parameters=merged)
            try:
                _ = run.plan
            except UserError:
                for name, value in merged.items():
                    with placed(*places.get(name, ("models", i))):
                        plan(axis_name, {"model": model, name: value})
                with placed("axes", axis_name):
                    plan(axis_name, merged)
            made.append(run)
    return tuple(sorted(made, key=lambda run: axes.AXES[run.axis].varies != "repeat"))


def _check_names(given: Mapping[str, Any], known: Mapping[str, Any], place: Place) -> None:
    """Check that a sweep file may set these parameters, and that none is empty."""
    settable = set(known) - {"model", "results"}
    for name, value in given.items():
        with placed(*place, name):
            if name not in settable:
                raise UserError(f"unknown parameter {name!r}; {nearest(str(name), settable)}")
            if value is None or value == []:
                raise UserError(f"{name} is empty; leave it out for the model's own")
            if isinstance(value, list) and len(value) > MOST_VALUES:
                raise UserError(f"{name} lists {len(value)} values; at most {MOST_VALUES} make sense")


def _check_batches(cells: Sequence[Cell]) -> None:
    """Check that rows which are compared by their time, or have no scores, have a full batch to time."""
    samples, batch = max(cell.samples for cell in cells), min(cell.batch_size for cell in cells)
    if samples < batch:
        raise UserError(
            f"samples is {samples} and a batch has {batch}, so no batch is full and nothing is known of its "
            f"time; give samples of at least {batch}, or a batch_size of at most {samples}"
        )


def _scored(cell: Cell) -> bool:
    return cell.length == "natural" and cell.weights != "random"


def _check_reduction(entry: ModelEntry, axis: Axis, optimization: Optimization, image_size: Any) -> None:
    """Check that a picture has the image tokens that an optimization keeps, and that the notebook takes it.

    A model measured by its name has no entry that could say it; its cells show the reason.
    """
    reduction = optimization.reduction
    if reduction and axis.measure != "generation":
        raise UserError(f"notebook {axis.name} takes whole pictures; leave out {optimization.name}")
    if reduction is None or entry.generic or type(image_size) is not int or image_size < 1:
        return
    grid = models.family_of(entry).image_grid(geometry.plain(entry), image_size)
    if why := reduction.obstacle(*grid):
        raise UserError(f"optimization {optimization.name} {why} ({entry.name}, {image_size} pixels)")


def _cell(
    entry: ModelEntry, axis: Axis, settings: Mapping[str, Any], value: Any, dataset: str, length: Length
) -> Cell:
    point = {**settings, axis.varies: value, "length": length, "measure": axis.measure}
    if axis.measure == "layers":
        # Nothing is generated: one batch, and a limit of one token that no pass reaches.
        point |= {"samples": value, "max_new_tokens": 1}
    if axis.measure == "preprocessing" and type(value) is int:
        point["samples"] = min(point["samples"], FIXED_BATCHES * value)
    if axis.varies == "repeat" and type(value) is int and value < 1:
        raise UserError(f"repeats lists {value}; list numbers from 1 on")
    if axis.measure == "reuse":
        point["batch_size"] = 1
        if not 0 < value <= point["samples"]:
            raise UserError(
                f"question_counts lists {value}, and samples, the questions in all, is {point['samples']}; "
                "list numbers from 1 to that"
            )
    if length == "fixed" and settings.get("max_new_tokens") == entry.max_new_tokens:
        point["max_new_tokens"] = entry.fixed_tokens
    if length == "fixed" and type(point["batch_size"]) is int:
        point["samples"] = min(point["samples"], FIXED_BATCHES * point["batch_size"])
    base = parameters.base_dtype(entry, point["device"])
    optimization = optimizations.parse(point["optimization"] or base, base)
    if axis.measure != "generation" and (engine := optimization.of("engine")):
        raise UserError(
            f"{engine} runs the model outside torch, where {axis.measure} cannot be measured; leave it out"
        )
    own_cache = optimization.static_cache or optimization.guesses or optimization.cache_type
    if point.get("reuse") == "prefix" and own_cache:
        raise UserError(
            f"a prefix cache excludes {optimization.name}, which has a cache of its own; leave one out"
        )
    if point.get("reuse") and optimization.reduction:
        raise UserError(
            f"reuse of a picture excludes {optimization.name}, which changes image tokens; leave one out"
        )
    _check_reduction(entry, axis, optimization, point["image_size"])
    fields = {name: point[name] for name in point if name in _CELL}
    fields |= {"model": entry.name, "dataset": dataset}
    fields |= {"dtype": optimization.dtype, "optimization": optimization.name}
    # A model with several sizes, or at its own size, interpolates nothing: that is one cell, not two.
    native = entry.native_image_size
    fields["interpolate"] = bool(fields.get("interpolate")) and native not in (None, point["image_size"])
    try:
        return Cell.model_validate(fields)
    except ValidationError as error:
        # Name the parameter that was given; by layers the batch size is the number of samples too.
        given = dict.fromkeys([axis.varies] + ["samples"] * (axis.measure == "layers"), axis.values)
        raise UserError(f"notebook {axis.name}: {explain(error, Cell.model_fields, given)}") from None
