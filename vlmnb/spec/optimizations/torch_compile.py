"""The decoder compiled by torch.compile: the prompt's pass and the decoding step, each on its own.

The vision tower runs once per batch and is not compiled, which limits the time to compile.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from vlmnb.device.machine import versions
from vlmnb.spec.optimizations.setting import Setting


def compile_decoder(model: Any, device: str) -> None:
    """Compile the decoder's forward pass for single tokens; on a GPU also for prompts of all lengths.

    On a CPU most of the prompt's pass is large matrix products, which compiling does not change. The step of
    a token with a static cache always has the same shapes: on a GPU it is recorded as a CUDA graph
    (``reduce-overhead``), so that no CUDA kernel waits for Python.
    """
    import torch

    decoder = model.get_decoder()
    plain = decoder.forward
    graphs = device == "cuda"
    begin_step: Any = torch.compiler.cudagraph_mark_step_begin
    prompt: Any = torch.compile(plain, dynamic=True) if graphs else plain
    step: Any = torch.compile(plain, dynamic=False, mode="reduce-overhead" if graphs else None)

    @functools.wraps(plain)  # generate reads its signature where the decoder has the head
    def forward(*args: Any, **kwargs: Any) -> Any:
        tokens = kwargs.get("input_ids") if kwargs.get("inputs_embeds") is None else kwargs["inputs_embeds"]
        if tokens is None or tokens.shape[1] > 1:
            return prompt(*args, **kwargs)
        if graphs:
            begin_step()
        return step(*args, **kwargs)

    decoder.forward = forward


@contextlib.contextmanager
def compiled_only() -> Iterator[None]:
    """Raise within the block where torch would give up compiling and fall back to eager."""
    from torch._dynamo import config, exc

    try:
        with config.patch(fail_on_recompile_limit_hit=True):
            yield
    except exc.FailOnRecompileLimitHit:
        limit = f"torch compiled a function {config.recompile_limit} times, its limit"
        raise RuntimeError(f"{limit}, and would call it uncompiled from then on") from None


def tools() -> dict[str, str]:
    """Return the versions of the C++ compiler that torch's inductor would take, and of triton."""
    program = shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++"))
    return versions("triton") | ({"C++ compiler": _version(program)} if program else {})


@functools.cache
def _version(program: str) -> str:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return told.stdout.partition("\n")[0]


SETTINGS = (
    Setting(
        name="compile",
        kind="compilation",
        description=(
            "the step of one token, on a GPU the prompt's pass too, by torch.compile; with a static cache"
        ),
        in_reports=True,
        implies="static_cache",
        touches=("prefill", "decode"),
        tools=tools,
        prepare=compile_decoder,
        within=compiled_only,
    ),
)
