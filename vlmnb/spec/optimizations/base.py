"""What every model has on every machine: three precisions, and two kernels of attention."""

from vlmnb.spec.optimizations.setting import Kind, Setting

_EVERYWHERE: dict[str, tuple[Kind, str]] = {
    "bf16": ("precision", "bfloat16, eager attention"),
    "fp16": ("precision", "16-bit floating point, eager attention"),
    "fp32": ("precision", "32-bit floating point, eager attention"),
    "eager": ("attention", "attention written out as matrix products (the base)"),
    "sdpa": ("attention", "attention through torch's scaled_dot_product_attention"),
}

SETTINGS = tuple(
    Setting(name=name, kind=kind, description=description, everywhere=True)
    for name, (kind, description) in _EVERYWHERE.items()
)
