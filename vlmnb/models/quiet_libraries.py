"""Keep libraries from printing advice that is of no use here."""

from __future__ import annotations

import logging

TALKATIVE = ("torchao", "torch.utils._pytree", "bitsandbytes", "transformers.tokenization_utils_base")
"""transformers imports them, and then they print advice on CUDA kernels for other machines; bitsandbytes
prints with every product that it casts its inputs, and a tokenizer how long a prompt is."""


def hush() -> None:
    """Let the libraries of quantization print nothing but errors."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
