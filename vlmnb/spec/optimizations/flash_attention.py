"""Flash attention: by the package flash-attn if it is installed, else by torch's flash kernel, forced."""

from __future__ import annotations

import contextlib
from functools import partial
from importlib.metadata import version
from typing import Any

from vlmnb.device.machine import versions
from vlmnb.spec.optimizations.setting import Setting, installed
from vlmnb.types import Dtype

NAME = "flash_attention_2"
PACKAGE = "flash_attn"


def attend(model: Any, device: str) -> None:
    """Set the attention of a model: that of the package, or without it sdpa."""
    model.set_attn_implementation(NAME if installed(PACKAGE) else "sdpa")


def only_flash() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which torch's flash kernel computes the attention, or nothing does.

    Without it sdpa chooses among several kernels. A batch that the flash kernel cannot take (one with a
    padding mask, for example) then fails, where another kernel would compute it unnoticed.
    """
    if installed(PACKAGE):
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.FLASH_ATTENTION)


def kernel(own: str) -> str:
    """Describe the kernel in use."""
    return f"{own}, flash-attn {version(PACKAGE)}" if own == NAME else f"{own}, torch's flash kernel forced"


def obstacle(dtype: Dtype, device: str) -> str:
    """Return why flash attention cannot run."""
    if device != "cuda":
        return "flash attention has a kernel for a GPU only"
    return "flash attention computes in 16-bit precisions only" if dtype == "fp32" else ""


SETTINGS = (
    Setting(
        name=NAME,
        kind="attention",
        description=(
            "attention through the package flash-attn, else torch's flash kernel, forced; a GPU, 16 bits"
        ),
        in_reports=True,
        package=PACKAGE,
        package_optional=True,
        dtypes=("fp16", "bf16"),
        tools=partial(versions, "kernels"),
        obstacle=obstacle,
        prepare=attend,
        within=only_flash,
        kernel=kernel,
    ),
)
