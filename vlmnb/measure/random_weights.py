"""Build a model of full geometry with random weights, on its device and in its precision.

The modules are created with parameters that have a shape and no memory. Then each parameter is allocated
once, in its final precision on its final device, and filled in place. There is never a second copy of the
weights.
"""

from __future__ import annotations

import math
from typing import Any

EMBEDDING_STD = 0.02
"""As transformers initializes embeddings; with tied weights the head has it as well."""

POOL = (1 << 22) + 15
"""Number of random values drawn; longer parameters repeat them. A prime, so that no two rows are equal."""


def build(model_class: Any, config: Any, *, dtype: Any, device: str, seed: int) -> Any:
    """Build a model in evaluation mode, without an end token, and fill it with random weights.

    Matrices and convolutions are uniform with the variance 1 / inputs, which keeps activations of any depth
    within fp16; a uniform distribution has no tails beyond fp16's range. Norms are the identity, biases zero.
    Buffers, such as the frequencies of rotary positions, are computed by the modules as usual and keep their
    own precision. The same seed gives the same weights on every device. The values are drawn once and
    repeated, each parameter from its own starting place, because drawing billions takes a CPU minutes.
    """
    import torch
    from accelerate import init_empty_weights
    from torch import nn
    from transformers import GenerationConfig

    with init_empty_weights(include_buffers=False):
        model = model_class(config)
    # Some releases tie within the block above, where setting a parameter copies it and unties the two.
    model.tie_weights()
    generator = torch.Generator().manual_seed(seed)
    pool = torch.empty(POOL, dtype=dtype)
    for part in torch.split(pool, 1 << 18):  # drawn in single precision, without a second pool of that
        part.copy_(torch.empty(part.shape).uniform_(-1, 1, generator=generator))
    pool = pool.to(device)
    made: dict[int, Any] = {}
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is None:
                    continue
                if id(parameter) not in made:
                    weight = torch.empty(parameter.shape, dtype=dtype, device=device)
                    start = int(torch.randint(POOL, (), generator=generator))
                    _fill(weight, pool, start, _bound(module, name, weight))
                    # The placeholder is kept with the weight, so that its id is not reused.
                    made[id(parameter)] = (parameter, nn.Parameter(weight, requires_grad=False))
                module._parameters[name] = made[id(parameter)][1]
    model.tie_weights()
    model.to(device)  # moves the buffers; the parameters are there already
    model.config.dtype = dtype
    model.generation_config = GenerationConfig(bos_token_id=0, pad_token_id=0, eos_token_id=None)
    return model.eval()


def outline(model_class: Any, config: Any, dtype: Any, device: Any) -> Any:
    """Build a model in evaluation mode each of whose weights is one zero, repeated without memory."""
    import torch
    from accelerate import init_empty_weights
    from torch import nn

    with init_empty_weights(include_buffers=False):
        model = model_class(config)
    zero = torch.zeros((), dtype=dtype, device=device)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(zero.expand(parameter.shape), requires_grad=False)
    model.to(device)  # moves the buffers
    return model.eval()


def _bound(module: Any, name: str, weight: Any) -> float | None:
    """Return the largest magnitude of a parameter's values; None for a norm's scale, which is all ones."""
    from torch import nn

    if weight.dim() > 1 and not isinstance(module, nn.Embedding):
        return math.sqrt(3 / (weight.numel() // weight.shape[0]))
    if name == "bias":
        return 0.0
    return None if name == "weight" and weight.dim() == 1 else EMBEDDING_STD * math.sqrt(3)


def _fill(weight: Any, pool: Any, start: int, bound: float | None) -> None:
    """Fill a parameter in place with the pool's values from ``start`` on times ``bound``, repeating them."""
    import torch

    if bound is None:
        weight.fill_(1)
        return
    flat, filled = weight.view(-1), 0
    while filled < flat.numel():
        part = pool[start : start + flat.numel() - filled]
        torch.mul(part, bound, out=flat[filled : filled + part.numel()])
        filled, start = filled + part.numel(), 0
