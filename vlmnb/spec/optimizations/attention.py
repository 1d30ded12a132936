"""Attention through plain matrix products (the base) or through torch's own kernels."""

from vlmnb.spec.optimizations.setting import Setting

SETTINGS = (
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
