"""Quantization of a model in memory: by bitsandbytes (nf4, LLM.int8()), and of the weights alone by torchao.

transformers quantizes while it loads a checkpoint. Here a loaded model is quantized, so that models with
random weights are treated in the same way.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections import Counter
from functools import partial
from typing import Any

from vlmnb.spec.optimizations.setting import Setting

OUTLIERS = 6.0
"""Activations beyond this are multiplied in 16 bits (Dettmers and others, LLM.int8(), NeurIPS 2022)."""

GROUP = 64
"""Weights that share a scale in torchao's 4 bits; that of bitsandbytes' nf4 is 64 as well."""


def linear_layers(model: Any) -> list[str]:
    """Return the places of all linear layers but the output head, as transformers chooses them."""
    from torch import nn

    return [
        place
        for place, module in model.named_modules()
        if type(module) is nn.Linear and place.rpartition(".")[2] != "lm_head"
    ]


def unquantized(model: Any) -> str:
    """Return the linear layers, the output head apart, that a quantization left as they were."""
    from torch import nn

    places = [
        re.sub(r"\b\d+\b", "*", place)
        for place in linear_layers(model)
        if type(model.get_submodule(place).weight)
        is nn.Parameter  # torchao's weights are of types of its own
    ]
    return ", ".join(f"{place} ({count})" for place, count in Counter(places).items())


def by_bitsandbytes(model: Any, device: str, bits: int) -> None:
    """Replace the linear layers of a model by quantized ones.

    Where code of the model converts the input to the type of the layer's weight, it stays as it is: an input
    in integers is another one (findings/transformers-quantized-siglip2-sees-no-picture.sh).
    """
    for place in linear_layers(model):
        parent, _, own = place.rpartition(".")
        owner: Any = model.get_submodule(parent)
        kind: Any = type(owner)
        if not re.search(rf"\.{own}\.weight\.dtype(?!\)\.is_floating_point)", _code(kind)):
            setattr(owner, own, _quantized(model.get_submodule(place), bits))


@functools.cache
def _code(kind: type) -> str:
    """Return the source of a class; empty if it is not to be had."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


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
        made.weight = bnb.nn.Params4bit(
            weight.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=False, module=made
        )
        # A CPU with AVX512-BF16 would compute in bf16 whatever the precision, and refuse some shapes.
        fits = layer.in_features % GROUP == 0 and layer.out_features % 32 == 0
        made.support_avx512bf16_for_cpu &= fits and str(weight.dtype) == "torch.bfloat16"
    else:
        made = bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=OUTLIERS, **common)
        made.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    return made.to(device).eval()


def by_torchao(model: Any, device: str, config: str, **options: Any) -> None:
    """Quantize the linear layers of a model in place, as a configuration of torchao says."""
    torchao: Any = importlib.import_module("torchao.quantization")
    chosen = set(linear_layers(model))
    # Its advice to the compiler would be in force for every later model of the process.
    made = getattr(torchao, config)(set_inductor_config=False, **options)
    torchao.quantize_(model, made, filter_fn=lambda _, place: place in chosen)


_bitsandbytes = partial(Setting, kind="quantization", package="bitsandbytes")
_torchao = partial(Setting, kind="quantization", package="torchao")

SETTINGS = (
    _bitsandbytes(
        name="bnb-4bit",
        description="weights in 4 bits (bitsandbytes, nf4)",
        stored_as="nf4",
        prepare=partial(by_bitsandbytes, bits=4),
    ),
    _bitsandbytes(
        name="bnb-8bit",
        description="weights and products in 8 bits (bitsandbytes, LLM.int8)",
        stored_as="int8",
        prepare=partial(by_bitsandbytes, bits=8),
    ),
    _torchao(
        name="torchao-int8",
        description="weights in 8 bits (torchao)",
        prepare=partial(by_torchao, config="Int8WeightOnlyConfig"),
    ),
    _torchao(
        name="torchao-int4",
        description="weights in 4 bits (torchao), computing in bf16",
        dtypes=("bf16",),
        prepare=partial(
            by_torchao,
            config="Int4WeightOnlyConfig",
            group_size=GROUP,
            int4_packing_format="tile_packed_to_4d",
        ),
    ),
)
