"""The prompt read in chunks of so many tokens, one forward pass each: ``prefill_chunks-128``.

The largest activations are then those of a chunk. Pictures are encoded before, in one piece.
"""

from __future__ import annotations

import functools
import re

from vlmnb.errors import UserError
from vlmnb.spec.optimizations.setting import Setting

PREFIX = "prefill_chunks-"


@functools.lru_cache(maxsize=1024)
def find(name: str) -> Setting | None:
    """Return the setting of a name such as ``prefill_chunks-128``; None if it is not one of this module.

    Raises:
        UserError: It does not end in a number of tokens.
    """
    if not name.startswith(PREFIX):
        return None
    if not re.fullmatch(r"[1-9]\d{0,5}", size := name.removeprefix(PREFIX)):
        raise UserError(f"{name}: give the number of tokens of a chunk, as in {PREFIX}128")
    return Setting(
        name=name,
        kind="prefill",
        description=f"the prompt read in chunks of {size} tokens, one forward pass each",
        touches=("prefill",),
        chunk=int(size),
        arguments=lambda model: {"prefill_chunk_size": int(size)},
    )


SETTINGS = tuple(found for name in (f"{PREFIX}32",) if (found := find(name)))
