"""Check the throughput that export and tables show, recomputed from a record's raw times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.records import export_columns
from vlmnb.records.parts import Timing
from vlmnb.records.record import Record

EXACT = 1e-6
"""Relative difference that rounding of floats explains and nothing else does."""

LEAST_OF_LOOP = 0.5
"""Share of the measured loop that its batches must take. Between batches the harness only notes a time; a
latency per sample instead of per batch leaves 1 / batch size, half at most."""


OF_A_BATCH = (
    "latency_s", "samples_per_s", "output_tokens_per_s", "energy_j_per_batch", "energy_j_per_sample", "flops",
)  # fmt: skip
"""Columns of the export that are of a batch of the cell's size."""


@record_rule
def throughput_times_latency_is_the_batch(record: Record) -> Iterator[Draft]:
    """Throughput times latency is the batch: as shown, for each raw batch, and by the loop's own clock."""
    if record.timing is not None:
        row = export_columns.costs(record)
        drafts = (_as_shown(record, row), _by_batches(record, record.timing, row), _by_loop(record.timing))
        yield from islice(chain(*drafts), 1)


@record_rule
def figures_of_a_batch_need_a_full_one(record: Record) -> Iterator[Draft]:
    """Where no batch was full, no figure is shown as one of a batch."""
    timing = record.timing
    if timing is None or max(timing.batch_samples, default=0) >= record.cell.batch_size:
        return
    row = export_columns.costs(record) | {"flops": record.flops_per_batch}
    if shown := [name for name in OF_A_BATCH if row[name] is not None]:
        yield found(shown=", ".join(shown), most=max(timing.batch_samples, default=0))


def _as_shown(record: Record, row: dict[str, Any]) -> Iterator[Draft]:
    """Compare the exported throughput times latency with the samples and tokens of one batch."""
    latency, batch = row["latency_s"], record.cell.batch_size
    expected: dict[str, float] = {"samples_per_s": batch}
    if record.answers and record.cell.length == "fixed":
        expected["output_tokens_per_s"] = batch * record.answers[0].output_tokens
    for name, count in expected.items():
        rate = row[name]
        if rate is not None and latency and not math.isclose(rate * latency, count, rel_tol=EXACT):
            what = name.removesuffix("_per_s").replace("_", " ").capitalize()
            figures = {f"{what} per second": f"{rate:.4g} /s", f"{what} of a batch": f"{count:g}"}
            yield found("as shown", figures=figures, latency_s=latency, product=rate * latency)


def _by_batches(record: Record, timing: Timing, row: dict[str, Any]) -> Iterator[Draft]:
    """Compare the throughput with those of the slowest and the fastest full batch."""
    rate, batch = row["samples_per_s"], record.cell.batch_size
    full = [s for s, n in zip(timing.latencies_s, timing.batch_samples, strict=False) if n == batch and s > 0]
    if rate is None or not full:
        return
    slowest, fastest = batch / max(full), batch / min(full)
    if not slowest * (1 - EXACT) <= rate <= fastest * (1 + EXACT):
        yield found("by batches", rate=rate, slowest=slowest, fastest=fastest)


def _by_loop(timing: Timing) -> Iterator[Draft]:
    """Compare the sum of the batches with the time of the loop, which comes from another clock."""
    taken_s, loop_s, samples = sum(timing.latencies_s), timing.loop_s, sum(timing.batch_samples)
    if loop_s > 0 and taken_s <= LEAST_OF_LOOP * loop_s:
        by_batches, by_loop = samples / taken_s if taken_s else None, samples / loop_s
        yield found("by the loop", taken_s=taken_s, loop_s=loop_s, by_batches=by_batches, by_loop=by_loop)
