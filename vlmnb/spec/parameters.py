"""The parameters of notebooks: their types, their checks and their default values, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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

FIXED = (
    "device", "optimization", "batch_size", "image_size", "seq_len", "max_new_tokens", "length", "seed",
    "source", "results",
)  # fmt: skip
"""Parameters of every axis, at the end of the parameters cell."""

_NAMES = "model weights dataset device optimization length source results quantization image_shape"
_NUMBERS = "samples batch_size image_size seq_len max_new_tokens seed"

KINDS: dict[str, Kind] = {
    **dict.fromkeys(_NAMES.split(), str),
    **dict.fromkeys(_NUMBERS.split(), int),
    **dict.fromkeys(("datasets", "optimizations", "precisions", "reuses"), (list, str)),
    "interpolate": bool,
}
"""Types of all parameters but the list of an axis's values."""


def defaults(axis: Axis, entry: ModelEntry, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default value of every parameter; ``source`` and ``device`` of the given ones matter."""
    reported = given.get("source") == "reports"
    device = given.get("device") or ("cuda" if reported or machine.describe().gpus else "cpu")
    tried = REPORTED_OPTIMIZATIONS if reported else optimizations.defaults(base_dtype(entry, device))
    first = [base_dtype(entry, device)] if axis.against_original else []
    own = {axis.values: [*first, *axis.default]} if axis.default else {}
    return {
        "weights": "pretrained",
        "dataset": entry.choice_dataset if axis.choice_questions else entry.speed_dataset,
        "datasets": list(entry.datasets),
        "samples": REPORTED_SAMPLES if reported else 96,
        "interpolate": False,
        "image_shape": "square",
        "image_sizes": list(entry.image_sizes),
        "seq_lens": list(entry.seq_lens),
        "optimizations": list(tried),
        "precisions": ["fp32", "bf16", *["fp16"] * (device == "cuda")],
        "reuses": ["encoder", "prefix"],
        "device": device,
        "optimization": "fp16" if reported else "",
        "batch_size": axis.batch_size,
        "image_size": entry.base_image_size,
        "seq_len": entry.seq_lens[0],
        "max_new_tokens": entry.max_new_tokens,
        "length": "both" if axis.speed and not reported else "natural",
        "seed": 0,
        "source": "measured",
        "results": "results",
        **own,
    }


def base_dtype(entry: ModelEntry, device: str) -> Dtype:
    """Return the precision of a model's base configuration on a device."""
    return optimizations.base_dtype(entry.base_dtype, "cuda" if device == "cuda" else "cpu")


def checked(axis: Axis, name: str, value: Any) -> Any:
    """Return a value in the type of its parameter.

    A list may also be given as YAML text (as ``papermill -p`` does), or as its only value: a number in
    quotes is a text, alone as in a list.

    Raises:
        UserError: The notebook has no such parameter, or the value has another type or is listed twice.
    """
    if name not in axis.parameters:
        raise UserError(f"notebook {axis.name} has no parameter {name!r}; {nearest(name, axis.parameters)}")
    wanted = axis.parameters[name]
    if isinstance(wanted, tuple):
        if isinstance(value, str):
            try:
                listed = yaml.safe_load(value)
            except yaml.YAMLError:
                listed = None
            value = listed if isinstance(listed, list) else value
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        if any(type(item) is not wanted[1] for item in items):
            raise UserError(f"{name} takes a list of {wanted[1].__name__}, got {value!r}")
        if len(set(items)) < len(items):
            raise UserError(f"{name} lists the same value twice: {items!r}")
        return optimizations.tidied(items, name) if name in ("optimizations", "precisions") else items
    if type(value) is not wanted:
        raise UserError(f"{name} takes {wanted.__name__}, got {value!r}")
    return value
