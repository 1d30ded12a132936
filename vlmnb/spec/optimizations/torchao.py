"""Quantization of the weights alone by torchao, in 8 or in 4 bits."""

from __future__ import annotations

import importlib
from typing import Any

from vlmnb.spec.optimizations.linear_layers import linear_layers
from vlmnb.spec.optimizations.setting import Setting

GROUP = 64
"""Weights that share a scale in 4 bits; that of bitsandbytes' nf4 is 64 as well."""


def int8(model: Any, device: str) -> None:
    """Quantize the linear layers of a model in place, to 8 bits."""
    torchao: Any = importlib.import_module("torchao.quantization")
    _quantize(model, torchao, torchao.Int8WeightOnlyConfig())


def int4(model: Any, device: str) -> None:
    """Quantize the linear layers of a model in place, to 4 bits."""
    torchao: Any = importlib.import_module("torchao.quantization")
    config = torchao.Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d")
    _quantize(model, torchao, config)


def _quantize(model: Any, torchao: Any, config: Any) -> None:
    chosen = set(linear_layers(model))
    torchao.quantize_(model, config, filter_fn=lambda _, place: place in chosen)


SETTINGS = (
    Setting(
        name="torchao-int8",
        kind="quantization",
        description="weights in 8 bits (torchao)",
        package="torchao",
        prepare=int8,
    ),
    Setting(
        name="torchao-int4",
        kind="quantization",
        description="weights in 4 bits (torchao), computing in bf16",
        package="torchao",
        dtypes=("bf16",),
        prepare=int4,
    ),
)
