"""Build a model of full geometry with random weights, on its device and in its precision.

The modules are created with parameters that have a shape and no memory. Then each parameter is allocated
once, in its final precision on its final device, and filled in place. There is never a second copy of the
weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from vlmnb.device import host_memory

EMBEDDING_STD = 0.02
"""As transformers initializes embeddings; with tied weights the head has it as well."""

POOL = (1 << 22) + 15
"""Number of random values drawn; longer parameters repeat them. A prime, so that no two rows are equal."""


def build(model_class: Any, config: Any, *, dtype: Any, device: str, seed: int) -> Any:
    """Build a model in evaluation mode, without an end token, and fill it with random weights.

    Buffers, such as the frequencies of rotary positions, are computed by the modules as usual and keep their
    own precision.

    Raises:
        MemoryError: The weights take more memory than is free.
    """
    from torch import nn

    model = _shapes(model_class, config)
    if device == "cpu":
        host_memory.require(sum(p.numel() for p in model.parameters()) * dtype.itemsize, "the weights")
    # The placeholder is kept with the weight, so that its id is not reused.
    made = {
        id(parameter): (parameter, nn.Parameter(weight, requires_grad=False))
        for _, parameter, weight in _filled(model, dtype, device, seed)
    }
    return _finished(model, lambda parameter: made[id(parameter)][1], dtype, device)


def values(model: Any, *, dtype: Any, device: str, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield name and values of the weights that ``build`` gives such a model, one at a time."""
    for name, _, weight in _filled(model, dtype, device, seed):
        yield name, weight


def outline(model_class: Any, config: Any, dtype: Any, device: Any) -> Any:
    """Build a model in evaluation mode, without an end token, whose weights take no memory."""
    return emptied(_shapes(model_class, config), dtype, device)


def emptied(model: Any, dtype: Any, device: Any) -> Any:
    """Put one zero, repeated without memory, in the place of each weight of a model; return the model."""
    import torch
    from torch import nn

    zero = torch.zeros((), dtype=dtype, device=device)
    made: dict[int, Any] = {}  # with what was there, so that its id is not reused

    def placeholder(parameter: Any) -> Any:
        empty = nn.Parameter(zero.expand(parameter.shape), requires_grad=False)
        return made.setdefault(id(parameter), (parameter, empty))[1]

    return _finished(model, placeholder, dtype, device)


def _shapes(model_class: Any, config: Any) -> Any:
    """Build a model without an end token, whose parameters have a shape and no memory."""
    from accelerate import init_empty_weights
    from transformers import GenerationConfig

    with init_empty_weights(include_buffers=False):
        model = model_class(config)
    # Some releases tie within the block above, where setting a parameter copies it and unties the two.
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=0, pad_token_id=0, eos_token_id=None)
    return model


def _filled(model: Any, dtype: Any, device: str, seed: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, placeholder and random values of each parameter of a model.

    Matrices and convolutions are uniform with the variance 1 / inputs, which keeps activations of any depth
    within fp16; a uniform distribution has no tails beyond fp16's range. Norms are the identity, biases zero.
    The same seed gives the same weights on every device. The values are drawn once and repeated, each
    parameter from its own starting place, because drawing billions takes a CPU minutes.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    pool = torch.empty(POOL, dtype=dtype)
    for part in torch.split(pool, 1 << 18):  # drawn in single precision, without a second pool of that
        part.copy_(torch.empty(part.shape).uniform_(-1, 1, generator=generator))
    pool = pool.to(device)
    seen = set[int]()
    for place, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            weight = torch.empty(parameter.shape, dtype=dtype, device=device)
            start = int(torch.randint(POOL, (), generator=generator))
            _fill(weight, pool, start, _bound(module, name, weight))
            yield f"{place}.{name}" if place else name, parameter, weight


def _finished(model: Any, weight_of: Callable[[Any], Any], dtype: Any, device: Any) -> Any:
    """Give a model its weights by their placeholders, and return it in evaluation mode."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = weight_of(parameter)
    model.tie_weights()
    model.to(device)  # moves the buffers; the parameters are there already
    model.config.dtype = dtype
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
