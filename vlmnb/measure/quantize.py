"""Weights in fewer bits: the linear layers of a loaded model, replaced where they stand.

What transformers does while it loads a checkpoint is done here to a model in memory, so that models with
random weights are quantized the same way. The output head keeps its precision, as it does there.
"""

from __future__ import annotations

import importlib
from typing import Any

HEAD = "lm_head"

GROUP = 64
"""Weights that share a scale in torchao's 4 bits; that of bitsandbytes' nf4 is 64 as well."""

OUTLIERS = 6.0
"""Activations beyond this are multiplied in 16 bits (Dettmers and others, LLM.int8(), NeurIPS 2022)."""


def quantize(model: Any, name: str) -> None:
    """Quantize every linear layer but the output head, in place.

    Args:
        model: A model on its device, in the precision it is to compute in.
        name: A quantization of ``optimizations.LIBRARIES``.
    """
    from torch import nn

    chosen = [
        place
        for place, module in model.named_modules()
        if type(module) is nn.Linear and place.rpartition(".")[2] != HEAD
    ]
    if not name.startswith("bnb"):
        _torchao(model, name, set(chosen))
        return
    for place in chosen:
        parent, _, own = place.rpartition(".")
        setattr(model.get_submodule(parent), own, _bitsandbytes(model.get_submodule(place), name))


def _bitsandbytes(layer: Any, name: str) -> Any:
    """The layer's counterpart; its weight is packed as it is moved to the device."""
    # The package comes without a list of what it exports.
    bnb: Any = importlib.import_module("bitsandbytes")

    shape = (layer.in_features, layer.out_features)
    common: dict[str, Any] = {"bias": layer.bias is not None, "device": "meta"}
    weight, device = layer.weight.data, layer.weight.device
    # On a CPU weights are packed at once, on a GPU while they are moved there.
    if name == "bnb-4bit":
        made = bnb.nn.Linear4bit(*shape, compute_dtype=weight.dtype, quant_type="nf4", **common)
        made.weight = bnb.nn.Params4bit(weight.cpu(), requires_grad=False, quant_type="nf4", module=made)
    else:
        made = bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=OUTLIERS, **common)
        made.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    return made.to(device).eval()


def _torchao(model: Any, name: str, chosen: set[str]) -> None:
    torchao: Any = importlib.import_module("torchao.quantization")

    config = (
        torchao.Int8WeightOnlyConfig()
        if name == "torchao-int8"
        else torchao.Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d")
    )
    torchao.quantize_(model, config, filter_fn=lambda _, place: place in chosen)
