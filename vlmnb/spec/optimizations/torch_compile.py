"""The decoder compiled by torch.compile: the prompt's pass and the decoding step, each on its own.

The vision tower runs once per batch and is not compiled, which limits the time to compile.
"""

from __future__ import annotations

from typing import Any

from vlmnb.spec.optimizations.setting import Setting


def compile_decoder(model: Any, device: str) -> None:
    """Compile the decoder's forward pass for single tokens; on a GPU also for prompts of all lengths.

    On a CPU the prompt's pass is not compiled: most of it is large matrix products, which compiling does not
    change, and it would be one more graph to compile.

    A single token with a static cache always has the same shapes: on a GPU that step is recorded as a
    CUDA graph (``reduce-overhead``), so that no CUDA kernel waits for Python. Where torch would give up
    recompiling and fall back to eager, it raises instead, because the result would not be of compiled code.
    """
    import torch

    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.utils.counters.clear()
    decoder = model.get_decoder()
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


SETTINGS = (
    Setting(
        name="compile",
        kind="compilation",
        description=(
            "the step of one token, on a GPU the prompt's pass too, by torch.compile; with a static cache"
        ),
        in_reports=True,
        implies="static_cache",
        prepare=compile_decoder,
    ),
)
