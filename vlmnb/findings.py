"""What a table says, in sentences computed from the records."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb import data, stats
from vlmnb.record import Record, by_cell
from vlmnb.spec import Cell
from vlmnb.tables import MODELLED, ROW_TITLES

NOUNS = {
    "device": "device",
    "batch_size": "batch size",
    "image_size": "image size",
    "seq_len": "prompt budget",
    "optimization": "optimization",
}

ENOUGH = 0.95
"""Confidence that an interval must have before two medians are called different."""


def caption(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> str:
    """A figure caption: the main finding, the units, n, and what the whiskers are."""
    ok = _measured(cells, records)
    counts = sorted({r.latency.n for r in ok if r.latency})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    answers = len(ok[0].answers)
    first = text(axis, cells, records).splitlines()[0].removeprefix("- ")
    modelled = any(r.headline_energy and r.headline_energy.method == "model" for r in ok)
    energy = (
        " Energy is modelled, not measured." if modelled and axis not in ("image_size", "seq_len") else ""
    )
    return (
        f"{first} Latency in seconds per batch, median of n = {n} batches; {answers} answers per cell; "
        f"whiskers: 95 % intervals (of the median, and of WER over samples).{energy}"
    )


def text(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> str:
    """Markdown list of findings, the main one first."""
    ok = _measured(cells, records)
    if not ok:
        return "- No cell of this page could be measured on this machine."
    names = list(dict.fromkeys(record.cell.dataset for record in ok))
    lines: list[str] = []
    for name in names:
        part = [record for record in ok if record.cell.dataset == name]
        prefix = f"{data.get(name).title}: " if len(names) > 1 else ""
        if axis == "optimization":
            lines += [_against(part[0], other) for other in part[1:]]
        elif len(part) == 1:
            lines.append(f"{prefix}{_alone(axis, part[0])}")
        else:
            lines.append(f"{prefix}{_ends(axis, part)}")
    if len(ok) == 1 and axis == "optimization":
        lines.append(_alone(axis, ok[0]))
    return "\n".join(f"- {line}" for line in lines)


def _measured(cells: Sequence[Cell], records: Sequence[Record]) -> list[Record]:
    found = by_cell(records)
    return [found[cell] for cell in cells if cell in found and found[cell].latency is not None]


def _ends(axis: str, part: Sequence[Record]) -> str:
    """Smallest against largest value of the axis."""
    ordered = part if axis == "device" else sorted(part, key=lambda record: getattr(record.cell, axis))
    low, high = ordered[0], ordered[-1]
    a, b = getattr(low.cell, axis), getattr(high.cell, axis)
    sentence = f"from {NOUNS[axis]} {a} to {b}, latency per batch {_latency_change(low, high)}"
    if axis == "batch_size" and low.energy_j_per_sample and high.energy_j_per_sample:
        per_sample = _median(high) / b / (_median(low) / a)
        mark = MODELLED if high.headline_energy and high.headline_energy.method == "model" else ""
        sentence += (
            f" ({per_sample:.2f} times per sample) and energy per sample goes from "
            f"{mark}{low.energy_j_per_sample:.3g} to {mark}{high.energy_j_per_sample:.3g} J"
        )
    return f"{sentence[0].upper()}{sentence[1:]}; {_quality_change(low, high)}."


def _against(original: Record, other: Record) -> str:
    return (
        f"{other.cell.optimization} against {original.cell.optimization}: latency per batch "
        f"{_latency_change(original, other)}; {_quality_change(original, other)}; "
        f"{_same_answers(original, other)}."
    )


def _alone(axis: str, record: Record) -> str:
    summary = record.latency
    assert summary is not None
    value = stats.significant(summary.median, summary.low, summary.high)
    row = f"{ROW_TITLES[axis].split(',')[0]} {getattr(record.cell, axis)}"
    return f"{row}: {value} s per batch; there is no other row to compare it with."


def _latency_change(low: Record, high: Record) -> str:
    a, b = low.latency, high.latency
    assert a is not None
    assert b is not None
    ratio = b.median / a.median
    if min(a.confidence, b.confidence) < ENOUGH:
        return f"is {ratio:.2f} times the value, of too few batches to tell"
    if a.low <= b.high and b.low <= a.high:
        return f"cannot be told apart (ratio {ratio:.2f}, intervals overlap)"
    return f"{'grows' if ratio > 1 else 'falls'} to {ratio:.2f} times the value"


def _median(record: Record) -> float:
    assert record.latency is not None
    return record.latency.median


def _quality_change(low: Record, high: Record) -> str:
    if low.wer is None or high.wer is None or not low.wer_interval or not high.wer_interval:
        return "quality is not known"
    if low.wer == high.wer:
        return f"WER stays {low.wer:.3f}"
    overlap = low.wer_interval[0] <= high.wer_interval[1] and high.wer_interval[0] <= low.wer_interval[1]
    told = " (intervals overlap)" if overlap else ""
    return f"WER goes from {low.wer:.3f} to {high.wer:.3f}{told}"


def _same_answers(original: Record, other: Record) -> str:
    theirs = {answer.sample_id: answer.answer for answer in other.answers}
    same = sum(theirs.get(answer.sample_id) == answer.answer for answer in original.answers)
    return f"{same} of {len(original.answers)} answers are identical"
