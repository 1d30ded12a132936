"""What a table says, in sentences computed from the records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from vlmnb.analysis import series
from vlmnb.data import catalogue
from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison
from vlmnb.stats.formatting import reach, significant
from vlmnb.views.axis_table import ENOUGH, MODELLED

ASSUMED_DRIFT = 0.2
"""Relative difference by which two windows of one cell may differ on a machine that others use too.

It stands in for what A/A repeats of the machine at hand would tell, see ``differences.repeatability``. On a
rented machine of two cores, six pairs of cells of one and the same work, measured a minute apart, differed by
4 to 19 %.
"""

VIRTUAL_DRIFT = 1.0
"""The same on the processor of a virtual machine: nobody inside sees what its neighbours on the host do.

On that rented machine four windows of one cell, minutes apart and undisturbed as far as could be seen, had
medians of 0.14 to 0.26 s.
"""


def caption(axis: str, cells: Sequence[Cell], records: Sequence[Record], drift: float = ASSUMED_DRIFT) -> str:
    """A figure caption: the main finding of each data set, the units, n, and what the whiskers are.

    Raises:
        ValueError: No cell has a latency, and so there is no figure; see :func:`measured`.
    """
    ok = measured(axis, cells, records)
    if not ok:
        raise ValueError(f"no cell of the axis {axis} has a latency")
    lines = [line.removeprefix("- ") for line in text(axis, cells, records, drift).splitlines()]
    # Of several data sets each has its line and its curve; of one the first line is the main finding.
    first = " ".join(lines) if len({record.cell.dataset for record in ok}) > 1 else lines[0]
    if ok[0].reported:
        units = "Latency in seconds per batch, energy in joules per sample"
        return f"{first} {units}; figures as the report prints them."
    n = reach(sorted({r.latency.n for r in ok if r.latency}))
    answers = reach(sorted({len(r.answers) for r in ok}))
    modelled = any(r.energy_method == "model" for r in ok)
    energy = (
        " Energy is modelled (≈), not measured." if modelled and axis not in ("image_size", "seq_len") else ""
    )
    busy = sum(background_load.of_window(record) for record in ok)
    others = f" Others used the machine in {busy} of {len(ok)} windows (†)." if busy else ""
    return (
        f"{first} Latency in seconds per batch, median of n = {n} batches; {answers} answers per cell; "
        f"whiskers: 95 % intervals (of the median, and of WER over samples).{energy}{others}"
    )


def text(axis: str, cells: Sequence[Cell], records: Sequence[Record], drift: float = ASSUMED_DRIFT) -> str:
    """Markdown list of findings, the main one first.

    Args:
        axis: What varies.
        cells: The table's cells.
        records: Their records.
        drift: Relative difference that two windows of one cell may show on this machine.
    """
    ok = measured(axis, cells, records)
    if not ok and any(record.reported for record in records):
        return "- The report has no figures for this page; why stands above."
    if not ok:
        return "- No cell of this page could be measured on this machine."
    names = list(dict.fromkeys(record.cell.dataset for record in ok))
    lines: list[str] = []
    for name in names:
        part = [record for record in ok if record.cell.dataset == name]
        prefix = f"{catalogue.get(name).title}: " if len(names) > 1 else ""
        if axis == "optimization":
            for size, group in groupby(part, key=lambda record: record.cell.batch_size):
                original, *others = group
                aside = f"At batch {size}, " if size != part[0].cell.batch_size else ""
                lines += [f"{aside}{_against(original, other, drift)}" for other in others]
        elif len(part) == 1:
            lines.append(f"{prefix}{_alone(axis, part[0])}")
        else:
            lines.append(f"{prefix}{_ends(axis, part, drift)}")
        if len(part) == 1 and axis == "optimization":
            lines.append(f"{prefix}{_alone(axis, part[0])}")
    return "\n".join(f"- {line}" for line in lines)


def measured(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> list[Record]:
    """The records of cells that have a latency, in the order of the cells."""
    found = by_cell(records, axis)
    return [found[cell] for cell in cells if cell in found and found[cell].latency_s is not None]


def _ends(axis: str, part: Sequence[Record], drift: float) -> str:
    """Smallest against largest value of the axis, and what leaves their range in between."""
    ordered = part if axis == "device" else sorted(part, key=lambda record: getattr(record.cell, axis))
    low, high = ordered[0], ordered[-1]
    a, b = getattr(low.cell, axis), getattr(high.cell, axis)
    sentence = (
        f"from {axes.AXES[axis].noun} {a} to {b}, latency per batch {_latency_change(low, high, drift)}"
    )
    if axis == "batch_size" and low.energy_j_per_sample and high.energy_j_per_sample:
        sentence += (
            f"; per sample that is {_ratio(low, high, drift, a / b)}, and energy per sample goes from "
            f"{_joules(low)} to {_joules(high)} J"
        )
    if axis == "batch_size" and low.has_quality and high.has_quality:
        sentence += f"; {_same_answers(low, high)}"
    said = f"{sentence[0].upper()}{sentence[1:]}{_quality_change(low, high)}."
    between = series.told(axis, axes.AXES[axis].noun, ordered, drift)
    return f"{said} Between them, {'; '.join(between)}." if between else said


def _joules(record: Record) -> str:
    """Joules per sample with the marks that a table gives them."""
    modelled = MODELLED * (record.energy_method == "model")
    return f"{modelled}{record.energy_j_per_sample:.3g}{background_load.energy_mark(record)[0]}"


def _against(original: Record, other: Record, drift: float) -> str:
    return (
        f"{other.cell.optimization} against {original.cell.optimization}: latency per batch "
        f"{_latency_change(original, other, drift)}{_quality_change(original, other)}"
        f"{'' if other.reported else '; ' + _same_answers(original, other)}."
    )


def _alone(axis: str, record: Record) -> str:
    summary = record.latency
    value = significant(summary.median, summary.low, summary.high) if summary else f"{record.latency_s}"
    row = f"{axes.AXES[axis].row_title.split(',')[0]} {getattr(record.cell, axis)}"
    value += background_load.latency_mark(record)[0]
    return f"{row}: {value} s per batch; there is no other row to compare it with."


def _latency_change(low: Record, high: Record, drift: float) -> str:
    """What became of the latency. Windows that others disturbed are compared, and nothing is concluded."""
    ratio = _median(high) / _median(low)
    found = _compared(low, high, drift)
    if found is None and (low.latency is None or high.latency is None):  # of a report, which states no spread
        return f"is {ratio:.2f} times the value"
    if found is None:
        return f"is {ratio:.2f} times the value, of too few batches to tell"
    # The median of the ratios is not the ratio of the medians, which a table shows or a reader works out.
    way = " batch by batch" if found.paired else ""
    interval = f"interval {found.low:.2f} to {found.high:.2f}"
    if found.paired and f"{ratio:.2f}" != f"{found.ratio:.2f}":
        interval += f"; {ratio:.2f} by the medians"
    if disturbed := [record for record in (low, high) if background_load.of_batches(record)]:
        which = "while the two were" if len(disturbed) == 2 else "while one of the two was"
        return (
            f"is {found.ratio:.2f} times the value{way} ({interval}), but others used the machine {which} "
            f"timed ({' and '.join(map(background_load.share, disturbed))}): the ratio may be their doing"
        )
    if found.differ == "yes":
        verb = "grows" if found.ratio > 1 else "falls"
        return f"{verb} to {found.ratio:.2f} times the value{way} ({interval})"
    if found.differ == "no":
        margin = 100 * comparison.NEGLIGIBLE
        return f"stays within {margin:.0f} % (ratio {found.ratio:.2f}{way}, {interval})"
    return f"cannot be told apart (ratio {found.ratio:.2f}{way}, {interval})"


def _compared(low: Record, high: Record, drift: float) -> comparison.Difference | None:
    """The comparison of two latencies; None where there is no spread to tell a difference by."""
    a, b = low.latency, high.latency
    if a is None or b is None or min(a.confidence, b.confidence) < ENOUGH:
        return None
    paired = series.same_batches(low, high)
    return comparison.compare(low.full_batches_s, high.full_batches_s, paired=paired, drift=drift)


def _ratio(low: Record, high: Record, drift: float, scale: float) -> str:
    """A ratio of latencies times a known number, with its interval where there is one."""
    found = _compared(low, high, drift)
    if found is None:
        return f"{scale * _median(high) / _median(low):.2f} times"
    ends = (scale * found.low, scale * found.high)
    return f"{scale * found.ratio:.2f} times ({ends[0]:.2f} to {ends[1]:.2f})"


def _median(record: Record) -> float:
    assert record.latency_s is not None
    return record.latency_s


def _quality_change(low: Record, high: Record) -> str:
    """A clause on WER; none where a report's table has no such column."""
    if low.wer is None or high.wer is None:
        return "" if low.reported else "; quality is not known"
    if low.wer == high.wer:
        told = f"; WER stays {low.wer:.3f}"
    else:
        told = f"; WER goes from {low.wer:.3f} to {high.wer:.3f}"
        told += "" if low.reported or series.wer_differs(low, high) else " (cannot be told apart)"
    a, b = low.scores.get("cider"), high.scores.get("cider")
    return f"{told}, CIDEr from {a.value:.2f} to {b.value:.2f}" if a and b and a != b else told


def _same_answers(original: Record, other: Record) -> str:
    theirs = {answer.sample_id: answer.answer for answer in other.answers}
    same = sum(theirs.get(answer.sample_id) == answer.answer for answer in original.answers)
    return f"{same} of {len(original.answers)} answers are identical"
