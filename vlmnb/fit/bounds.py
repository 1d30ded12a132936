"""Lower bounds on latency from the roofline: no GPU computes or reads faster than its data sheet says."""

from __future__ import annotations

import functools

from vlmnb.fit import quantize
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.memory import HALF_BYTES, Load
from vlmnb.fit.quantize import Quantization
from vlmnb.fit.shape import Shape
from vlmnb.flops import formula
from vlmnb.types import Frozen


class Work(Frozen):
    """The work of a batch: of its prompts' pass with the vision side, and of a step half-way through answers.

    Attributes:
        prefill_bytes: Bytes of the weights, which are read at least once.
        step_bytes: Weights that a decoding step reads, and the cache.
        steps: Decoding steps: new tokens but the first, which the prompt's pass gives.
        prefill_layers: Layers run one after the other until the first token, the vision tower's included;
            each launches some CUDA kernels, which takes time however small the work is.
    """

    prefill_flops: int
    step_flops: int
    prefill_bytes: int
    step_bytes: int
    steps: int
    prefill_layers: int
    step_layers: int


class Bound(Frozen):
    """The fewest seconds that a batch can take; from the bandwidth alone, unless ``compute_known``."""

    prefill_s: float
    step_s: float
    total_s: float
    compute_known: bool


@functools.cache
def work(of: Shape, quantization: Quantization, load: Load) -> Work:
    """Compute the work of one batch; its FLOPs do not depend on how the weights are stored."""
    d, found = of.decoder, quantize.stored(of, quantization)
    read = {"decoder", "output", "embedding" if d.tied else ""}
    weights = sum(int(one.size_bytes * one.tensor.read) for one in found if one.tensor.component in read)
    batch, half_way = load.batch_size, load.prompt_tokens(of) + load.new_tokens // 2
    # Other implementations run no idle experts, and attend to a compressed cache as it is.
    spared = sum(one.idle + one.restored * one.positions(half_way) for one in d.each_layer)
    return Work(
        prefill_flops=batch * prompt_flops(of, load.image_size, load.text_tokens),
        step_flops=batch * (formula.decode(of.family, of.config, half_way).total - 2 * spared),
        prefill_bytes=sum(one.size_bytes for one in found if one.tensor.component != "embedding"),
        step_bytes=weights + batch * d.cache_bytes(half_way, HALF_BYTES), steps=load.new_tokens - 1,
        prefill_layers=d.layers + (of.vision.layers if of.vision else 0), step_layers=d.layers,
    )  # fmt: skip


def prompt_flops(of: Shape, image_size: int, text_tokens: int) -> int:
    """Return the FLOPs of one prompt that every implementation needs.

    Left out of the formula's count: the logits of all positions but the last, which generation does not need,
    the attention scores that a causal mask or a window discards, and vision layers that nothing reads.
    """
    side, tokens = of.side(image_size), of.image_tokens(image_size) + text_tokens
    full = formula.prefill(of.family, of.config, side, tokens)
    unused = of.family.image_flops(of.config, side).unused
    hidden = sum(layer.hidden_flops(tokens) for layer in of.decoder.each_layer)
    return full.total - full.head + full.head // tokens - hidden - unused


NO_FASTER_INT8 = (6.0, 7.0)
"""CUDA compute capabilities that do not multiply 8 bits faster than 16: P100 has no dot product of 8
bits, and V100's, four times its rate in 32 bits, is half as fast as its matrix units are in 16."""


def matrix_rate(quantization: Quantization, gpu: Gpu) -> float | None:
    """Return the fastest rate at which a tool multiplies, in 10^12 operations per second; None if unknown.

    16-bit weights are multiplied in 16 bits, and so are nf4's, which bitsandbytes unpacks first. LLM.int8()
    multiplies in 8 bits, and outliers in 16. llama.cpp does either, depending on the GPU and the batch
    (ggml-cuda/mmq.cu). The bound of these two uses the faster width, and is unknown if int8's rate is.
    """
    sixteen = max((rate for rate in (gpu.fp16_tflops, gpu.bf16_tflops) if rate), default=None)
    if quantization.name in ("fp16", "nf4"):
        return sixteen
    if gpu.int8_tops:
        return max(gpu.int8_tops, sixteen or 0.0)
    return sixteen if gpu.compute_capability in NO_FASTER_INT8 else None


def bound(asked: Work, quantization: Quantization, gpu: Gpu) -> Bound:
    """Compute the least time of a batch on a GPU, from the matrix rate in the width that the tool uses."""
    rate = (matrix_rate(quantization, gpu) or 0.0) * 1e12
    bandwidth = gpu.bandwidth_gb_s * 1e9
    prefill = max(asked.prefill_bytes / bandwidth, asked.prefill_flops / rate if rate else 0.0)
    step = max(asked.step_bytes / bandwidth, asked.step_flops / rate if rate else 0.0)
    return Bound(
        prefill_s=prefill, step_s=step, total_s=prefill + asked.steps * step, compute_known=bool(rate)
    )
