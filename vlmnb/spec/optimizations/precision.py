"""The three precisions; models are loaded in them."""

from vlmnb.spec.optimizations.setting import Setting

SETTINGS = (
    Setting(name="bf16", kind="precision", description="bfloat16, eager attention", everywhere=True),
    Setting(
        name="fp16", kind="precision", description="16-bit floating point, eager attention", everywhere=True
    ),
    Setting(
        name="fp32", kind="precision", description="32-bit floating point, eager attention", everywhere=True
    ),
)
