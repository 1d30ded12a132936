"""Records of optimizations made by hand."""

from __future__ import annotations

from typing import Any

from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import Compilation, MemoryUsage
from vlmnb.records.parts import Answer, Ceilings, Provenance, Timing
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell

QUESTIONS = 40


def planted(optimization: str, wrong: int = 0, **fields: Any) -> Record:
    """A record whose last ``wrong`` answers differ from the reference."""
    own = {"model": "llava-tiny", "dataset": "easy-vqa", "samples": QUESTIONS, "device": "cpu",
           "dtype": "fp32", "optimization": optimization, "batch_size": 4, "image_size": 64, "seq_len": 200,
           "max_new_tokens": 11}  # fmt: skip
    cell = Cell.model_validate({**own, **fields.pop("cell", {})})
    answers = tuple(
        Answer(
            sample_id=str(i), prompt=f"question {i}", answer="no" if i >= QUESTIONS - wrong else "yes",
            references=("yes",), text_tokens=5, image_tokens=64, output_tokens=2,
            word_errors=int(i >= QUESTIONS - wrong), reference_words=1, score=float(i < QUESTIONS - wrong),
        )
        for i in range(QUESTIONS)
    )  # fmt: skip
    key = f"{abs(hash((optimization, cell.batch_size, cell.model, cell.device, cell.length))):016x}"[:16]
    given_ = {"status": "ok", "answers": answers, "provenance": Provenance(code="c", started_at="2026-01-01")}
    return Record.model_validate({"key": key, "hardware": "box", "cell": cell, **given_, **fields})


def timed(optimization: str, decode_s: float, passes: int = 10, dtype: str = "fp32") -> Record:
    """Four batches: 1 s to the first token, then so long for so many passes."""
    return planted(
        optimization,
        cell={"length": "fixed", "dtype": dtype},
        timing=Timing(
            warmup_batches=2, latencies_s=(1 + decode_s,) * 4, vision_s=(0.4,) * 4, prefill_s=(0.6,) * 4,
            decode_s=(decode_s,) * 4, decode_steps=(passes,) * 4, batch_samples=(4,) * 4, first_call_s=9.0,
            pass_loads=(0.0,), contaminated=(False,), loop_s=4.004 * (1 + decode_s),
        ),
        flops=FlopCount(fvcore=None, torch=5_000),
        memory=MemoryUsage(peak_bytes=4000, baseline_bytes=1000, method="m", weights_bytes=1500,
                           decode_weights_bytes=1051, cache_bytes=158),
        ceilings=Ceilings(flops_per_s=10_000, bytes_per_s=24_000, method="planted"),
        compilation=Compilation(graphs=2, graph_breaks=1, cache_hits=2, cache_misses=0)
        if optimization == "compile" else None,
    )  # fmt: skip
