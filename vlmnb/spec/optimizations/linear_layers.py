"""The layers that a quantization replaces."""

from __future__ import annotations

from typing import Any


def linear_layers(model: Any) -> list[str]:
    """Return the places of all linear layers but the output head.

    transformers makes the same choice when it quantizes a checkpoint while loading it. Here a model in memory
    is quantized, so that models with random weights are treated in the same way.
    """
    from torch import nn

    return [
        place
        for place, module in model.named_modules()
        if type(module) is nn.Linear and place.rpartition(".")[2] != "lm_head"
    ]
