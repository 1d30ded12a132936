"""Rules over the phases of generation: whether each takes what its own work can take."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from statistics import median
from typing import Literal

import numpy as np

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.records import background_load
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.stats import intervals

PROPORTION = 3.0
"""Factor by which a phase per decoding step may differ between two cells that do the same in it. Among 300
undisturbed cells of three models on one CPU it was 2.3 at most, for what slows one phase slows the other."""

STEP = 1.5
"""Factor by which a decoding step may exceed the prompt's pass, which does the same for more tokens:
among 346 cells it was 0.7 at most."""

FEWEST_BATCHES = 24
"""Full batches of different lengths from which a correlation says something."""

FOLLOWS = 0.3
"""Rank correlation with the number of steps below which decoding does not follow them, and by which another
phase must follow them better. Among cells with so many batches decoding had 0.5 at least."""

Phase = Literal["vision_s", "prefill_s"]
NAMES: dict[Phase, str] = {"vision_s": "Vision encoding", "prefill_s": "The prompt's pass"}


def phases_keep_their_proportion(records: Sequence[Record]) -> Iterator[Finding]:
    """The same images, and the same prompts, take as long beside a decoding step in every cell."""
    for phase, name in NAMES.items():
        groups: dict[Hashable, list[tuple[float, Record]]] = {}
        for record in records:
            steps = _in_steps(record, phase)
            if steps is not None:
                groups.setdefault(_setting(record, phase), []).append((steps, record))
        for found in groups.values():
            usual = median(steps for steps, _ in found)
            far, record = max(found, key=lambda one: max(one[0] / usual, usual / one[0]))
            other, beside = max(found, key=lambda one: max(one[0] / far, far / one[0]))
            if max(far / other, other / far) <= PROPORTION:
                continue
            yield finding(
                "warning",
                [record, beside],
                {
                    f"{one.cell.dataset}, {one.cell.length} length, prompt {one.cell.seq_len}": (
                        f"{_seconds(one, phase):.4g} s, {steps:.3g} decoding steps"
                    )
                    for steps, one in ((far, record), (other, beside))
                }
                | {"Usual": f"{usual:.3g} decoding steps, of {len(found)} cells"},
                f"{name} takes several times as long beside decoding in one cell as in another that does the "
                "same in it: phases may be swapped, or one of the cells is of another setting.",
                "Which of the two is right cannot be told where there are but two.",
            )


def phases_are_of_their_work(records: Sequence[Record]) -> Iterator[Finding]:
    """A decoding step takes no longer than the prompt and computes no faster; decoding follows its steps."""
    for record in records:
        timing, cell = record.timing, record.cell
        if timing is None or not timing.prefill_s or optimizations.of(cell).guesses:
            continue
        full = [
            i
            for i, size in enumerate(timing.batch_samples)
            if size == cell.batch_size and timing.decode_steps[i]
        ]
        if not full:
            continue
        steps = [timing.decode_steps[i] for i in full]
        vision, prefill, decode = (
            [values[i] for i in full] for values in (timing.vision_s, timing.prefill_s, timing.decode_s)
        )
        step_s, prompt_s = median(s / n for s, n in zip(decode, steps, strict=True)), median(prefill)
        told = {"Decoding step": f"{step_s:.4g} s", "Prompt's pass": f"{prompt_s:.4g} s"}
        faster = _faster(record, step_s, prompt_s)
        if step_s > STEP * prompt_s:
            meaning = "A step for one token takes longer than the pass over the whole prompt"
        elif faster is not None and faster > 1:
            told["FLOPs per second, step over prompt"] = f"{faster:.2f}"
            meaning = "A decoding step computes faster than the pass over the prompt, which is never so"
        elif other := _followed(steps, decode, {"vision encoding": vision, "the prompt's pass": prefill}):
            told |= {name: f"{value:.2f}" for name, value in other.items()}
            meaning = "Not decoding but another phase grows with the number of decoding steps"
        else:
            continue
        yield finding(
            "warning",
            [record],
            told,
            f"{meaning}: the phases of this record may be swapped.",
            "Which phase a time belongs to cannot be told.",
        )


def _faster(record: Record, step_s: float, prompt_s: float) -> float | None:
    """FLOPs per second of a decoding step over those of the prompt in the language model.

    None where they are not known, and where the two do not run in the same way: a compiled decoder, or
    a cache that is laid out with the prompt.
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


def _followed(
    steps: Sequence[int], decode: Sequence[float], others: dict[str, Sequence[float]]
) -> dict[str, float]:
    """Correlations with the number of steps, where another phase follows it and decoding does not."""
    if len(steps) < FEWEST_BATCHES or len(set(steps)) < 2:
        return {}
    own = _rank_correlation(decode, steps)
    found = {f"Steps and {name}": _rank_correlation(values, steps) for name, values in others.items()}
    if own >= FOLLOWS or max(found.values()) < own + FOLLOWS:
        return {}
    return {"Steps and decoding, correlation": own, **found}


def _rank_correlation(values: Sequence[float], steps: Sequence[int]) -> float:
    """Spearman's; 0 where one of the two never changes."""
    if len(set(values)) < 2 or len(set(steps)) < 2:
        return 0.0
    return float(np.corrcoef(_ranks(values), _ranks(steps))[0, 1])


def _ranks(values: Sequence[float]) -> intervals.Floats:
    """Places in order; equal values share the middle of theirs."""
    _, where, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def _setting(record: Record, phase: Phase) -> Hashable:
    """What two cells have in common that do the same work in a phase, on one machine in one setting."""
    cell, was = record.cell, record.provenance
    work = (cell.dataset, cell.seq_len) if phase == "prefill_s" else ()
    return (record.hardware, was.threads, cell.model, was.weights, cell.device, cell.dtype,
            cell.optimization, cell.batch_size, cell.image_size, cell.interpolate, work)  # fmt: skip


def _in_steps(record: Record, phase: Phase) -> float | None:
    """Seconds of a phase over those of a decoding step; None where either is not known or was disturbed."""
    timing = record.timing
    if timing is None or not timing.vision_s or not timing.decode_s or not all(timing.decode_steps):
        return None
    if background_load.of_window(record) or optimizations.of(record.cell).guesses:
        return None
    seconds = _seconds(record, phase)
    each = [s / n for s, n in zip(timing.decode_s, timing.decode_steps, strict=False) if s > 0]
    return seconds / median(each) if seconds > 0 and each else None


def _seconds(record: Record, phase: Phase) -> float:
    """Median seconds of a phase over full batches; 0 where no batch was full."""
    timing, size = record.timing, record.cell.batch_size
    values = getattr(timing, phase) if timing else ()
    full = [s for s, n in zip(values, timing.batch_samples if timing else (), strict=False) if n == size]
    return median(full) if full else 0.0


RULES = rules("measured", (phases_keep_their_proportion, phases_are_of_their_work))
