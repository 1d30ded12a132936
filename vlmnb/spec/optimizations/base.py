"""What every model has on every machine: three precisions, and two kernels of attention."""

from vlmnb.spec.optimizations.setting import Setting

SETTINGS = (
    Setting(name="bf16", kind="precision", description="bfloat16, eager attention", everywhere=True),
    Setting(
        name="fp16", kind="precision", description="16-bit floating point, eager attention", everywhere=True
    ),
    Setting(
        name="fp32", kind="precision", description="32-bit floating point, eager attention", everywhere=True
    ),
    Setting(
        name="eager",
        kind="attention",
        description="attention written out as matrix products (the base)",
        everywhere=True,
    ),
    Setting(
        name="sdpa",
        kind="attention",
        description="attention through torch's scaled_dot_product_attention",
        everywhere=True,
    ),
)
