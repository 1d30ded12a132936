"""The three precisions; models are loaded in them."""

from vlmnb.spec.optimizations.setting import Setting

SETTINGS = tuple(
    Setting(name=name, kind="precision", description=f"{number}, eager attention", everywhere=True)
    for name, number in (
        ("bf16", "bfloat16"),
        ("fp16", "16-bit floating point"),
        ("fp32", "32-bit floating point"),
    )
)
