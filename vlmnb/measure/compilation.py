"""The compiled decoder: torch.compile over the prompt's pass and over the decoding step, told apart.

The vision tower runs once per batch and stays as it is, which keeps the time to compile in bounds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from vlmnb import paths
from vlmnb.meters.readings import Compilation
from vlmnb.models import geometry


def keep_compiled_code() -> None:
    """Have torch keep compiled code in the user's cache folder, where later processes find it.

    To be called before anything of torch's compiler is imported, which settles the folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.compiled_code()))
    # What the processor can do is read off it; compiling and loading a trial library for each instruction
    # set takes seconds in every process, and guards against compilers older than those that can build torch.
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


def compile_decoder(model: Any, device: str) -> None:
    """Compile the decoder's forward pass: for single tokens, and on a GPU also for prompts of all lengths.

    On a CPU the prompt's pass stays as it is: most of it is large matrix products, which compiling leaves
    alone, and it would be one more graph to compile.

    A single token against a static cache always has the same shapes: on a GPU that step is recorded as a
    CUDA graph (``reduce-overhead``), so that no kernel waits for Python. Where torch would give up
    recompiling and fall back to eager, it raises instead: such a row would not be what it says.
    """
    import torch

    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.utils.counters.clear()
    decoder = model.model.language_model
    plain = decoder.forward
    graphs = device == "cuda"
    begin_step: Any = torch.compiler.cudagraph_mark_step_begin
    prompt: Any = torch.compile(plain, dynamic=True) if graphs else plain
    step: Any = torch.compile(plain, dynamic=False, mode="reduce-overhead" if graphs else None)

    def forward(*args: Any, **kwargs: Any) -> Any:
        embeddings = kwargs.get("inputs_embeds")
        if embeddings is None or embeddings.shape[1] > 1:
            return prompt(*args, **kwargs)
        if graphs:
            begin_step()
        return step(*args, **kwargs)

    decoder.forward = forward


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


class StaticCaches:
    """Keys and values in memory of fixed size, one block per number of rows, used again batch after batch.

    What is compiled, or recorded as a CUDA graph, holds on to addresses and lengths: a new block for each
    batch would have it compiled and recorded again.
    """

    def __init__(self, model: Any, positions: int) -> None:
        """Set up, without allocating.

        Args:
            model: The model whose decoder they serve.
            positions: Tokens of a row at most: the longest prompt and every new token.
        """
        self._model, self._positions = model, positions
        self._held: dict[int, Any] = {}

    def empty(self, rows: int) -> Any:
        """The block for a number of rows, cleared."""
        from transformers import StaticCache

        cache = self._held.get(rows)
        if cache is not None:
            cache.reset()
            return cache
        text = self._model.config.get_text_config(decoder=True)
        cache = StaticCache(config=text, max_cache_len=self._positions)
        cache.early_initialization(rows, *geometry.key_values(text), self._model.dtype, self._model.device)
        self._held[rows] = cache
        return cache
