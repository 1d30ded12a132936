"""Attention kernels: which implementation a setting stands for here, and which kernel computes it."""

from __future__ import annotations

import contextlib
import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vlmnb.spec.optimizations import FLASH

PACKAGE = "flash_attn"


def implementation(attention: str) -> str:
    """transformers' name of an attention: without the package flash-attn, flash goes through sdpa."""
    return "sdpa" if attention == FLASH and importlib.util.find_spec(PACKAGE) is None else attention


def in_force(attention: str) -> contextlib.AbstractContextManager[Any]:
    """A block in which the attention's own kernel computes, or nothing does.

    Left to itself, sdpa chooses among its kernels; for flash all but torch's flash kernel are shut out, so
    that a batch it cannot take (with a padding mask, say) fails instead of being computed by another one.
    """
    if attention != FLASH or implementation(attention) == FLASH:
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.FLASH_ATTENTION)


def in_use(model: Any, attention: str) -> str:
    """What computed the attention of a model's decoder, in words for its record."""
    own = str(model.model.language_model.config._attn_implementation)
    if attention != FLASH:
        return own
    if own != FLASH:
        return f"{own}, torch's flash kernel forced"
    try:
        return f"{own}, flash-attn {version('flash-attn')}"
    except PackageNotFoundError:
        return own
