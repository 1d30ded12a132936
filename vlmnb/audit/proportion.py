"""A rule between records: vision encoding, prefill and decoding keep their proportion from cell to cell."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from statistics import median
from typing import Literal

from vlmnb import disturbance
from vlmnb.audit.finding import Finding, finding, rules
from vlmnb.optimizations import PROMPT_LOOKUP
from vlmnb.record import Record

PROPORTION = 3.0
"""Factor by which a phase per decoding step may differ between two cells that do the same in it. Among 300
undisturbed cells of three models on one CPU it was 2.3 at most, for what slows one phase slows the other."""

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
    if disturbance.of_window(record) or PROMPT_LOOKUP in record.cell.optimization:
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


RULES = rules("measured", (phases_keep_their_proportion,))
