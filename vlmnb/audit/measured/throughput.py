"""Check the throughput that export and tables show, recomputed from a record's raw times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from vlmnb.audit.rule import Finding, contradiction, record_rule
from vlmnb.records import export_columns
from vlmnb.records.record import Record

EXACT = 1e-6
"""Relative difference that rounding of floats explains and nothing else does."""

LEAST_OF_LOOP = 0.5
"""Share of the measured loop that its batches must take. Between batches the harness only notes a time; a
latency per sample instead of per batch leaves 1 / batch size, half at most."""


@record_rule
def throughput_times_latency_is_the_batch(record: Record) -> Iterator[Finding]:
    """Throughput times latency is the batch: as shown, for each raw batch, and by the loop's own clock."""
    if record.timing is not None:
        row = export_columns.costs(record)
        yield from islice(chain(_as_shown(record, row), _by_batches(record, row), _by_loop(record)), 1)


def _as_shown(record: Record, row: dict[str, Any]) -> Iterator[Finding]:
    """Compare the exported throughput times latency with the samples and tokens of one batch."""
    latency, batch = row["latency_s"], record.cell.batch_size
    expected: dict[str, float] = {"samples_per_s": batch}
    if record.answers and record.cell.length == "fixed":
        expected["output_tokens_per_s"] = batch * record.answers[0].output_tokens
    for name, count in expected.items():
        rate = row[name]
        if rate is not None and latency and not math.isclose(rate * latency, count, rel_tol=EXACT):
            what = name.removesuffix("_per_s").replace("_", " ").capitalize()
            yield contradiction(
                {
                    f"{what} per second": f"{rate:.4g} /s",
                    "Latency": f"{latency:.4g} s",
                    "Their product": f"{rate * latency:.4g}",
                    f"{what} of a batch": f"{count:g}",
                },
                "Throughput times latency is not the batch: one of them may be per sample, or miscounted.",
            )


def _by_batches(record: Record, row: dict[str, Any]) -> Iterator[Finding]:
    """Compare the throughput with those of the slowest and the fastest full batch."""
    rate, batch, timing = row["samples_per_s"], record.cell.batch_size, record.timing
    assert timing is not None
    full = [s for s, n in zip(timing.latencies_s, timing.batch_samples, strict=False) if n == batch and s > 0]
    if rate is None or not full:
        return
    slowest, fastest = batch / max(full), batch / min(full)
    if not slowest * (1 - EXACT) <= rate <= fastest * (1 + EXACT):
        yield contradiction(
            {
                "Samples per second": f"{rate:.4g} /s",
                "Slowest full batch": f"{slowest:.4g} /s",
                "Fastest full batch": f"{fastest:.4g} /s",
            },
            "The throughput lies outside those of the record's full batches.",
        )


def _by_loop(record: Record) -> Iterator[Finding]:
    """Compare the sum of the batches with the time of the loop, which comes from another clock."""
    timing = record.timing
    assert timing is not None
    windows = [one.window_s for one in record.energy if one.window_s is not None]
    loop_s = timing.loop_s or min(windows, default=None)
    taken_s, samples = sum(timing.latencies_s), sum(timing.batch_samples)
    if loop_s and loop_s > 0 and taken_s <= LEAST_OF_LOOP * loop_s:
        yield contradiction(
            {
                "Batches": f"{taken_s:.4g} s",
                "Loop around them": f"{loop_s:.4g} s",
                "Samples per second by the batches": f"{samples / taken_s:.4g} /s" if taken_s else "-",
                "By the loop": f"{samples / loop_s:.4g} /s",
                "Batch size": str(record.cell.batch_size),
            },
            "The batches take less than half of the loop around them: their times are not those of batches.",
        )
