"""Quantization of the weights alone by torchao, in 8 or in 4 bits."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from vlmnb.spec.optimizations.linear_layers import linear_layers
from vlmnb.spec.optimizations.setting import Setting

GROUP = 64
"""Weights that share a scale in 4 bits; that of bitsandbytes' nf4 is 64 as well."""


def quantize(model: Any, device: str, config: str, **options: Any) -> None:
    """Quantize the linear layers of a model in place, as a configuration of torchao says."""
    torchao: Any = importlib.import_module("torchao.quantization")
    chosen = set(linear_layers(model))
    made = getattr(torchao, config)(**options)
    torchao.quantize_(model, made, filter_fn=lambda _, place: place in chosen)


SETTINGS = (
    Setting(
        name="torchao-int8",
        kind="quantization",
        description="weights in 8 bits (torchao)",
        package="torchao",
        prepare=partial(quantize, config="Int8WeightOnlyConfig"),
    ),
    Setting(
        name="torchao-int4",
        kind="quantization",
        description="weights in 4 bits (torchao), computing in bf16",
        package="torchao",
        dtypes=("bf16",),
        prepare=partial(
            quantize,
            config="Int4WeightOnlyConfig",
            group_size=GROUP,
            int4_packing_format="tile_packed_to_4d",
        ),
    ),
)
