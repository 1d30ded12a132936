"""The memory that a model takes while it answers: weights, vision side, KV cache, activations, overhead."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from vlmnb.errors import UserError
from vlmnb.fit import quantize
from vlmnb.fit.quantize import Quantization, Stored
from vlmnb.fit.shape import Shape
from vlmnb.types import Frozen

Attention = Literal["sdpa", "eager"]

HALF_BYTES = 2
"""KV cache and transformers' activations are in 16 bits: bitsandbytes computes in 16 bits, and llama.cpp's
cache is f16 by default."""

OVERHEAD_BYTES = 500_000_000
"""CUDA context, cuBLAS workspace and what the allocator leaves unused. This is assumed, not measured:
drivers and GPUs differ by some hundred megabytes. The card page of LLaVA-1.5 adds as much."""


UBATCH, GGUF_BYTES = 512, 4
"""Tokens that llama.cpp's decoder takes at one time (``-ub``), and bytes of a number in its buffers."""

GGUF_TOKENS = {"qwen2_5_vl": (46 * 46, 4096)}
"""By family: tokens of the picture that llama.cpp lays out its vision buffer for at the start, and the most
that it makes of one (tools/mtmd/clip.cpp)."""


class Load(Frozen):
    """What the model has to do at one time.

    Attributes:
        image_size: Side of the (square) images in pixels.
        text_tokens: Length of the text prompt with its template, without image tokens.
        new_tokens: Tokens that each answer may have.
        context: Tokens of a sample that the KV cache has room for; 0: prompt and answer.
        attention: What transformers computes attention with; ``eager`` writes out the matrices of scores.
    """

    batch_size: int = 1
    image_size: int
    text_tokens: int = 200
    new_tokens: int = 64
    context: int = 0
    attention: Attention = "sdpa"

    def prompt_tokens(self, of: Shape) -> int:
        """Return the length of one prompt, image tokens included."""
        return self.text_tokens + of.image_tokens(self.image_size)

    def under(self, of: Shape, quantization: Quantization) -> Load:
        """Return the load with the picture as a quantization's tool sees it: llama.cpp shrinks large ones."""
        tokens, most = of.image_tokens(self.image_size), GGUF_TOKENS.get(of.family.name, (0, 0))[1]
        if not quantization.gguf or not most or tokens <= most:
            return self
        side = math.isqrt(most) * of.side(self.image_size) // math.isqrt(tokens)
        return self.model_copy(update={"image_size": side})


class Memory(Frozen):
    """Bytes by what they store.

    Attributes:
        vision_bytes: Vision tower and projector; ``weights_bytes`` are all others.
        cache_bytes: Keys and values of the whole batch at the end of the answers.
        activations_bytes: Largest live set within the prompt's pass, an estimate; or llama.cpp's buffers.
    """

    quantization: str
    bits_per_weight: float
    weights_bytes: int
    vision_bytes: int
    cache_bytes: int
    activations_bytes: int
    overhead_bytes: int = OVERHEAD_BYTES

    @property
    def parts(self) -> tuple[int, ...]:
        """Return the bytes of the parts, in the order of tables."""
        return (
            self.weights_bytes, self.vision_bytes, self.cache_bytes, self.activations_bytes,
            self.overhead_bytes,
        )  # fmt: skip

    @property
    def model_bytes(self) -> int:
        """Return the bytes of all weights."""
        return self.weights_bytes + self.vision_bytes

    @property
    def total_bytes(self) -> int:
        """Return the bytes of everything."""
        return sum(self.parts)


@functools.cache
def need(of: Shape, quantization: Quantization, load: Load) -> Memory:
    """Compute the memory of a model under a load.

    Raises:
        UserError: The prompt and the answer do not fit the model's context, or that of the load.
    """
    total, most = load.prompt_tokens(of) + load.new_tokens, of.decoder.context
    if most and load.context > most:
        raise UserError(f"{of.entry.name} has a context of {most} tokens, --context asks for {load.context}")
    if (room := load.context or most) and total > room:
        raise UserError(
            f"{of.entry.name} has a context of {room} tokens, asked for {total}: "
            f"{of.image_tokens(load.image_size)} image, {load.text_tokens} text, {load.new_tokens} new; "
            "ask for less with --text-tokens, --new-tokens or --image-size"
        )
    found = quantize.stored(of, quantization)
    vision = sum(one.size_bytes for one in found if one.tensor.vision_side)
    size = sum(one.size_bytes for one in found)
    live = llama_cpp_bytes(of, load) if quantization.gguf else activations_bytes(of, load) + _unpacked(found)
    return Memory(
        quantization=quantization.name,
        bits_per_weight=8 * size / sum(one.tensor.count for one in found),
        weights_bytes=size - vision,
        vision_bytes=vision,
        cache_bytes=load.batch_size
        * of.decoder.cache_bytes(load.context or total, HALF_BYTES, UBATCH if quantization.gguf else 0),
        activations_bytes=live,
    )


def activations_bytes(of: Shape, load: Load) -> int:
    """Estimate the largest set of activations that exist at one time while transformers reads the prompt.

    The largest of four moments, with tensors counted as transformers' code holds them: the decoder's MLP
    (residual, its norm, and the hidden layer of the MLP up to three times), its attention (queries, keys and
    values before and after the rotation), the vision tower's layer, and the logits of the last position in 16
    and 32 bits. Eager attention adds scores and their softmax, which transformers takes in 32 bits. A tower
    with windows rotates in 32 bits, and attends picture by picture.
    """
    d, batch = of.decoder, load.batch_size
    prompt = load.prompt_tokens(of)
    hidden = (3 if d.gated else 2) * d.mlp
    heads = (d.heads + 2 * d.kv_heads) * d.head_size
    moments = [
        batch * prompt * (2 * d.width + hidden) * HALF_BYTES,
        batch * prompt * (2 * d.width + 2 * heads) * HALF_BYTES + _scores(load, batch * d.heads, prompt),
        batch * d.vocabulary * (HALF_BYTES + 4),
    ]
    if of.vision:
        v, positions = of.vision, of.patches(load.image_size)
        hidden, rotation = (3 if v.gated else 2) * v.mlp, 15 if of.windowed else 6
        layer = batch * positions * (2 * v.width + max(hidden, rotation * v.width)) * HALF_BYTES
        moments.append(layer + _scores(load, v.heads * (1 if of.windowed else batch), positions))
    return max(moments)


def llama_cpp_bytes(of: Shape, load: Load) -> int:
    """Compute llama.cpp's buffers: the decoder's, whatever the prompt, and the vision tower's.

    With flash attention, its default. The vision buffer is that of one picture, whatever the batch; windowed
    attention has a mask over all pairs of patches, in 32 and in 16 bits (tools/mtmd/models/qwen2vl.cpp). Logs
    have 300.75 MiB for a Qwen2.5 of 3B and 704.79 MiB for the tower of Qwen2.5-VL at 1288 pixels, this 713.
    """
    d, v = of.decoder, of.vision
    text = UBATCH * (d.width + max(d.vocabulary, d.width + (2 if d.gated else 1) * d.mlp)) * GGUF_BYTES
    if v is None:
        return text
    least = GGUF_TOKENS.get(of.family.name, (0, 0))[0] * v.merge**2
    positions = max(of.patches(load.image_size), least)
    layer = positions * (2 * v.width + max((2 if v.gated else 1) * v.mlp, 4 * v.width)) * GGUF_BYTES
    return text + layer + (positions**2 * (GGUF_BYTES + HALF_BYTES) if of.windowed else 0)


def _unpacked(found: Sequence[Stored]) -> int:
    """Return the bytes of the largest nf4 matrix in 16 bits; bitsandbytes unpacks one at a time."""
    return max((HALF_BYTES * one.tensor.count for one in found if one.type == "nf4"), default=0)


def _scores(load: Load, matrices: int, positions: int) -> int:
    """Return the bytes of eager attention: scores in 16 bits, softmax in 32, and that in 16."""
    return matrices * positions**2 * (HALF_BYTES + 4 + HALF_BYTES) if load.attention == "eager" else 0


def largest_batch(of: Shape, quantization: Quantization, load: Load, usable_bytes: float) -> int:
    """Return how many samples of a load fit a memory at one time; 0 if not one does."""

    def fits(batch: int) -> bool:
        return (
            need(of, quantization, load.model_copy(update={"batch_size": batch})).total_bytes <= usable_bytes
        )

    low, high = 0, 1  # memory only grows with the batch: double, then halve
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class Claim(Frozen):
    """A published memory figure, what the page's own rule gives, and our weights and total."""

    quantization: str
    claimed_bytes: float
    bits_per_weight: float
    rule_bytes: float
    weights_bytes: int
    total_bytes: int

    @property
    def error(self) -> float:
        """Return how far the claim is from our total, as a fraction of the total."""
        return self.claimed_bytes / self.total_bytes - 1


def claims(
    of: Shape, claimed: Mapping[str, tuple[float, float]], parameters: float | None, load: Load
) -> tuple[Claim, ...]:
    """Compare with ours, under a load, what a page claims: gigabytes and bits per weight by quantization."""
    made = []
    for name, (gigabytes, bits) in claimed.items():
        ours = need(of, quantize.get(name), load.under(of, quantize.get(name)))
        made.append(
            Claim(
                quantization=name, claimed_bytes=gigabytes * 1e9, bits_per_weight=bits,
                rule_bytes=(parameters or 0) * bits / 8 + OVERHEAD_BYTES,
                weights_bytes=ours.model_bytes, total_bytes=ours.total_bytes,
            )
        )  # fmt: skip
    return tuple(made)
