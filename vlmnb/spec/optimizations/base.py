"""What every model has on every machine: three precisions, and two kernels of attention."""

from __future__ import annotations

from functools import partial
from typing import Any

from vlmnb.spec.optimizations.setting import Setting

_PRECISIONS = {"bf16": "bfloat16", "fp16": "16-bit floating point", "fp32": "32-bit floating point"}

_ATTENTION = {
    "eager": "attention written out as matrix products (the base)",
    "sdpa": "attention through torch's scaled_dot_product_attention",
}


def attend(model: Any, device: str, name: str) -> None:
    """Set the attention of a model, by transformers' name of it."""
    model.set_attn_implementation(name)


SETTINGS = (
    *(
        Setting(name=name, kind="precision", description=f"{text}, eager attention", everywhere=True)
        for name, text in _PRECISIONS.items()
    ),
    *(
        Setting(
            name=name, kind="attention", description=text, everywhere=True, prepare=partial(attend, name=name)
        )
        for name, text in _ATTENTION.items()
    ),
)
