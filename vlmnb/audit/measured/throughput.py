"""Rules over what the export and the tables show of a record, recomputed from its raw times and joules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.meters.readings import headline_source
from vlmnb.records import export_columns
from vlmnb.records.record import Record

EXACT = 1e-6
"""Relative difference that rounding of floats explains and nothing else does."""

LEAST_OF_LOOP = 0.5
"""Share of the measured loop that its batches must take. Between batches the harness notes a time; a latency
per sample in the place of one per batch leaves 1 / batch size, half at most."""


def throughput_times_latency_is_the_batch(records: Sequence[Record]) -> Iterator[Finding]:
    """Throughput times latency is the batch: as shown, for each raw batch, by the loop's own clock."""
    for record in records:
        timing, row = record.timing, export_columns.costs(record)
        if timing is None:
            continue
        told = _as_shown(record, row) or _against_batches(record, row) or _by_the_loop(record)
        if told:
            figures, meaning = told
            yield finding(
                "error",
                [record],
                figures,
                meaning,
                "Whether a time of a sample stands for one of a batch, or samples were miscounted, cannot be "
                "told.",
            )


def samples_times_joules_is_the_window(records: Sequence[Record]) -> Iterator[Finding]:
    """Joules per sample times the samples of the window are the joules that the source counted in it."""
    for record in records:
        row, timing, source = export_columns.costs(record), record.timing, headline_source(record.cell.device)
        reading = next((one for one in record.energy if one.source == source), None)
        each, batch = row["energy_j_per_sample"], row["energy_j_per_batch"]
        if reading is None or timing is None or each is None:
            continue
        samples = sum(timing.batch_samples)
        whole = each * samples
        wrong = not _same(whole, reading.energy_j)
        if wrong or (batch is not None and not _same(batch, each * record.cell.batch_size)):
            yield finding(
                "error",
                [record],
                {
                    "Joules per sample": f"{each:.4g} J",
                    "Samples timed": str(samples),
                    "Times samples": f"{whole:.4g} J",
                    "Joules of the window": f"{reading.energy_j:.4g} J",
                    **({"Joules per batch": f"{batch:.4g} J"} if batch is not None else {}),
                },
                "Joules per sample, samples and the joules of the window do not agree: one of them is of a "
                "batch, of another window, or of another number of samples.",
                "Which of them cannot be told.",
            )


Told = tuple[dict[str, str], str] | None


def _as_shown(record: Record, row: dict[str, Any]) -> Told:
    """Whether the figures of the export are of one batch: of its samples, and of its tokens."""
    latency, batch = row["latency_s"], record.cell.batch_size
    expected: dict[str, float] = {"samples_per_s": batch}
    if record.answers and record.cell.length == "fixed":
        expected["output_tokens_per_s"] = batch * record.answers[0].output_tokens
    for name, count in expected.items():
        rate = row[name]
        if rate is not None and latency and not _same(rate * latency, count):
            what = name.removesuffix("_per_s").replace("_", " ")
            return (
                {
                    f"{what} per second".capitalize(): f"{rate:.4g} /s",
                    "Latency": f"{latency:.4g} s",
                    "Their product": f"{rate * latency:.4g}",
                    f"{what} of a batch".capitalize(): f"{count:g}",
                },
                "Throughput times latency is not the batch: one of the two is of something else.",
            )
    return None


def _against_batches(record: Record, row: dict[str, Any]) -> Told:
    """Whether the throughput lies between those of the slowest and the fastest full batch."""
    rate, batch, timing = row["samples_per_s"], record.cell.batch_size, record.timing
    assert timing is not None
    full = [s for s, n in zip(timing.latencies_s, timing.batch_samples, strict=False) if n == batch and s > 0]
    if rate is None or not full:
        return None
    slowest, fastest = batch / max(full), batch / min(full)
    if slowest * (1 - EXACT) <= rate <= fastest * (1 + EXACT):
        return None
    return (
        {
            "Samples per second": f"{rate:.4g} /s",
            "Slowest full batch": f"{slowest:.4g} /s",
            "Fastest full batch": f"{fastest:.4g} /s",
        },
        "The throughput is none that a full batch of the record has.",
    )


def _by_the_loop(record: Record) -> Told:
    """Whether the batches take up the loop that held them, by another clock than theirs."""
    timing = record.timing
    assert timing is not None
    windows = [one.window_s for one in record.energy if one.window_s is not None]
    loop_s = timing.loop_s or min(windows, default=None)
    taken_s, samples = sum(timing.latencies_s), sum(timing.batch_samples)
    if not loop_s or loop_s <= 0 or taken_s > LEAST_OF_LOOP * loop_s:
        return None
    return (
        {
            "Batches": f"{taken_s:.4g} s",
            "The loop that held them": f"{loop_s:.4g} s",
            "Samples per second of the batches": f"{samples / taken_s:.4g} /s" if taken_s else "-",
            "Of the loop": f"{samples / loop_s:.4g} /s",
            "Batch size": str(record.cell.batch_size),
        },
        "The batches together take less than half of the loop in which they ran one after the other: their "
        "times are not those of batches.",
    )


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=EXACT)


RULES = rules("measured", (throughput_times_latency_is_the_batch, samples_times_joules_is_the_window))
