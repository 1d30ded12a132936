"""Every weight tensor of a model by name, shape and role, from the geometry alone."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from vlmnb.fit.shape import Decoder, Shape, Vision
from vlmnb.types import Frozen

Component = Literal["embedding", "decoder", "output", "vision", "projector"]
Kind = Literal["linear", "embedding", "conv", "table", "vector"]

COMPONENTS: tuple[Component, ...] = ("vision", "projector", "embedding", "decoder", "output")
TITLES: dict[Component, str] = {
    "vision": "Vision tower",
    "projector": "Projector",
    "embedding": "Token embedding",
    "decoder": "Decoder layers",
    "output": "Output layer",
}


class Tensor(Frozen):
    """One weight.

    Attributes:
        role: What llama.cpp's rules go by, such as ``attn_v`` or ``ffn_down``.
        shape: As torch has it: rows (outputs) first.
        kind: ``linear`` is a matrix of a linear layer, ``table`` a learned position table, ``vector`` a
            norm or a bias.
        layer: Number of the layer, or None outside of the layers.
    """

    component: Component
    role: str
    shape: tuple[int, ...]
    kind: Kind
    layer: int | None = None

    @property
    def count(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)


@functools.cache
def of(shape: Shape) -> tuple[Tensor, ...]:
    """All tensors of a model, a tied output layer left out."""
    found = [*_vision(shape.vision, shape.decoder.width)] if shape.vision else []
    if shape.patch_values:
        found += _linear("projector", "patches", shape.decoder.width, shape.patch_values)
    return (*found, *_decoder(shape.decoder))


def by_component(shape: Shape) -> dict[Component, int]:
    """Parameters of each component that the model has, in the order an image passes them."""
    counts: Counter[Component] = Counter()
    for tensor in of(shape):
        counts[tensor.component] += tensor.count
    return {component: counts[component] for component in COMPONENTS if counts[component]}


def _linear(
    component: Component, role: str, rows: int, columns: int, layer: int | None = None, *, bias: bool = True
) -> Iterator[Tensor]:
    yield Tensor(component=component, role=role, shape=(rows, columns), kind="linear", layer=layer)
    if bias:
        yield Tensor(component=component, role=f"{role}.bias", shape=(rows,), kind="vector", layer=layer)


def _norm(component: Component, size: int, layer: int | None = None, *, bias: bool) -> Iterator[Tensor]:
    for role in ("norm", "norm.bias") if bias else ("norm",):
        yield Tensor(component=component, role=role, shape=(size,), kind="vector", layer=layer)


def _decoder(d: Decoder) -> Iterator[Tensor]:
    yield Tensor(
        component="embedding", role="token_embd", shape=(d.vocabulary, d.width), kind="embedding"
    )  # fmt: skip
    fused, ln = d.kind == "persimmon", d.kind == "persimmon"
    for i in range(d.layers):
        if fused:
            yield from _linear("decoder", "attn_qkv", 3 * d.width, d.width, i)
            for _ in range(2):
                yield from _norm("decoder", d.head_size, i, bias=True)
            yield from _linear("decoder", "attn_output", d.width, d.width, i)
            yield from _linear("decoder", "ffn_up", d.mlp, d.width, i)
            yield from _linear("decoder", "ffn_down", d.width, d.mlp, i)
        else:
            biased = d.kind == "qwen2"
            yield from _linear("decoder", "attn_q", d.heads * d.head_size, d.width, i, bias=biased)
            yield from _linear("decoder", "attn_k", d.kv_heads * d.head_size, d.width, i, bias=biased)
            yield from _linear("decoder", "attn_v", d.kv_heads * d.head_size, d.width, i, bias=biased)
            yield from _linear("decoder", "attn_output", d.width, d.heads * d.head_size, i, bias=False)
            yield from _linear("decoder", "ffn_gate", d.mlp, d.width, i, bias=False)
            yield from _linear("decoder", "ffn_up", d.mlp, d.width, i, bias=False)
            yield from _linear("decoder", "ffn_down", d.width, d.mlp, i, bias=False)
        for _ in range(2):
            yield from _norm("decoder", d.width, i, bias=ln)
    yield from _norm("decoder", d.width, bias=ln)
    if not d.tied:
        yield from _linear("output", "output", d.vocabulary, d.width, bias=False)


def _vision(v: Vision, width: int) -> Iterator[Tensor]:
    patch = (v.width, v.channels, *([v.frames] if v.kind == "qwen2_5_vl" else []), v.patch, v.patch)
    yield Tensor(component="vision", role="patch_embd", shape=patch, kind="conv")
    if v.kind == "clip":
        assert v.image is not None
        positions = (v.image // v.patch) ** 2 + 1
        yield Tensor(component="vision", role="class_embd", shape=(v.width,), kind="vector")
        yield Tensor(component="vision", role="position_embd", shape=(positions, v.width), kind="table")
        for _ in range(2):  # before the layers and behind them
            yield from _norm("vision", v.width, bias=True)
        for i in range(v.layers):
            for role in ("attn_q", "attn_k", "attn_v", "attn_output"):
                yield from _linear("vision", role, v.width, v.width, i)
            yield from _linear("vision", "ffn_up", v.mlp, v.width, i)
            yield from _linear("vision", "ffn_down", v.width, v.mlp, i)
            for _ in range(2):
                yield from _norm("vision", v.width, i, bias=True)
        yield from _linear("projector", "mm.0", width, v.width)
        yield from _linear("projector", "mm.2", width, width)
        return
    for i in range(v.layers):
        yield from _linear("vision", "attn_qkv", 3 * v.width, v.width, i)
        yield from _linear("vision", "attn_output", v.width, v.width, i)
        yield from _linear("vision", "ffn_gate", v.mlp, v.width, i)
        yield from _linear("vision", "ffn_up", v.mlp, v.width, i)
        yield from _linear("vision", "ffn_down", v.width, v.mlp, i)
        for _ in range(2):
            yield from _norm("vision", v.width, i, bias=False)
    merged = v.width * v.merge**2
    yield from _norm("projector", v.width, bias=False)
    yield from _linear("projector", "mm.0", merged, merged)
    yield from _linear("projector", "mm.2", width, merged)
