"""Records made by hand, for tests that read records and need no model."""

from __future__ import annotations

from typing import Any

from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import EnergyReading, MemoryUsage
from vlmnb.records.parts import Answer, Provenance, Timing
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell


def cell(**changes: Any) -> Cell:
    """A cell of the base configuration."""
    base = {
        "model": "llava-tiny", "dataset": "textvqa-mini", "samples": 4, "device": "cpu", "dtype": "fp32",
        "optimization": "fp32", "batch_size": 2, "image_size": 64, "seq_len": 200, "max_new_tokens": 24,
    }  # fmt: skip
    return Cell.model_validate(base | changes)


def answers(count: int, wrong: int) -> tuple[Answer, ...]:
    """Answers to one-word questions, the first ``wrong`` of them wrong."""
    return tuple(
        Answer(
            sample_id=str(i), prompt="what does the sign say?", answer="BAD" if i < wrong else "GOOD",
            references=("GOOD",) * 10, text_tokens=20, image_tokens=64, output_tokens=3,
            word_errors=int(i < wrong), reference_words=1, score=float(i >= wrong),
        )
        for i in range(count)
    )  # fmt: skip


def record(of: Cell | None = None, *, latencies: tuple[float, ...] = (0.5, 0.4), **changes: Any) -> Record:
    """A measured record: 4 samples in 2 batches, one answer of four wrong, 8 J modelled."""
    of = of or cell()
    values: dict[str, Any] = {
        "key": f"{abs(hash(of)):016x}"[:16],
        "hardware": "test-machine",
        "cell": of,
        "status": "ok",
        "timing": Timing(
            warmup_batches=2, latencies_s=latencies, batch_samples=(of.batch_size,) * len(latencies),
            preprocess_s=(0.01,) * len(latencies), first_call_s=0.6,
            pass_loads=(0.0,), contaminated=(False,), loop_s=1.001 * sum(latencies),
        ),
        "energy": (
            EnergyReading(source="cpu", method="model", energy_j=8.0, detail="codecarbon, test"),
            EnergyReading(source="ram", method="model", energy_j=30.0, detail="codecarbon, test"),
        ),
        "memory": MemoryUsage(peak_bytes=2 * 2**20, baseline_bytes=2**20, method="test"),
        "flops": FlopCount(fvcore=1_000_000, torch=1_000_000),
        "answers": answers(4, 1),
        "provenance": Provenance(code="0" * 16, started_at="2026-01-01T00:00:00+00:00", threads=1),
    }  # fmt: skip
    return Record.model_validate(values | changes)


def but(part: Any, **changes: Any) -> Any:
    """Copy a record or a part of one with some fields changed."""
    return part.model_copy(update=changes)


def changed(found: Record, part: str, **changes: Any) -> Record:
    """Copy a record with some fields of one part changed."""
    return but(found, **{part: but(getattr(found, part), **changes)})


ABSENT: dict[str, Any] = {"timing": None, "energy": (), "memory": None, "flops": None, "answers": ()}
"""What a record without any number has."""


def absent(of: Cell, status: str, reason: str) -> Record:
    """A record of a cell that could not be measured."""
    return record(of, status=status, reason=reason, **ABSENT)


STEADY = tuple(0.5 + 0.001 * i for i in range(12))
"""Twelve batches that take nearly the same time: enough for an interval of 99 %."""


def timed(latencies: tuple[float, ...] = STEADY, of: Any = None, **changes: Any) -> Record:
    """A record with phases: 10 % vision, 40 % prefill, 50 % decode; every answer has three tokens."""
    of = of or cell()
    count, passes = len(latencies), changes.setdefault("passes", 1)
    of = of.model_copy(update={"samples": count * of.batch_size // passes})
    values = {
        "warmup_batches": 2, "latencies_s": latencies, "vision_s": tuple(0.1 * s for s in latencies),
        "prefill_s": tuple(0.4 * s for s in latencies), "decode_s": tuple(0.5 * s for s in latencies),
        "decode_steps": (2,) * count, "batch_samples": (of.batch_size,) * count, "first_call_s": 1.0,
        "passes": passes, "pass_loads": (0.0,) * passes, "contaminated": (False,) * passes,
        "loop_s": 1.001 * sum(latencies),
    }  # fmt: skip
    values |= {name: changes.pop(name) for name in list(changes) if name in values}
    row = {"cpu_energy": 8.0 / 3.6e6, "ram_energy": 30.0 / 3.6e6}
    given = {"answers": answers(of.samples, 1), "codecarbon": row} | changes
    return record(of, timing=Timing.model_validate(values), **given)
