"""Sentences on the table of an axis: what changes from its first to its last row, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from vlmnb.analysis import repeatability, series
from vlmnb.analysis.series import Extreme, Quantity
from vlmnb.data import catalogue
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison
from vlmnb.stats.formatting import reach, significant
from vlmnb.views import marks

QUANTITIES: dict[Quantity, str] = {
    "latency_s": "latency per batch",
    "latency_s_per_sample": "latency per sample",
    "energy_j_per_sample": "energy per sample",
    "wer": "WER",
}


def caption(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED
) -> str:
    """Return the caption of a figure: the main finding of each data set, the units, n, and the whiskers.

    Raises:
        ValueError: No cell has a latency, and so there is no figure; see :func:`measured`.
    """
    ok = measured(axis, cells, records)
    if not ok:
        raise ValueError(f"no cell of the axis {axis} has a latency")
    lines = [line.removeprefix("- ") for line in text(axis, cells, records, noise_floor).splitlines()]
    # Each data set has a line and a curve of its own; of one data set the first line is the main finding.
    first = " ".join(lines) if len({record.cell.dataset for record in ok}) > 1 else lines[0]
    if ok[0].reported:
        return (
            f"{first} Latency in seconds per batch, energy in joules per sample; as the report prints them."
        )
    n = reach(sorted({r.latency.n for r in ok if r.latency}))
    parts = [
        first,
        f"Latency in seconds per batch: median of n = {n} batches; "
        f"{reach(sorted({len(r.answers) for r in ok}))} answers per cell; whiskers: 95 % intervals.",
    ]
    if any(r.energy_method == "model" for r in ok) and not axes.AXES[axis].several_datasets:
        parts.append("Energy is modelled (≈), not measured.")
    if busy := sum(record.window_under_load for record in ok):
        parts.append(f"Other processes used the machine during {busy} of {len(ok)} measurements (†).")
    return " ".join(parts)


def text(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED
) -> str:
    """Return a Markdown list of findings, the main one first.

    Args:
        axis: What varies.
        cells: The table's cells.
        records: Their records.
        noise_floor: Relative difference that two repeats of one cell may show on this machine.
    """
    ok = measured(axis, cells, records)
    if not ok and any(record.reported for record in records):
        return "- The report has no figures for this page; the reasons are given above."
    if not ok:
        return "- No cell of this page could be measured on this machine."
    names = list(dict.fromkeys(record.cell.dataset for record in ok))
    lines: list[str] = []
    for name in names:
        part = [record for record in ok if record.cell.dataset == name]
        prefix = f"{catalogue.get(name).title}: " if len(names) > 1 else ""
        if len(part) == 1:
            lines.append(f"{prefix}{_alone(axis, part[0])}")
        elif axes.AXES[axis].against_original:
            lines += _by_batch(part, noise_floor)
        else:
            lines.append(f"{prefix}{_ends(axis, part, noise_floor)}")
    return "\n".join(f"- {line}" for line in lines)


def measured(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> list[Record]:
    """Return the records of cells that have a latency, in the order of the cells."""
    found = by_cell(records, axis)
    return [found[cell] for cell in cells if cell in found and found[cell].latency_s is not None]


def _by_batch(part: Sequence[Record], noise_floor: float) -> list[str]:
    """Compare each optimization with the original, which comes first, of the same batch size."""
    lines = []
    for size, group in groupby(part, key=lambda record: record.cell.batch_size):
        original, *others = group
        prefix = f"At batch {size}, " if size != part[0].cell.batch_size else ""
        for other in others:
            answers = "" if other.reported else f"; {_same_answers(original, other)}"
            lines.append(
                f"{prefix}{other.cell.optimization} compared with {original.cell.optimization}: latency per "
                f"batch {_latency_change(original, other, noise_floor)}{_quality_change(original, other)}"
                f"{answers}."
            )
    return lines


def _ends(axis: str, part: Sequence[Record], noise_floor: float) -> str:
    """Compare the smallest with the largest value of the axis, and name what leaves their range."""
    own, ordered = axes.AXES[axis], list(part)
    if own.numeric:
        ordered.sort(key=lambda record: own.value(record.cell))
    low, high = ordered[0], ordered[-1]
    a, b = own.value(low.cell), own.value(high.cell)
    sentence = f"From {own.noun} {a} to {b}, latency per batch {_latency_change(low, high, noise_floor)}"
    quantities: list[Quantity] = ["latency_s", "wer"]
    if own.varies == "batch_size":
        quantities = list(QUANTITIES)
        if low.energy_j_per_sample and high.energy_j_per_sample:
            sentence += (
                f"; per sample that is {_ratio(low, high, noise_floor, a / b)}, and energy per sample goes "
                f"from {_joules(low)} to {_joules(high)} J"
            )
        if low.has_quality and high.has_quality:
            sentence += f"; {_same_answers(low, high)}"
    sentence += f"{_quality_change(low, high)}."
    between = [_extreme(found, axis) for found in series.extremes(ordered, noise_floor, quantities)]
    return f"{sentence} Between them, {'; '.join(between)}." if between else sentence


def _extreme(found: Extreme, axis: str) -> str:
    value = series.value(found.record, found.quantity) or 0.0
    shown = f"{value:.3f}" if found.quantity == "wer" else f"{value:.3g} s"
    if found.quantity == "energy_j_per_sample":
        shown = f"{marks.of_method(found.record.headline_energy)}{value:.3g} J"
    at = f"{axes.AXES[axis].noun} {axes.AXES[axis].value(found.record.cell)}"
    return f"{QUANTITIES[found.quantity]} is {found.side} at {at} ({shown})"


def _alone(axis: str, record: Record) -> str:
    summary, value = record.latency, f"{record.latency_s}"
    if summary:
        value = significant(summary.median, summary.low, summary.high)
    row = f"{axes.AXES[axis].row_title.split(',')[0]} {axes.AXES[axis].value(record.cell)}"
    value += marks.of_latency(record).sign
    return f"{row}: {value} s per batch; there is no other row to compare it with."


def _joules(record: Record) -> str:
    """Return joules per sample with the marks that a table gives them."""
    value = f"{record.energy_j_per_sample:.3g}{marks.of_energy(record).sign}"
    return f"{marks.of_method(record.headline_energy)}{value}"


def _latency_change(low: Record, high: Record, noise_floor: float) -> str:
    """Return what became of the latency. Disturbed measurements are compared without a conclusion."""
    ratio = _median(high) / _median(low)
    found = series.compare_latency(low, high, noise_floor)
    if found is None:
        few = "" if low.latency is None or high.latency is None else ", from too few batches for a conclusion"
        return f"is {ratio:.2f} times the value{few}"
    # The median of the ratios is not the ratio of the medians, which a table shows.
    way = " batch by batch" if found.paired else ""
    interval = f"interval {found.low:.2f} to {found.high:.2f}"
    if found.paired and f"{ratio:.2f}" != f"{found.ratio:.2f}":
        interval += f"; {ratio:.2f} by the medians"
    if low.degenerate or high.degenerate:
        return (
            f"is {found.ratio:.2f} times the value{way} ({interval}), but {low.degenerate or high.degenerate}"
        )
    if disturbed := [record for record in (low, high) if record.batches_under_load]:
        loads = " and ".join(map(marks.load, disturbed))
        which = "both measurements" if len(disturbed) == 2 else "one of the two measurements"
        return (
            f"is {found.ratio:.2f} times the value{way} ({interval}), but other processes used {loads} of "
            f"the CPU during {which}, so the ratio is not reliable"
        )
    if found.differ == "yes":
        verb = "grows" if found.ratio > 1 else "falls"
        return f"{verb} to {found.ratio:.2f} times the value{way} ({interval})"
    if found.differ == "no":
        margin = 100 * comparison.NEGLIGIBLE
        return f"stays within {margin:.0f} % (ratio {found.ratio:.2f}{way}, {interval})"
    return f"is not significantly different (ratio {found.ratio:.2f}{way}, {interval})"


def _ratio(low: Record, high: Record, noise_floor: float, scale: float) -> str:
    """Return a ratio of latencies times a known number, with its interval if there is one."""
    found = series.compare_latency(low, high, noise_floor)
    if found is None:
        return f"{scale * _median(high) / _median(low):.2f} times"
    return f"{scale * found.ratio:.2f} times ({scale * found.low:.2f} to {scale * found.high:.2f})"


def _median(record: Record) -> float:
    assert record.latency_s is not None
    return record.latency_s


def _quality_change(low: Record, high: Record) -> str:
    """Return a clause on WER; empty if a report's table has no such column."""
    if low.wer is None or high.wer is None:
        return "" if low.reported else "; quality is not known"
    if low.wer == high.wer:
        clause = f"; WER stays {low.wer:.3f}"
    else:
        clause = f"; WER goes from {low.wer:.3f} to {high.wer:.3f}"
        clause += "" if low.reported or series.wer_differs(low, high) else " (not significantly different)"
    a, b = low.scores.get("cider"), high.scores.get("cider")
    return f"{clause}, CIDEr from {a.value:.2f} to {b.value:.2f}" if a and b and a != b else clause


def _same_answers(original: Record, other: Record) -> str:
    theirs = {answer.sample_id: answer.answer for answer in other.answers}
    same = sum(theirs.get(answer.sample_id) == answer.answer for answer in original.answers)
    return f"{same} of {len(original.answers)} answers are identical"
