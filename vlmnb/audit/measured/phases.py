"""Check that the phases of generation add up, and that each takes what its own work can take."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from statistics import median
from typing import Literal

import numpy as np

from vlmnb.audit.rule import Draft, found, grouped, record_rule, rule
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.stats import intervals

PHASES = 0.01
"""Share by which phases may miss their batch: the device stamps the phases, the host the batch."""

PHASES_S = 0.002
"""The same in seconds, for short batches: what a synchronization and a hook of Python take at most."""

PROPORTION = 3.0
"""Factor by which a phase per decoding step may differ between two cells that do the same in it. Among 300
cells of three models on one idle CPU it was 2.3 at most, for what slows one phase slows the other."""

STEP = 1.5
"""Factor by which a decoding step may exceed the prompt's pass, which does the same for more tokens:
among 346 cells it was 0.7 at most."""

FEWEST_BATCHES = 24
"""Full batches of different lengths from which a correlation means something."""

FOLLOWS = 0.3
"""Rank correlation with the number of steps below which decoding does not follow them, and by which another
phase must follow them better. Among cells with so many batches decoding had 0.5 at least."""

Phase = Literal["vision_s", "prefill_s"]
NAMES: dict[Phase, str] = {"vision_s": "Vision encoding", "prefill_s": "The prompt's pass"}


@record_rule
def phases_add_up(record: Record) -> Iterator[Draft]:
    """Vision, prefill and decode add up to the latency of every batch, and none is negative."""
    timing = record.timing
    if timing is None or not timing.prefill_s:
        return
    batches = list(zip(timing.vision_s, timing.prefill_s, timing.decode_s, timing.latencies_s, strict=False))
    excess = [sum(times[:3]) - times[3] for times in batches]
    missed = [
        abs(over) - max(PHASES * times[3], PHASES_S) for over, times in zip(excess, batches, strict=True)
    ]
    worst = max(range(len(batches)), key=lambda i: missed[i])
    negative = min(min(times) for times in batches) < 0
    if missed[worst] <= 0 and not negative:
        return
    # Background processes may take the processor between two clocks that are read one after the other.
    too_short = all(over < 0 for over, by in zip(excess, missed, strict=True) if by > 0)
    explained = record.window_under_load and not negative and too_short
    case = "background load" if explained else "contradiction"
    yield found(case, times=batches[worst], batch=worst + 1, batches=len(batches))


@rule("measured")
def phases_keep_their_proportion(records: Sequence[Record]) -> Iterator[Draft]:
    """The same images, and the same prompts, take as long relative to a decoding step in every cell."""
    for phase, name in NAMES.items():
        known = [
            (steps, r, _same_work(r, phase)) for r in records if (steps := _in_steps(r, phase)) is not None
        ]
        for group in grouped(known, lambda one: one[2]):
            usual = median(steps for steps, _, _ in group)
            far, record, _ = max(group, key=lambda one: _factor(one[0], usual))
            near, other, _ = max(group, key=lambda one: _factor(one[0], far))
            if _factor(far, near) <= PROPORTION:
                continue
            figures = {}
            for steps, one in ((far, record), (near, other)):
                place = f"{one.cell.dataset}, {one.cell.length} length, prompt {one.cell.seq_len}"
                figures[place] = f"{_seconds(one, phase):.4g} s, {steps:.3g} decoding steps"
            yield found("", [record, other], figures, name=name, usual=usual, cells=len(group))


@record_rule
def phases_are_of_their_work(record: Record) -> Iterator[Draft]:
    """A decoding step takes no longer than the prompt and computes no faster; decoding follows its steps."""
    timing, cell = record.timing, record.cell
    if timing is None or not timing.prefill_s or optimizations.of(cell).guesses:
        return
    pairs = enumerate(zip(timing.batch_samples, timing.decode_steps, strict=False))
    full = [i for i, (size, steps) in pairs if size == cell.batch_size and steps]
    if not full:
        return
    of_phases, steps = (timing.vision_s, timing.prefill_s, timing.decode_s), timing.decode_steps
    vision, prefill, decode = ([values[i] for i in full] for values in of_phases)
    steps = tuple(steps[i] for i in full)
    step_s, prompt_s = median(s / n for s, n in zip(decode, steps, strict=True)), median(prefill)
    faster = _faster(record, step_s, prompt_s)
    if step_s > STEP * prompt_s:
        yield found("slow step", step_s=step_s, prompt_s=prompt_s)
    elif faster is not None and faster > 1:
        yield found("fast step", step_s=step_s, prompt_s=prompt_s, faster=faster)
    elif len(steps) >= FEWEST_BATCHES:
        follow = [_rank_correlation(times, steps) for times in (decode, vision, prefill)]
        if follow[0] < FOLLOWS and max(follow) >= follow[0] + FOLLOWS:
            yield found("another phase", step_s=step_s, prompt_s=prompt_s, follow=follow)


def _factor(one: float, other: float) -> float:
    return max(one / other, other / one)


def _faster(record: Record, step_s: float, prompt_s: float) -> float | None:
    """Return FLOPs per second of a decoding step over those of the prompt in the language model.

    None if unknown, and where the two run in different ways: compiled, or with a cache laid out in advance.
    """
    counts, first = record.flops, record.answers[: record.cell.batch_size]
    if counts is None or counts.prefill_formula is None or not counts.per_token or not first or step_s <= 0:
        return None
    if optimizations.of(record.cell).static_cache:
        return None
    parts, tokens = counts.prefill_formula, max(a.text_tokens + a.image_tokens for a in first)
    # Logits are computed for the last position alone.
    prompt = parts.projections + parts.mlp + parts.scores + parts.head / max(tokens, 1)
    return counts.per_token / step_s * prompt_s / prompt if prompt else None


def _rank_correlation(values: Sequence[float], steps: Sequence[int]) -> float:
    """Return Spearman's correlation; 0 where one of the two never changes."""
    if len(set(values)) < 2 or len(set(steps)) < 2:
        return 0.0
    return float(np.corrcoef(_ranks(values), _ranks(steps))[0, 1])


def _ranks(values: Sequence[float]) -> intervals.Floats:
    """Return places in order; equal values share the middle of theirs."""
    _, where, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def _same_work(record: Record, phase: Phase) -> Hashable:
    """Return what two cells share that do the same work in a phase, on one machine in one configuration."""
    cell, was = record.cell, record.provenance
    images = (cell.image_shape, max((answer.images for answer in record.answers), default=1))
    work = (cell.dataset, cell.seq_len) if phase == "prefill_s" or images != ("square", 1) else ()
    return (record.hardware, was.threads, cell.model, was.weights, cell.device, cell.dtype,
            cell.optimization, cell.batch_size, cell.image_size, cell.interpolate, work)  # fmt: skip


def _in_steps(record: Record, phase: Phase) -> float | None:
    """Return a phase's seconds over those of a decoding step; None if unknown or under background load."""
    timing = record.timing
    if timing is None or not timing.vision_s or not timing.decode_s or not all(timing.decode_steps):
        return None
    if record.window_under_load or optimizations.of(record.cell).guesses:
        return None
    seconds = _seconds(record, phase)
    each = [s / n for s, n in zip(timing.decode_s, timing.decode_steps, strict=False) if s > 0]
    return seconds / median(each) if seconds > 0 and each else None


def _seconds(record: Record, phase: Phase) -> float:
    """Return the median seconds of a phase over full batches; 0 where no batch was full."""
    timing, size = record.timing, record.cell.batch_size
    assert timing is not None
    pairs = zip(getattr(timing, phase), timing.batch_samples, strict=False)
    full = [seconds for seconds, samples in pairs if samples == size]
    return median(full) if full else 0.0
