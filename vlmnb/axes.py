"""The axes: which parameters a notebook takes, and which cells they ask for.

Driver and notebook both call :func:`plan`, so that the sweep knows a run's cells without executing it.
Adding an axis means adding an entry here and a notebook of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from vlmnb import data, machine, models, optimizations
from vlmnb.errors import UserError, nearest
from vlmnb.models.entry import ModelEntry
from vlmnb.spec import Cell, Frozen, Run, Sweep, explain


class Axis(Frozen):
    """One question asked of every model.

    Attributes:
        name: Name of the notebook and of the cell's field that varies.
        values: The notebook parameter that lists the field's values.
        title: Heading of its pages.
        question: What is asked.
        several_datasets: Whether the table has columns for several data sets (``datasets``) or is of
            one (``dataset``).
        batch_size: Batch size of the base configuration, as in the reports.
    """

    name: str
    values: str
    title: str
    question: str
    several_datasets: bool
    batch_size: int = 16

    @property
    def parameters(self) -> dict[str, type | tuple[type, type]]:
        """Notebook parameters and their types, in the order of the parameters cell."""
        data_parameter = "datasets" if self.several_datasets else "dataset"
        wanted = ("model", "weights", data_parameter, "samples", self.values, *_FIXED)
        return {name: _TYPES[name] for name in wanted if name != self.name}


_FIXED = (
    "device", "optimization", "batch_size", "image_size", "seq_len", "max_new_tokens", "length", "seed",
    "results",
)  # fmt: skip
_TYPES: dict[str, type | tuple[type, type]] = {
    **dict.fromkeys(("model", "weights", "dataset", "device", "optimization", "length", "results"), str),
    **dict.fromkeys(("samples", "batch_size", "image_size", "seq_len", "max_new_tokens", "seed"), int),
    **dict.fromkeys(("datasets", "devices", "optimizations"), (list, str)),
    **dict.fromkeys(("batch_sizes", "image_sizes", "seq_lens"), (list, int)),
}

AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(
            name="device",
            values="devices",
            title="Device",
            question="What does one question cost on a GPU, and what on the CPU beside it?",
            several_datasets=False,
            batch_size=1,
        ),
        Axis(
            name="batch_size",
            values="batch_sizes",
            title="Batch size",
            question="How do latency per batch and energy per sample change as more questions share a batch?",
            several_datasets=False,
        ),
        Axis(
            name="image_size",
            values="image_sizes",
            title="Image size",
            question="What do larger images cost, and do they buy better answers?",
            several_datasets=True,
        ),
        Axis(
            name="seq_len",
            values="seq_lens",
            title="Prompt length",
            question="What is saved by cutting the text prompt, and what is lost?",
            several_datasets=True,
        ),
        Axis(
            name="optimization",
            values="optimizations",
            title="Optimization",
            question="Which setting makes the model faster or thriftier, and does it change the answers?",
            several_datasets=False,
        ),
    )
}


class Plan(Frozen):
    """A run's parameters with every default filled in, and the cells they ask for, in table order."""

    axis: Axis
    parameters: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.parameters["model"])


def get(name: str) -> Axis:
    """The axis of a name.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    try:
        return AXES[name]
    except KeyError:
        raise UserError(f"unknown axis {name!r}; {nearest(name, AXES)}") from None


def plan(axis_name: str, parameters: Mapping[str, Any]) -> Plan:
    """Fill in what is left open and expand the axis into cells.

    Args:
        axis_name: One of ``AXES``.
        parameters: Notebook parameters; a missing one, ``""``, ``0`` or ``[]`` means the base
            configuration of the model.

    Raises:
        UserError: An unknown parameter, a wrong type, or a value that no cell can have.
    """
    axis = get(axis_name)
    given = {name: _checked(axis, name, value) for name, value in parameters.items()}
    entry = models.get(given.get("model") or next(iter(models.registry())))
    settings = _resolved(axis, entry, given)
    names = settings.pop("dataset_names")
    cells = [_cell(entry, axis, settings, value, name) for value in settings[axis.values] for name in names]
    settings["model"] = entry.name
    return Plan(axis=axis, parameters=settings, cells=tuple(dict.fromkeys(cells)))


def runs(sweep: Sweep) -> tuple[Run, ...]:
    """The runs of a sweep, model by model, each checked and expandable."""
    made = []
    for axis_name in sweep.axes:
        get(axis_name)
    for model in sweep.models:
        for axis_name, own in sweep.axes.items():
            axis = AXES[axis_name]
            shared = {**sweep.parameters, **sweep.overrides.get(model, {})}
            for name in shared:
                if name not in _TYPES:
                    raise UserError(f"unknown parameter {name!r}; {nearest(name, _TYPES)}")
            merged = (
                {k: v for k, v in shared.items() if k in axis.parameters} | (own or {}) | {"model": model}
            )
            plan(axis_name, merged)
            made.append(Run(model=model, axis=axis_name, parameters=merged))
    return tuple(made)


def _checked(axis: Axis, name: str, value: Any) -> Any:
    """The value in its declared type, a list also from its YAML text (as ``papermill -p`` gives it)."""
    if name not in axis.parameters:
        raise UserError(f"notebook {axis.name} has no parameter {name!r}; {nearest(name, axis.parameters)}")
    wanted = axis.parameters[name]
    if isinstance(wanted, tuple):
        if isinstance(value, str):
            try:
                value = yaml.safe_load(value)
            except yaml.YAMLError:
                value = [value]
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        if any(type(item) is not wanted[1] for item in items):
            raise UserError(f"{name} takes a list of {wanted[1].__name__}, got {value!r}")
        return items
    if type(value) is not wanted:
        raise UserError(f"{name} takes {wanted.__name__}, got {value!r}")
    return value


def _resolved(axis: Axis, entry: ModelEntry, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of the axis, defaults filled in, plus ``dataset_names``."""
    local: list[str] = ["cuda", "cpu"] if machine.describe().gpus else ["cpu"]
    by_rule: dict[str, Callable[[], Any]] = {
        "weights": lambda: "pretrained",
        "dataset": lambda: entry.choice_dataset if axis.name == "optimization" else entry.speed_dataset,
        "datasets": lambda: list(entry.datasets),
        "samples": lambda: 96,
        "device": lambda: local[0],
        "devices": lambda: ["cuda", "cpu"],
        "optimization": lambda: "",
        "optimizations": lambda: _default_optimizations(entry, given.get("device") or local[0]),
        "batch_size": lambda: axis.batch_size,
        "batch_sizes": lambda: [1, 4, 8, 16],
        "image_size": lambda: entry.base_image_size,
        "image_sizes": lambda: list(entry.image_sizes),
        "seq_len": lambda: entry.seq_lens[0],
        "seq_lens": lambda: list(entry.seq_lens),
        "max_new_tokens": lambda: entry.max_new_tokens,
        "length": lambda: "natural",
        "seed": lambda: 0,
        "results": lambda: "results",
    }
    settings = {name: given.get(name) or by_rule[name]() for name in axis.parameters if name != "model"}
    settings["dataset_names"] = settings.get("datasets") or [settings["dataset"]]
    for name in settings["dataset_names"]:
        data.get(name)
    return settings


def _default_optimizations(entry: ModelEntry, device: str) -> list[str]:
    base = optimizations.base_dtype(entry.base_dtype, "cuda" if device == "cuda" else "cpu")
    return [base, "bf16", "sdpa", "compile"]


def _cell(entry: ModelEntry, axis: Axis, settings: Mapping[str, Any], value: Any, dataset: str) -> Cell:
    point = {**settings, axis.name: value}
    device = point["device"]
    base = optimizations.base_dtype(entry.base_dtype, "cuda" if device == "cuda" else "cpu")
    optimization = optimizations.parse(point["optimization"] or base, base)
    fields = {name: point[name] for name in point if name in Cell.model_fields}
    fields |= {"model": entry.name, "dataset": dataset}
    fields |= {"dtype": optimization.dtype, "optimization": optimization.name}
    try:
        return Cell.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"notebook {axis.name}: {explain(error, Cell.model_fields)}") from None
