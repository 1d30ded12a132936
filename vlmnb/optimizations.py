"""Optimizations: named settings that combine with ``+`` and have one spelling each."""

from __future__ import annotations

from typing import get_args

from vlmnb.errors import UserError, nearest
from vlmnb.spec import Device, Dtype, Frozen

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
ATTENTION = ("eager", "sdpa")
BASE_ATTENTION = "eager"
COMPILE = "compile"

DESCRIPTIONS = {
    "fp32": "32-bit floating point, eager attention",
    "bf16": "bfloat16, eager attention",
    "fp16": "16-bit floating point, eager attention",
    "eager": "attention written out as matrix products (the base)",
    "sdpa": "attention through torch's scaled_dot_product_attention",
    "compile": "the decoder's forward pass compiled by torch.compile",
}


class Optimization(Frozen):
    """What a name such as ``bf16+sdpa`` stands for."""

    name: str
    dtype: Dtype
    attention: str
    compiled: bool


def parse(name: str, base_dtype: Dtype) -> Optimization:
    """Resolve a name on top of the base configuration (``base_dtype``, eager attention).

    Names that mean the same come back under one name, so that one cell is measured once: with an fp32
    base, ``fp32+sdpa`` and ``sdpa`` are both ``sdpa``, and ``eager`` is ``fp32``.

    Raises:
        UserError: An unknown setting, or two of one kind.
    """
    settings = name.split("+")
    for setting in settings:
        if setting not in DESCRIPTIONS:
            raise UserError(f"unknown optimization {setting!r}; {nearest(setting, DESCRIPTIONS)}")
    dtypes = [setting for setting in DTYPES if setting in settings]
    attention = [setting for setting in ATTENTION if setting in settings]
    if len(dtypes) > 1 or len(attention) > 1 or len(set(settings)) < len(settings):
        raise UserError(f"optimization {name!r} names two settings of one kind; keep one")
    dtype = dtypes[0] if dtypes else base_dtype
    kernel = attention[0] if attention else BASE_ATTENTION
    compiled = COMPILE in settings
    extra = [kernel] * (kernel != BASE_ATTENTION) + [COMPILE] * compiled
    spelled = [dtype] * (dtype != base_dtype or not extra) + extra
    return Optimization(name="+".join(spelled), dtype=dtype, attention=kernel, compiled=compiled)


def base_dtype(cpu_dtype: Dtype, device: Device) -> Dtype:
    """Precision of the base configuration: the entry's on a CPU, fp16 on a GPU as in the reports."""
    return "fp16" if device == "cuda" else cpu_dtype
