"""Quantization by bitsandbytes: nf4 and LLM.int8()."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from vlmnb.spec.optimizations.linear_layers import linear_layers
from vlmnb.spec.optimizations.setting import Setting

OUTLIERS = 6.0
"""Activations beyond this are multiplied in 16 bits (Dettmers and others, LLM.int8(), NeurIPS 2022)."""


def quantize(model: Any, device: str, bits: int) -> None:
    """Replace the linear layers of a model on its device, in place."""
    for place in linear_layers(model):
        parent, _, own = place.rpartition(".")
        setattr(model.get_submodule(parent), own, _quantized(model.get_submodule(place), bits))


def _quantized(layer: Any, bits: int) -> Any:
    """Return the layer's counterpart; its weight is packed when it is moved to the device."""
    # The package comes without a list of what it exports.
    bnb: Any = importlib.import_module("bitsandbytes")

    shape = (layer.in_features, layer.out_features)
    common: dict[str, Any] = {"bias": layer.bias is not None, "device": "meta"}
    weight, device = layer.weight.data, layer.weight.device
    # On a CPU weights are packed at once, on a GPU while they are moved there.
    if bits == 4:
        made = bnb.nn.Linear4bit(*shape, compute_dtype=weight.dtype, quant_type="nf4", **common)
        made.weight = bnb.nn.Params4bit(weight.cpu(), requires_grad=False, quant_type="nf4", module=made)
    else:
        made = bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=OUTLIERS, **common)
        made.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    return made.to(device).eval()


SETTINGS = (
    Setting(
        name="bnb-4bit",
        kind="quantization",
        description="weights in 4 bits (bitsandbytes, nf4)",
        package="bitsandbytes",
        stored_as="nf4",
        prepare=functools.partial(quantize, bits=4),
    ),
    Setting(
        name="bnb-8bit",
        kind="quantization",
        description="weights and products in 8 bits (bitsandbytes, LLM.int8)",
        package="bitsandbytes",
        stored_as="int8",
        prepare=functools.partial(quantize, bits=8),
    ),
)
