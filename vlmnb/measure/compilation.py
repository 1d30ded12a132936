"""What measuring does around compiled code: where it is kept, running without it, what the compiler did."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from vlmnb import paths
from vlmnb.meters.readings import Compilation


def keep_compiled_code() -> None:
    """Have torch keep compiled code in the user's cache folder, where later processes find it.

    To be called before anything of torch's compiler is imported, which settles the folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.compiled_code()))
    # What the processor can do is read off it; compiling and loading a trial library for each instruction
    # set takes seconds in every process, and guards against compilers older than those that can build torch.
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


@contextlib.contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """The model without its compiled forward pass, for counting: counters see Python's operators only."""
    decoder = model.model.language_model
    compiled = vars(decoder).pop("forward", None)
    try:
        yield
    finally:
        if compiled is not None:
            decoder.forward = compiled


def report() -> Compilation:
    """What the compiler did since the decoder was handed to it."""
    from torch._dynamo.utils import counters

    return Compilation(
        graphs=int(counters["stats"].get("unique_graphs", 0)),
        graph_breaks=int(sum(counters["graph_break"].values())),
        cache_hits=int(counters["inductor"].get("fxgraph_cache_hit", 0)),
        cache_misses=int(counters["inductor"].get("fxgraph_cache_miss", 0)),
    )
