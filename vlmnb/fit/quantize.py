"""Bytes of the weights under each quantization, tensor by tensor as the tools store them.

GGUF: llama.cpp's ``src/llama-quant.cpp`` at 007dbbf3fd17eefe9b47fee45f48f7ba5e62b714 (functions
``llama_tensor_get_type_impl`` and ``tensor_type_fallback``) and the block sizes of ``ggml-common.h``. The
decoder is quantized; the vision side lies in a second file, ``mmproj``, in f16.
bitsandbytes 0.50: linear layers of the whole model but the output layer; all else stays in 16 bits.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vlmnb.errors import UserError, nearest
from vlmnb.files import plain_yaml
from vlmnb.fit.shape import Shape
from vlmnb.models.architecture import Tensor
from vlmnb.types import Frozen

Tool = Literal["transformers", "llama.cpp", "bitsandbytes"]

_CONTENT = plain_yaml.load(Path(__file__).with_name("quantizations.yaml"))
BLOCKS: dict[str, tuple[int, int]] = _CONTENT["blocks"]
PACKED: dict[str, dict[str, int]] = _CONTENT["packed"]


class Quantization(Frozen):
    """A way to store the weights, under the name that its tool gives it."""

    name: str
    tool: Tool
    oldest_cuda: float
    summary: str

    @property
    def gguf(self) -> bool:
        """Return whether it is a GGUF kind."""
        return self.tool == "llama.cpp"


QUANTIZATIONS = {name: Quantization(name=name, **given) for name, given in _CONTENT["quantizations"].items()}


def obstacle(shape: Shape, quantization: Quantization) -> str:
    """Say why no tool runs a model under a quantization on any GPU; empty if one does."""
    return shape.family.gguf_obstacle if quantization.gguf else ""


def get(name: str) -> Quantization:
    """Return the quantization of a name, in upper or lower case.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    found = {known.lower(): quantization for known, quantization in QUANTIZATIONS.items()}
    try:
        return found[name.lower()]
    except KeyError:
        raise UserError(f"unknown quantization {name!r}; {nearest(name, QUANTIZATIONS)}") from None


class Stored(Frozen):
    """A tensor, its type (of GGUF, or ``fp16``, ``int8``, ``nf4``) and its size in memory."""

    tensor: Tensor
    type: str
    size_bytes: int


@functools.cache
def stored(shape: Shape, quantization: Quantization) -> tuple[Stored, ...]:
    """Return every tensor of a model with its type and size in memory."""
    name = quantization.name
    if not quantization.gguf:
        return tuple(_plain(tensor, name) for tensor in shape.tensors)
    # llama.cpp's converter drops a vision layer if nothing reads its output.
    used = shape.vision.used_layers if shape.vision else 0
    return tuple(
        _gguf(tensor, shape, name)
        for tensor in shape.tensors
        if tensor.component != "vision" or tensor.layer is None or tensor.layer < used
    )


class Bits(NamedTuple):
    """How some weights are stored: their number, bits per weight, and types, that of most weights first."""

    weights: int
    bits: float
    types: tuple[str, ...]


def bits_by_type(found: Sequence[Stored]) -> dict[str, Bits]:
    """Return how the weights of each storage type are stored, the type of most weights first."""
    kinds = {kind: [one for one in found if one.type == kind] for kind in _types(found)}
    return {kind: _bits(group) for kind, group in kinds.items()}


def bits_by_layer(found: Sequence[Stored]) -> dict[str, Bits]:
    """Return how each type of layer is stored, in the order a token passes them."""
    names: dict[str, str] = _CONTENT["layers"]
    groups: dict[str, list[Stored]] = {name: [] for name in names.values()}
    for one in found:
        role = "vision" if one.tensor.vision_side else one.tensor.role
        groups[names.get(role, names[""])].append(one)
    return {name: _bits(group) for name, group in groups.items() if group}


def _bits(group: Sequence[Stored]) -> Bits:
    total = sum(one.tensor.count for one in group)
    return Bits(total, 8 * sum(one.size_bytes for one in group) / total, _types(group))


def _types(group: Sequence[Stored]) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for one in group:
        counts[one.type] += one.tensor.count
    return tuple(kind for kind, _ in counts.most_common())


def more_bits(layer: int, layers: int) -> bool:
    """Return llama.cpp's choice of layers with more bits: the first and last eighth, every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _gguf(tensor: Tensor, shape: Shape, name: str) -> Stored:
    kind = (
        "F32" if len(tensor.shape) < 2 else "F16" if tensor.vision_side else _gguf_type(tensor, shape, name)
    )
    block, size = BLOCKS[kind]
    return Stored(tensor=tensor, type=kind, size_bytes=tensor.count // block * size)


def _gguf_type(tensor: Tensor, shape: Shape, name: str) -> str:
    """Return the type that llama.cpp gives a matrix of the decoder."""
    base = wanted = name.removesuffix("_M")
    tied = shape.decoder.tied and tensor.role == "token_embd"
    if tensor.role == "output" or tied:
        aligned = tensor.shape[-1] % BLOCKS[base][0] == 0
        wanted = "Q8_0" if base == "Q8_0" or not aligned else "Q6_K"
    elif name == "Q4_K_M" and tensor.role in ("attn_v", "attn_qkv", "ffn_down"):
        wanted = "Q6_K" if more_bits(tensor.layer or 0, shape.decoder.layers) else base
    for candidate in (wanted, _CONTENT["fallback"].get(wanted, "F16"), "F16"):
        if tensor.shape[-1] % BLOCKS[candidate][0] == 0:
            return candidate
    return "F16"


def _plain(tensor: Tensor, name: str) -> Stored:
    if name in PACKED and is_replaced(tensor):
        return Stored(tensor=tensor, type=name, size_bytes=packed_bytes(tensor, name))
    return Stored(tensor=tensor, type="fp16", size_bytes=2 * tensor.count)


def is_replaced(tensor: Tensor) -> bool:
    """Return whether a quantizer gets a weight: that of a linear layer, but not the output layer's."""
    return tensor.kind == "linear" and tensor.component != "output"


def packed_bytes(tensor: Tensor, name: str) -> int:
    """Return the bytes of a matrix as bitsandbytes or torchao pack it, with scales."""
    how = PACKED[name]
    groups = math.ceil(tensor.count / how["group"]) if "group" in how else 0
    beside = tensor.shape[0] * how.get("row", 0) + groups * how.get("each", 0) + how.get("matrix", 0)
    return math.ceil(tensor.count * how["bits"] / 8) + beside
