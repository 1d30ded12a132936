"""Optimizations: named settings that combine with ``+`` and have one spelling each."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import get_args

from vlmnb.errors import UserError, nearest
from vlmnb.types import Device, Dtype, Frozen

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
FLASH = "flash_attention_2"
ATTENTION = ("eager", "sdpa", FLASH)
BASE_ATTENTION = "eager"
COMPILE = "compile"
INT4 = "torchao-int4"
LIBRARIES = {
    "bnb-4bit": "bitsandbytes",
    "bnb-8bit": "bitsandbytes",
    "torchao-int8": "torchao",
    INT4: "torchao",
}
"""The quantizations, and the package that each of them needs."""

STATIC_CACHE = "static_cache"
PROMPT_LOOKUP = "prompt_lookup"
DECODING = (STATIC_CACHE, PROMPT_LOOKUP)

DESCRIPTIONS = {
    "fp32": "32-bit floating point, eager attention",
    "bf16": "bfloat16, eager attention",
    "fp16": "16-bit floating point, eager attention",
    "eager": "attention written out as matrix products (the base)",
    "sdpa": "attention through torch's scaled_dot_product_attention",
    FLASH: "attention through the package flash-attn, else torch's flash kernel, forced; a GPU, 16 bits",
    COMPILE: "the step of one token, on a GPU the prompt's pass too, by torch.compile; with a static cache",
    "bnb-4bit": "weights in 4 bits (bitsandbytes, nf4)",
    "bnb-8bit": "weights and products in 8 bits (bitsandbytes, LLM.int8)",
    "torchao-int8": "weights in 8 bits (torchao)",
    INT4: "weights in 4 bits (torchao), computing in bf16",
    STATIC_CACHE: "keys and values in memory of fixed size",
    PROMPT_LOOKUP: "tokens guessed from the prompt and checked in one pass; one question at a time",
}

_SIXTEEN_BITS = {FLASH: ("fp16", "bf16"), INT4: ("bf16",)}
"""Settings that compute in these precisions and no other."""


class Optimization(Frozen):
    """What a name such as ``bf16+sdpa`` stands for.

    Attributes:
        quantization: One of ``LIBRARIES``, or empty.
        decoding: One of ``DECODING``, or empty. A compiled decoder has a static cache.
    """

    name: str
    dtype: Dtype
    attention: str
    compiled: bool
    quantization: str = ""
    decoding: str = ""

    @property
    def tried(self) -> bool:
        """Whether it asks a library for something that not every model and machine has."""
        return self.compiled or self.attention == FLASH or bool(self.quantization or self.decoding)

    @property
    def static_cache(self) -> bool:
        """Whether keys and values lie in memory of fixed size."""
        return self.decoding == STATIC_CACHE

    @property
    def prompt_lookup(self) -> bool:
        """Whether tokens are guessed from the prompt."""
        return self.decoding == PROMPT_LOOKUP


def tidied(names: Sequence[str], parameter: str) -> list[str]:
    """Names of a list without blanks around their settings.

    Args:
        names: As somebody wrote them.
        parameter: The list's name.

    Raises:
        UserError: One is empty, which must not stand for the base configuration.
    """
    made = ["+".join(part.strip() for part in name.split("+")) for name in names]
    if "" in made:
        raise UserError(
            f"{parameter} holds an empty name; name the precision of the base ({', '.join(DTYPES)}), or "
            "leave it out"
        )
    return made


@functools.lru_cache(maxsize=1024)
def parse(name: str, base_dtype: Dtype) -> Optimization:
    """Resolve a name on top of the base configuration (``base_dtype``, eager attention).

    Names that mean the same come back under one name, so that one cell is measured once: with an fp32
    base, ``fp32+sdpa`` and ``sdpa`` are both ``sdpa``, and ``eager`` is ``fp32``. A setting that cannot
    compute in the base precision brings bf16 along.

    Raises:
        UserError: An unknown setting, two of one kind, or settings that exclude one another.
    """
    settings = name.split("+")
    if not all(settings):
        raise UserError(f"optimization {name!r}: a setting is missing beside a +")
    for setting in settings:
        if setting not in DESCRIPTIONS:
            raise UserError(f"unknown optimization {setting!r}; {nearest(setting, DESCRIPTIONS)}")
    if len(set(settings)) < len(settings):
        raise UserError(f"optimization {name!r} names two settings of one kind; keep one")
    dtype = _one(name, settings, "precisions", DTYPES)
    attention = _one(name, settings, "kinds of attention", ATTENTION) or BASE_ATTENTION
    quantization = _one(name, settings, "quantizations", tuple(LIBRARIES))
    decoding = _one(name, settings, "ways of decoding", DECODING)
    compiled = COMPILE in settings
    if compiled and decoding == PROMPT_LOOKUP:
        raise UserError(
            f"optimization {name!r}: {COMPILE} needs a static cache, which {PROMPT_LOOKUP} cannot rewind; "
            "keep one"
        )
    chosen = dtype or base_dtype
    for setting, possible in _SIXTEEN_BITS.items():
        if setting in (attention, quantization) and chosen not in possible:
            if dtype:
                raise UserError(
                    f"optimization {name!r}: {setting} does not compute in {dtype}; "
                    f"write {' or '.join(f'{other}+{setting}' for other in possible)}"
                )
            chosen = "bf16"
    extra = [quantization] if quantization else []
    extra += [attention] if attention != BASE_ATTENTION else []
    extra += [COMPILE] if compiled else [decoding] if decoding else []
    spelled = [chosen] * (chosen != base_dtype or not extra) + extra
    return Optimization(
        name="+".join(spelled),
        dtype=chosen,
        attention=attention,
        compiled=compiled,
        quantization=quantization,
        decoding=STATIC_CACHE if compiled else decoding,
    )


def _one(name: str, settings: list[str], kind: str, known: tuple[str, ...]) -> str:
    """The setting of a kind, or nothing."""
    found = [setting for setting in known if setting in settings]
    if len(found) > 1:
        raise UserError(f"optimization {name!r} names two {kind} ({', '.join(found)}); keep one")
    return found[0] if found else ""


def require(name: str, base_dtype: Dtype) -> None:
    """Find the package that a setting needs, without importing it.

    Raises:
        UserError: It is not installed.
    """
    quantization = parse(name, base_dtype).quantization
    package = LIBRARIES.get(quantization)
    if package and importlib.util.find_spec(package) is None:
        raise UserError(
            f"optimization {quantization} needs the package {package}, which is not installed: "
            f"pip install -r requirements.txt -c constraints.txt (or: pip install {package})"
        )


def obstacle(attention: str, dtype: Dtype, device: str) -> str:
    """Why an attention cannot run here, or nothing; known without loading a model."""
    if attention != FLASH:
        return ""
    if device != "cuda":
        return "flash attention has a kernel for a GPU only"
    return "flash attention computes in 16-bit precisions only" if dtype == "fp32" else ""


def base_dtype(cpu_dtype: Dtype, device: Device) -> Dtype:
    """Precision of the base configuration: the entry's on a CPU, fp16 on a GPU as in the reports."""
    return "fp16" if device == "cuda" else cpu_dtype
