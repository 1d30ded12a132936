"""Numbers that describe a model's parts: decoder, vision tower, weight tensors, FLOPs of an image.

A family reads them from a configuration; FLOPs, memory and model cards are computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from vlmnb.types import Frozen

Component = Literal["embedding", "decoder", "output", "vision", "projector", "other"]
Kind = Literal["linear", "embedding", "conv", "table", "vector"]


class Layer(Frozen):
    """A layer of the language model: multiply-adds of one token, and numbers that are kept of it.

    Attributes:
        projections: Multiply-adds of the matrices of its attention, or of what stands in its place.
        mlp: Those of everything else; of many experts, of the ones that a token passes.
        mlp_of_image: The same for a token of an image, where images have experts of their own.
        scores: Multiply-adds of a query with one position: its key and its value, over all heads.
        kept: Numbers that the cache keeps of a position; 0 where a layer reads the cache of another.
        window: Positions that a token sees, itself included; 0: all before it.
        chunk: Positions that linear attention takes together, as transformers computes it without other
            packages; then ``scores`` are multiply-adds of one position whatever came before.
        conv_state: Numbers of the last positions that a convolution keeps, however long the text is.
        state: Numbers of linear attention's state, which are in 32 bits.
        crosses: Positions of one image that it attends to in place of the text (Llama 3.2 Vision); then
            ``kept`` is of those. A prompt without an image skips the layer.
        of_image: Multiply-adds of such a position's key and value, which are made once.
        restored: Multiply-adds that make keys and values of a position that the cache keeps compressed: each
            step makes all of them again (DeepSeek's latent attention).
        idle: Those of ``mlp`` for experts that a token does not pass, where all are computed (Llama 4's).
    """

    projections: int
    mlp: int
    mlp_of_image: int | None = None
    scores: int = 0
    kept: int = 0
    window: int = 0
    chunk: int = 0
    conv_state: int = 0
    state: int = 0
    crosses: int = 0
    of_image: int = 0
    restored: int = 0
    idle: int = 0

    def work(self, queries: int, of_images: int) -> int:
        """Return the multiply-adds of ``mlp`` over so many tokens, some of them of images."""
        other = self.mlp if self.mlp_of_image is None else self.mlp_of_image
        return self.mlp * (queries - of_images) + other * of_images

    def pairs(self, queries: int, before: int, images: int) -> int:
        """Return the products of queries and positions that eager attention computes: the hidden ones too.

        Where a layer has a window, the cache has dropped what no query sees any more.
        """
        if self.crosses:
            return queries * images * self.crosses
        if self.chunk:
            return -(-queries // self.chunk) * self.chunk if queries > 1 else 0
        return queries * (queries + self.positions(before))

    def positions(self, tokens: int, beyond: int = 0) -> int:
        """Return how many positions the cache keeps of a sequence: of a window, all but the newest."""
        if self.crosses:
            return self.crosses
        return min(tokens, self.window - 1 + beyond) if self.window else tokens

    def hidden_flops(self, tokens: int) -> int:
        """Return the FLOPs of a prompt that are discarded: by the causal mask, the window and the router."""
        beyond, idle = max(0, tokens - self.window) if self.window else 0, 2 * self.idle * tokens
        return idle + (0 if self.chunk or self.crosses else self.scores * (tokens**2 + beyond**2))


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
        own_layers: The layers one by one, where they are not all as a Llama with these numbers has them.
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
    own_layers: tuple[Layer, ...] = ()

    @property
    def each_layer(self) -> tuple[Layer, ...]:
        """Return the layers one by one."""
        kept = 2 * self.kv_heads * self.head_size
        queries = self.heads * self.head_size
        alike = Layer(
            projections=self.width * (2 * queries + kept),
            mlp=(3 if self.gated else 2) * self.width * self.mlp,
            scores=2 * queries,
            kept=kept,
        )
        return self.own_layers or (alike,) * self.layers

    @property
    def crosses(self) -> int:
        """Return the positions of one image that layers attend to, which are no tokens of the prompt."""
        return max((layer.crosses for layer in self.each_layer), default=0)

    def cache_bytes(self, tokens: int, element_bytes: int, beyond: int = 0) -> int:
        """Return the bytes that the cache keeps of a sequence with one image: keys and values, and states.

        Args:
            tokens: Length of the sequence.
            element_bytes: Of a key or value.
            beyond: Positions that a cache of a window has beyond it.
        """
        return sum(
            element_bytes * (layer.kept * layer.positions(tokens, beyond) + layer.conv_state)
            + 4 * layer.state
            for layer in self.each_layer
        )


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
        routed: Tokens, no FLOPs, that go to the experts of images, where a decoder has such.
        crossed: Images, no FLOPs, that layers of the decoder attend to, where it has such.
    """

    vision: int = 0
    vision_scores: int = 0
    projector: int = 0
    unused: int = 0
    routed: int = 0
    crossed: int = 0

    def times(self, images: int) -> ImageFlops:
        """Return the FLOPs of so many equal images."""
        return ImageFlops(**{name: images * value for name, value in self})

    def plus(self, other: ImageFlops) -> ImageFlops:
        """Return the FLOPs of two images together."""
        return ImageFlops(**{name: value + getattr(other, name) for name, value in self})


class Tensor(Frozen):
    """One weight.

    Attributes:
        role: Name that llama.cpp's rules use, such as ``attn_v`` or ``ffn_down``.
        shape: As in torch: rows (outputs) first.
        kind: ``linear`` is the matrix of a linear layer, ``table`` a learned position table, ``vector`` a
            norm or a bias.
        layer: Number of the layer, or None outside the layers.
        read: Share of it that one token reads: of many experts, those that it passes.
    """

    component: Component
    role: str
    shape: tuple[int, ...]
    kind: Kind
    layer: int | None = None
    read: float = 1.0

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
