"""Check that batches are complete, that steps and tokens match, and the throughput that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.records import export_columns
from vlmnb.records.parts import Timing
from vlmnb.records.record import Record
from vlmnb.spec import optimizations

PER_BATCH = ("latencies_s", "vision_s", "prefill_s", "decode_s", "decode_steps", "batch_samples")

MOST_FAILED = 0.25
"""Share of the samples beyond which measuring refuses a cell."""

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
def every_batch_is_counted(record: Record) -> Iterator[Draft]:
    """Every pass has every usable sample once, in full batches and a rest; all lists are as long."""
    timing, cell = record.timing, record.cell
    if timing is None:
        return
    usable = cell.samples - len(record.failed_samples)
    full, rest = divmod(usable, cell.batch_size)
    expected = ((cell.batch_size,) * full + ((rest,) if rest else ())) * timing.passes
    lengths = {name: len(values) for name in PER_BATCH if (values := getattr(timing, name))}
    lengths["batches"] = len(expected)
    complete = timing.batch_samples == expected and len(record.answers) in (0, usable)
    if len(set(lengths.values())) > 1 or not complete:
        yield found(
            figures={name: str(length) for name, length in lengths.items()},
            samples_a_pass=sum(timing.batch_samples) / timing.passes,
            answers=len(record.answers),
        )


@record_rule
def failed_samples_are_few(record: Record) -> Iterator[Draft]:
    """Few samples of a measured cell could not be used, and none of them has an answer."""
    failed = {each.id for each in record.failed_samples}
    answered = failed & {answer.sample_id for answer in record.answers}
    if record.status == "ok" and (answered or len(failed) > MOST_FAILED * record.cell.samples):
        yield found(failed=len(failed), answered=len(answered))


@record_rule
def steps_are_tokens(record: Record) -> Iterator[Draft]:
    """Decoding steps of a batch are the tokens of its longest answer less one; fewer with guessed tokens."""
    timing = record.timing
    if timing is None or not timing.decode_steps or not record.answers:
        return
    batches, start = len(timing.batch_samples) // timing.passes, 0
    for batch, size in enumerate(timing.batch_samples[:batches]):
        longest = max((a.output_tokens for a in record.answers[start : start + size]), default=1)
        start += size
        steps = set(timing.decode_steps[batch::batches])
        # Guessed tokens come several to a step.
        guessing = optimizations.of(record.cell).guesses and max(steps) < longest
        if steps != {longest - 1} and not guessing:
            shown = ", ".join(map(str, sorted(steps)))
            yield found(batch=batch + 1, batches=batches, longest=longest, steps=shown)
            return


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
