"""An original and a reduction of its image tokens with FLOPs and bytes, for tests of what can be saved."""

from __future__ import annotations

from typing import Any

from factory import STEADY, but, cell, changed, timed

from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.meters.readings import MemoryUsage
from vlmnb.records.parts import VisualTokens
from vlmnb.records.record import Record

HALF = "visual_tokens-50%-grid"


def counted(tokens: int) -> FlopCount:
    """FLOPs of a prompt in which everything grows with the tokens, and of a step that reads them."""
    return FlopCount(
        fvcore=tokens, torch=tokens, prefill_formula=Parts(projections=tokens, vision=50),
        decode_formula=Parts(projections=900, scores=tokens),
    )  # fmt: skip


def original(**changes: Any) -> Record:
    memory = MemoryUsage(
        peak_bytes=1, baseline_bytes=1, method="t", decode_weights_bytes=800, cache_bytes=200
    )
    return timed(flops=counted(100), memory=memory, **changes)


def reduced(factor: float, **changes: Any) -> Record:
    """A reduction that takes a share of the original's time, all of it saved behind the tower."""
    made = timed(tuple(factor * s for s in STEADY), of=cell(optimization=HALF), flops=counted(50), **changes)
    before, own = timed().timing, made.timing
    assert before
    assert own
    spared = tuple(v - w for v, w in zip(before.vision_s, own.vision_s, strict=True))
    decode_s = tuple(d - s for d, s in zip(own.decode_s, spared, strict=True))
    made = changed(made, "timing", vision_s=before.vision_s, decode_s=decode_s)
    memory = MemoryUsage(
        peak_bytes=1, baseline_bytes=1, method="t", decode_weights_bytes=800, cache_bytes=100
    )
    return but(made, memory=memory, visual_tokens=VisualTokens(kept=32, of=64))
