"""Keep libraries from printing advice that is of no use here."""

from __future__ import annotations

import logging

TALKATIVE = ("torchao", "torch.utils._pytree", "bitsandbytes")
"""They tell of kernels for other machines when they are imported, which transformers does by itself, and
bitsandbytes says at every product that it casts its inputs."""


def hush() -> None:
    """Have the libraries of quantization tell errors and nothing less."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
