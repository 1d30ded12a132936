"""Numbers that describe a model's parts: decoder, vision tower, weight tensors, FLOPs of an image.

A family reads them from a configuration; FLOPs, memory and model cards are computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from vlmnb.types import Frozen

Component = Literal["embedding", "decoder", "output", "vision", "projector"]
Kind = Literal["linear", "embedding", "conv", "table", "vector"]


class Decoder(Frozen):
    """The language model.

    Attributes:
        context: Positions it was trained for.
        tied: The output layer is the token embedding.
        gated: The MLP has a gate beside its two matrices.
        fused_qkv: One matrix makes queries, keys and values.
        qkv_bias: That projection has biases, or those three have.
        bias: All other linear layers and norms have biases.
        qk_norm: Queries and keys are normalized, head by head.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int
    vocabulary: int
    context: int
    tied: bool
    gated: bool = True
    fused_qkv: bool = False
    qkv_bias: bool = False
    bias: bool = False
    qk_norm: bool = False


class Vision(Frozen):
    """The vision tower.

    Attributes:
        merge: Patches along a side that become one token.
        class_token: The tower has a class token beside the patches.
        gated: The MLP has a gate beside its two matrices.
        used_layers: Layers whose output reaches the decoder; the others are computed and not used.
    """

    layers: int
    width: int
    heads: int
    mlp: int
    merge: int = 1
    class_token: bool = False
    gated: bool = False
    used_layers: int


class ImageFlops(Frozen):
    """FLOPs of one image before the decoder sees it, two for a multiply-add.

    Attributes:
        vision: The vision tower without its attention scores.
        vision_scores: Queries times keys, and weights times values.
        projector: What brings the image to the width of the decoder.
        unused: FLOPs of the tower whose result nothing uses; they are counted in the others.
    """

    vision: int = 0
    vision_scores: int = 0
    projector: int = 0
    unused: int = 0


class Tensor(Frozen):
    """One weight.

    Attributes:
        role: Name that llama.cpp's rules use, such as ``attn_v`` or ``ffn_down``.
        shape: As in torch: rows (outputs) first.
        kind: ``linear`` is the matrix of a linear layer, ``table`` a learned position table, ``vector`` a
            norm or a bias.
        layer: Number of the layer, or None outside the layers.
    """

    component: Component
    role: str
    shape: tuple[int, ...]
    kind: Kind
    layer: int | None = None

    @property
    def count(self) -> int:
        """Return the number of parameters."""
        return math.prod(self.shape)

    @property
    def vision_side(self) -> bool:
        """Return whether it belongs to the vision tower or the projector."""
        return self.component in ("vision", "projector")


def linear(
    component: Component, role: str, rows: int, columns: int, layer: int | None = None, *, bias: bool = True
) -> Iterator[Tensor]:
    """Yield the weights of a linear layer."""
    yield Tensor(component=component, role=role, shape=(rows, columns), kind="linear", layer=layer)
    if bias:
        yield Tensor(component=component, role=f"{role}.bias", shape=(rows,), kind="vector", layer=layer)


def norms(
    component: Component, size: int, layer: int | None = None, *, bias: bool, count: int = 1
) -> Iterator[Tensor]:
    """Yield the weights of equal norms."""
    for role in ("norm", "norm.bias") if bias else ("norm",):
        for _ in range(count):
            yield Tensor(component=component, role=role, shape=(size,), kind="vector", layer=layer)


def decoder_tensors(d: Decoder) -> Iterator[Tensor]:
    """Yield the weights of the language model; a tied output layer has none of its own."""
    yield Tensor(component="embedding", role="token_embd", shape=(d.vocabulary, d.width), kind="embedding")
    queries, keys = d.heads * d.head_size, d.kv_heads * d.head_size
    attention = {"attn_q": queries, "attn_k": keys, "attn_v": keys}
    if d.fused_qkv:
        attention = {"attn_qkv": queries + 2 * keys}
    for i in range(d.layers):
        for role, rows in attention.items():
            yield from linear("decoder", role, rows, d.width, i, bias=d.qkv_bias)
        if d.qk_norm:
            yield from norms("decoder", d.head_size, i, bias=d.bias, count=2)
        yield from linear("decoder", "attn_output", d.width, queries, i, bias=d.bias)
        for role in ("ffn_gate", "ffn_up") if d.gated else ("ffn_up",):
            yield from linear("decoder", role, d.mlp, d.width, i, bias=d.bias)
        yield from linear("decoder", "ffn_down", d.width, d.mlp, i, bias=d.bias)
        yield from norms("decoder", d.width, i, bias=d.bias, count=2)
    yield from norms("decoder", d.width, bias=d.bias)
    if not d.tied:
        yield from linear("output", "output", d.vocabulary, d.width, bias=False)


def key_values(text: Any) -> tuple[int, int]:
    """Return the number of key-value heads of a decoder layer and the size of a head.

    If a configuration names neither, every head has its own keys and values, and all share the width evenly.
    """
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(heads), int(size)


def llama_like(config: Any, text: Any, mlp: int) -> Decoder:
    """Return the numbers of a Llama-like decoder from a configuration, its text part and the MLP's width."""
    kv_heads, head_size = key_values(text)
    return Decoder(
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=kv_heads,
        head_size=head_size,
        mlp=mlp,
        vocabulary=text.vocab_size,
        context=getattr(text, "max_position_embeddings", 0) or 0,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
    )
