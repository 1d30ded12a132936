"""The parameters of notebooks: their types, their checks and their default values, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from vlmnb.device import machine
from vlmnb.errors import UserError, nearest
from vlmnb.models.entry import ModelEntry
from vlmnb.spec import optimizations
from vlmnb.types import Dtype

if TYPE_CHECKING:
    from vlmnb.spec.axes import Axis

Kind = type | tuple[type, type]
"""``int`` for one value, ``(list, int)`` for a list."""

BATCH_SIZE = 16
"""Batch size of the base configuration, as in the reports."""

REPORTED_SAMPLES = 300
REPORTED_OPTIMIZATIONS = ("fp16", "compile", "flash_attention_2")
"""Of the reports' grid, which is not part of a model's entry."""


@dataclass(frozen=True)
class Context:
    """What a default value can depend on.

    Attributes:
        entry: The model's registry entry.
        reported: The notebook shows a report, so the machine that shows it does not matter.
        device: The device that was asked for, else the GPU if there is one.
    """

    entry: ModelEntry
    reported: bool
    device: str

    @property
    def base(self) -> Dtype:
        """Precision of the base configuration."""
        return base_dtype(self.entry, self.device)


class Parameter(NamedTuple):
    """A parameter that several notebooks have: its type, and the rule for its default value."""

    kind: Kind
    default: Callable[[Context, Axis], Any]


def _optimizations(context: Context, axis: Axis) -> list[str]:
    return list(REPORTED_OPTIMIZATIONS) if context.reported else optimizations.defaults(context.base)


def _dataset(context: Context, axis: Axis) -> str:
    return context.entry.choice_dataset if axis.choice_questions else context.entry.speed_dataset


def _precisions(context: Context, axis: Axis) -> list[str]:
    return ["fp32", "bf16", *(["fp16"] if context.device == "cuda" else [])]


PARAMETERS: dict[str, Parameter] = {
    "model": Parameter(str, lambda context, axis: context.entry.name),
    "weights": Parameter(str, lambda context, axis: "pretrained"),
    "dataset": Parameter(str, _dataset),
    "datasets": Parameter((list, str), lambda context, axis: list(context.entry.datasets)),
    "samples": Parameter(int, lambda context, axis: REPORTED_SAMPLES if context.reported else 96),
    "interpolate": Parameter(bool, lambda context, axis: False),
    "image_sizes": Parameter((list, int), lambda context, axis: list(context.entry.image_sizes)),
    "seq_lens": Parameter((list, int), lambda context, axis: list(context.entry.seq_lens)),
    "optimizations": Parameter((list, str), _optimizations),
    "precisions": Parameter((list, str), _precisions),
    "device": Parameter(str, lambda context, axis: context.device),
    "optimization": Parameter(str, lambda context, axis: "fp16" if context.reported else ""),
    "batch_size": Parameter(int, lambda context, axis: axis.batch_size),
    "image_size": Parameter(int, lambda context, axis: context.entry.base_image_size),
    "seq_len": Parameter(int, lambda context, axis: context.entry.seq_lens[0]),
    "max_new_tokens": Parameter(int, lambda context, axis: context.entry.max_new_tokens),
    "length": Parameter(
        str, lambda context, axis: "both" if axis.speed and not context.reported else "natural"
    ),
    "seed": Parameter(int, lambda context, axis: 0),
    "source": Parameter(str, lambda context, axis: "measured"),
    "results": Parameter(str, lambda context, axis: "results"),
    "quantization": Parameter(str, lambda context, axis: "fp16"),
}
"""All parameters but the lists of values for which an axis has default values of its own."""

FIXED = (
    "device", "optimization", "batch_size", "image_size", "seq_len", "max_new_tokens", "length", "seed",
    "source", "results",
)  # fmt: skip
"""Parameters of every axis, at the end of the parameters cell."""


def context(entry: ModelEntry, given: Mapping[str, Any]) -> Context:
    """Return what the default values of a notebook depend on, given its checked parameters."""
    reported = given.get("source") == "reports"
    local = "cuda" if reported or machine.describe().gpus else "cpu"
    return Context(entry, reported, given.get("device") or local)


def default(name: str, context: Context, axis: Axis) -> Any:
    """Return the default value of a parameter of an axis."""
    if name == axis.values and axis.default:
        return list(axis.default)
    return PARAMETERS[name].default(context, axis)


def base_dtype(entry: ModelEntry, device: str) -> Dtype:
    """Return the precision of a model's base configuration on a device."""
    return optimizations.base_dtype(entry.base_dtype, "cuda" if device == "cuda" else "cpu")


def checked(axis: Axis, name: str, value: Any) -> Any:
    """Return a value in the type of its parameter.

    A list may also be given as YAML text (as ``papermill -p`` does), or as its only value.

    Raises:
        UserError: The notebook has no such parameter, or the value has another type.
    """
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
        return optimizations.tidied(items, name) if name in ("optimizations", "precisions") else items
    if type(value) is not wanted:
        raise UserError(f"{name} takes {wanted.__name__}, got {value!r}")
    return value
