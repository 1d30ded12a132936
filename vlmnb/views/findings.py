"""Sentences on the table of an axis: what changes from its first to its last row, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from vlmnb.analysis import matching, repeatability, series
from vlmnb.analysis.series import Change, Quantity
from vlmnb.analysis.titles import where
from vlmnb.data import catalogue
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.axes import Axis
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting
from vlmnb.views import fields, marks
from vlmnb.views.marks import DEGENERATE, DISPUTED, DISTURBED, Mark, joined
from vlmnb.views.table import missing
from vlmnb.views.templates import say

ANY = 1e6
"""Noise floor larger than that of any machine."""

Doubt = Callable[[Record, Record], str]
"""Returns why the ratio of two records' times is disputed, or nothing."""

BY_SAMPLE: tuple[Quantity, ...] = ("latency_s", "latency_s_per_sample", "energy_j_per_sample", "wer")


def caption(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED
) -> str:
    """Return the caption of a figure: what becomes of the latency on each data set, the units, and n.

    There must be a record with a latency: see :func:`measured`.
    """
    ok, own = measured(axis, cells, records), axes.AXES[axis]
    found = [
        {"title": title, "change": change, "ends": _ends(own, change)}
        for title, part in _by_dataset(ok)
        for change in _changes(own, part, noise_floor)[:1]
    ]
    lines = text(axis, cells, records, noise_floor).splitlines()
    return say(
        "findings", "caption",
        main=say("findings", "main", axis=own, found=found) if found else lines[0].removeprefix("- "),
        reported=ok[0].reported,
        intervals=fields.confidence(ok),
        n=[record.latency.n for record in ok if record.latency],
        answers=[len(record.answers) for record in ok],
        modelled=not own.several_datasets and any(record.energy_method == "model" for record in ok),
        busy=sum(record.window_under_load or record.batches_under_load for record in ok),
        timed=not any(record.batches_under_load for record in ok),
        alone=any(map(matching.alone, ok)),
        total=len(ok),
        absent=len(cells) - len(ok),
    )  # fmt: skip


def text(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED,
    doubt: Doubt = lambda low, high: "",
) -> str:  # fmt: skip
    """Return a Markdown list of findings, the main one first.

    ``doubt`` returns why the ratio of two records' times is disputed, or nothing.
    """
    ok, own = measured(axis, cells, records), axes.AXES[axis]
    if not ok:
        reported = any(record.reported for record in records)
        return say("findings", "nothing", reported=reported, short=untimed(axis, cells, records))
    lines: list[str] = []
    for title, part in _by_dataset(ok):
        prefix = title and f"{title}:"
        changes = _changes(own, part, noise_floor)
        if len(part) == 1:
            latency = fields.latency(part[0]).text
            lines.append(say("findings", "alone", title=prefix, axis=own, record=part[0], latency=latency))
        elif own.against_original:
            lines += _compared(changes, part[0].cell.batch_size, by_cell(records), doubt)
        else:
            whole = by_cell(records)
            doubted = DISPUTED * bool(doubt(changes[0].low, changes[0].high))
            lines.append(_from_end_to_end(prefix, own, changes[0], part, noise_floor, whole, doubted))
    return "\n".join(f"- {line}" for line in lines)


def needs_noise_floor(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> bool:
    """Return whether the noise floor decides or widens anything in :func:`text` and :func:`shown_times`.

    It does not where cells took turns: then the sentences are the same without it as with any other.
    """
    said = [[show(axis, cells, records, floor) for show in (text, shown_times)] for floor in (0.0, ANY)]
    return said[0] != said[1]


def verdict_mark(change: Change, scale: float = 1.0) -> Mark:
    """Return the mark of a ratio times ``scale``: what sentences say of the difference."""
    busy = Mark(DISTURBED, "; other processes used the machine") if change.disturbed else Mark()
    empty = Mark(DEGENERATE, f"; {change.empty}") if change.trend == "empty" else Mark()
    other = marks.of_other_times(change.low, change.high)
    if busy.sign or empty.sign:
        return joined(empty, busy, other)
    within = change.within(scale)
    return joined(Mark("", "" if within is None else f"; {formatting.equal(within)}"), other)


def times(changes: Sequence[Change], of: str = "") -> str:
    """Return Markdown on changes that several turns, or other times than those shown, decide; or nothing.

    ``of``: what each line begins with.
    """
    several = [change for change in changes if len(change.each) > 1]
    other = [change for change in changes if not change.matched.shown and change.difference]
    return say("findings", "times", several=several, other=other, label=_label, of=of)


def shown_times(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED
) -> str:
    """Return the same on the changes of an axis."""
    own = axes.AXES[axis]
    parts = _by_dataset(measured(axis, cells, records))
    return times([change for _, part in parts for change in _changes(own, part, noise_floor)])


def _label(change: Change, record: Record) -> str:
    return where([record.cell], [change.low.cell, change.high.cell])


def measured(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> list[Record]:
    """Return the records of cells that have a latency, in the order of the cells."""
    found = by_cell(records, axis)
    return [found[cell] for cell in cells if cell in found and found[cell].latency_s is not None]


def untimed(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> str:
    """Return why cells that could be measured have no time; empty if no cell could be measured."""
    found = by_cell(records, axis)
    ok = [found[cell] for cell in cells if cell in found and found[cell].status == "ok"]
    return "; ".join(dict.fromkeys(missing(record).title for record in ok if not record.reported))


def _by_dataset(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    parts: dict[str, list[Record]] = {}
    for record in records:
        parts.setdefault(record.cell.dataset, []).append(record)
    return [(catalogue.get(name).title if len(parts) > 1 else "", part) for name, part in parts.items()]


def _changes(axis: Axis, part: Sequence[Record], noise_floor: float) -> list[Change]:
    if axis.against_original:
        groups = [list(group) for _, group in groupby(part, key=lambda record: record.cell.batch_size)]
        return [series.change(first, each, noise_floor) for first, *others in groups for each in others]
    ordered = _ordered(axis, part)
    return [series.change(ordered[0], ordered[-1], noise_floor)] if len(ordered) > 1 else []


def _compared(
    changes: Sequence[Change], batch_size: int, whole: Mapping[Cell, Record], doubt: Doubt
) -> list[str]:
    """Return a line for each optimization; one for all that are equal, or within the noise, and answer alike.

    Args:
        batch_size: The page's; lines on other sizes name theirs.
        whole: A report's records with the figures of all its tables and its log.
    """
    groups: dict[object, list[Change]] = {}
    for each in changes:
        answers = say("findings", "answers", change=each)
        like = (each.low.cell.batch_size, answers, each.equal()) if each.tied else each.high.cell
        groups.setdefault(like, []).append(each)
    lines = []
    for same in groups.values():
        aside = same[0].low.cell.batch_size != batch_size
        logged = _logged(same[0], whole)
        macro, most = "tied" if len(same) > 1 else "compared", max(each.within() or 0.0 for each in same)
        doubted = DISPUTED * bool(doubt(same[0].low, same[0].high))
        lines.append(
            say("findings", macro, changes=same, aside=aside, logged=logged, most=most, doubted=doubted)
        )
    return lines


def _logged(change: Change, whole: Mapping[Cell, Record]) -> tuple[float | None, ...]:
    return tuple(whole[one.cell].wer for one in (change.low, change.high) if one.reported)


def _ordered(axis: Axis, part: Sequence[Record]) -> list[Record]:
    return sorted(part, key=lambda record: axis.value(record.cell)) if axis.numeric else list(part)


def _from_end_to_end(
    title: str, axis: Axis, change: Change, part: Sequence[Record], noise_floor: float,
    whole: Mapping[Cell, Record], doubted: str,
) -> str:  # fmt: skip
    quantities = BY_SAMPLE if axis.varies == "batch_size" else ("latency_s", "wer")
    between = series.extremes(_ordered(axis, part), noise_floor, quantities)
    joules = [fields.energy(r).text for r in (change.low, change.high) if r.energy_j_per_sample]
    return say(
        "findings", "ends", title=title, axis=axis, change=change, between=between,
        joules=joules if len(joules) == 2 else (), logged=_logged(change, whole), doubted=doubted,
    )  # fmt: skip


def _ends(axis: Axis, change: Change) -> str:
    """Return between what a change is, as a caption begins with it."""
    low, high = axis.text(change.low.cell), axis.text(change.high.cell)
    ends = say("findings", "from_to", axis=axis, low=low, high=high)
    return f"{high} compared with {low}:" if axis.against_original else f"{ends}:"
