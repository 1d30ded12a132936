"""Keep compiled code between processes, run without it, and report what the compiler did."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from vlmnb import paths
from vlmnb.meters.readings import Compilation


def keep_compiled_code() -> None:
    """Make torch keep compiled code in the user's cache folder, where later processes find it.

    Call this before importing anything of torch's compiler, which reads the folder once.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.compiled_code()))
    # torch would compile and load a trial library for each instruction set, which takes seconds in every
    # process and only guards against compilers too old to build torch.
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


@contextlib.contextmanager
def uncompiled(decoder: Any) -> Iterator[None]:
    """Run the plain forward pass within the block: FLOP counters see Python's operators only."""
    compiled = vars(decoder).pop("forward", None)
    try:
        yield
    finally:
        if compiled is not None:
            decoder.forward = compiled


def report() -> Compilation:
    """Return what the compiler did since the decoder was compiled."""
    from torch._dynamo.utils import counters

    return Compilation(
        graphs=int(counters["stats"].get("unique_graphs", 0)),
        graph_breaks=int(sum(counters["graph_break"].values())),
        cache_hits=int(counters["inductor"].get("fxgraph_cache_hit", 0)),
        cache_misses=int(counters["inductor"].get("fxgraph_cache_miss", 0)),
    )
