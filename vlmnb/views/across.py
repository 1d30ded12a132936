"""One axis across all models: the table, the figure and the sentences of one machine and device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vlmnb import models
from vlmnb.analysis import series
from vlmnb.analysis.series import Change
from vlmnb.analysis.titles import dataset_title
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.stats.formatting import enumerated
from vlmnb.views import detail_table, fields, findings
from vlmnb.views.axis_figure import number_axis
from vlmnb.views.figure_style import Drawing, drawing, look, plain_log, signed, svg, themed
from vlmnb.views.marks import (
    ALONE,
    CHANGED,
    DISPUTED,
    Mark,
    if_disputed,
    joined,
    marked,
    of_axis,
    of_energy,
    of_latency,
    of_turns,
)
from vlmnb.views.table import MISSING, Field, Table, declared, missing
from vlmnb.views.templates import clear_of, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes


QUANTITIES = ("latency_s", "energy_j_per_sample", "wer")
"""Quantities of the table."""

TIME, ENERGY = "ms per image", "Wh per 1,000 images"
WHAT = {TIME: "time per image", ENERGY: "energy"}
"""What the panels of the figure show, by their labels."""

FIRST = "first row"
FLAG = Mark(CHANGED, "; changes answers beyond the noise")


class Row(NamedTuple):
    """A record in the table.

    Attributes:
        change: Compared with the first of its model and data set.
        doubt: Why the ratio of two figures of a report is doubtful; empty if nothing is known.
        changed: Whether an optimization changes more answers than the original's own noise.
    """

    title: str
    record: Record
    change: Change | None
    link: str = ""
    doubt: str = ""
    changed: bool = False


def rows(
    axis: str, found: Mapping[str, Sequence[Record]], titles: Mapping[str, str], links: Mapping[str, str],
    noise_floor: float, doubt: Callable[[Record, Record], str] = lambda low, high: "",
    changed: Collection[str] = (),
) -> list[Row]:  # fmt: skip
    """Return the rows of models by name, each compared with the first row of its data set and batch size.

    ``doubt`` returns why the ratio of two records is doubtful, or nothing; ``changed``: the keys of
    optimizations that change answers beyond the noise.
    """
    made, of = [], axes.AXES[axis]
    for name, records in found.items():
        first: dict[tuple[str, int], Record] = {}
        for record in records:
            kind = record.cell.dataset, record.cell.batch_size * of.against_original
            low = first.setdefault(kind, record) if record.latency_s is not None else record
            change = None if low is record else series.change(low, record, noise_floor)
            why = doubt(low, record) if change else ""
            made.append(Row(titles[name], record, change, links[name], why, record.key in changed))
    return made


def table(axis: str, shown: Sequence[Row], caption: str, disputed: Collection[tuple[str, str]] = ()) -> Table:
    """Make the table: time per image, images per second, energy, quality and the change.

    ``disputed``: figures of reports that the audit has a finding about, by key and quantity.
    """
    of = axes.AXES[axis]

    def marks(quantity: str, show: Callable[[Record], Field]) -> Callable[[Row], Field]:
        return lambda row: if_disputed(show(row.record), (row.record.key, quantity), disputed)

    columns: list[tuple[str, Callable[[Row], Field]]] = [
        ("Model", lambda row: Field(row.title, words=True, href=row.link)),
        (of.row_title, lambda row: marked(_value(axis, row.record), FLAG if row.changed else Mark())),
        ("Data set", lambda row: fields.dataset(row.record.cell)),
        ("Time, ms per image", marks("latency_s", fields.ms_per_image)),
        ("Speed, images per s", marks("latency_s", fields.images_per_s)),
        ("Energy, Wh per 1,000 images", marks("energy_j_per_sample", fields.watt_hours)),
        ("WER", marks("wer", fields.wer)),
        ("Accuracy", lambda row: detail_table.accuracy(row.record)),
        ("Time per image compared with the first row", _compared),
    ]
    made = declared(caption, columns, shown)
    said = [{row[at].text for row in made.rows} - {"", MISSING, FIRST} for at in range(len(columns))]
    kept = [at for at, texts in enumerate(said) if texts and (columns[at][0] != "Data set" or len(texts) > 1)]
    heads = tuple(columns[at][0] for at in kept)
    return replace(made, columns=heads, rows=tuple(tuple(row[at] for at in kept) for row in made.rows))


def caption(shown: Sequence[Row]) -> str:
    """Return the caption of the table; a report states neither medians nor intervals."""
    if all(row.record.reported for row in shown):
        return ""
    compared = [row.change for row in shown if row.change and row.change.difference]
    rules = sorted({fields.rule(change.low, change.high) for change in compared})
    more = f". The interval of the last column is {' or '.join(rules)}" * bool(rules)
    return f"Medians with {fields.confidence([row.record for row in shown])}{more}"


def sentences(axis: str, shown: Sequence[Row]) -> str:
    """Return a Markdown list: per model what becomes of the time of an image from one end to the other."""
    of = axes.AXES[axis]
    last: dict[tuple[str, str, str], Row] = {}
    for row in shown:
        if row.change:
            last[row.title, row.record.cell.dataset, str(of.value(row.record.cell)) * of.against_original] = (
                row
            )
    subject = dict[str, str]()
    several = len({row.record.cell.dataset for row in last.values()}) > 1
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for row in last.values():
        change, scale = row.change, 1.0
        assert change is not None
        if of.varies == "batch_size":
            scale = change.low.cell.batch_size / change.high.cell.batch_size
        low, high = of.text(change.low.cell), of.text(change.high.cell)
        between = say("findings", "from_to", axis=of, low=low, high=high)
        head = high if of.against_original else f"{row.title}, {between[0].lower()}{between[1:]}"
        own = row.title if of.against_original else dataset_title(row.record.cell.dataset)
        certain, noise = groups.setdefault(head, ([], []))
        if change.hidden(scale) and (several or of.against_original):
            other = ALONE * (not change.matched.shown)
            noise.append(f"{own} ({scale * change.ratio:.2f} times){other}{CHANGED * row.changed}")
            continue
        who = (
            own
            if of.against_original
            else f"on {own} {subject.get(head, 'an image')}"
            if several
            else "an image"
        )
        subject[head] = "it"
        said = (
            say("findings", "per_image", change=change, scale=scale)
            + say("findings", "steps", change=change)
            + DISPUTED * bool(row.doubt)
            + CHANGED * row.changed
        )
        certain.append(f"{who} {said}")
    lines = []
    for head, (certain, noise) in groups.items():
        parts = [*certain, *([f"within the noise: {enumerated(noise)}"] if noise else [])]
        lines.append(f"- **{head}**{': ' if certain else ', '}{'; '.join(parts)}.")
    return "\n".join(lines)


class Line(NamedTuple):
    """A model in a panel: points of a value of the axis, a number, and its sign."""

    name: str
    title: str
    points: Sequence[tuple[Any, float, str]]


class Panel(NamedTuple):
    """A panel of the figure, and what its vertical axis says."""

    label: str
    lines: Sequence[Line]


def figure(
    axis: str, found: Mapping[str, Sequence[Record]], titles: Mapping[str, str]
) -> tuple[Drawing | None, str]:
    """Return the figure of the time per image and the energy of each model, on the data set of its speed.

    Returns:
        The figure, None with too little to draw, and what it shows.
    """
    of = axes.AXES[axis]
    chosen = {name: _of_one_dataset(name, records) for name, records in found.items()}
    values = list(dict.fromkeys(of.value(r.cell) for own in chosen.values() for r in own))
    if of.numeric:
        values.sort()
    panels: list[tuple[str, Callable[[Record], float | None], Callable[[Record], Mark]]] = [
        (TIME, lambda r: 1000 * r.latency_s / r.cell.batch_size if r.latency_s else None, of_latency),
        (ENERGY, lambda r: r.energy_j_per_sample and r.energy_j_per_sample / 3.6, of_energy),
    ]
    drawn = [(title, get, mark) for title, get, mark in panels
             if sum(get(record) is not None for own in chosen.values() for record in own) > 1]  # fmt: skip
    if not drawn or len(values) < 2:
        return None, ""
    datasets = dict.fromkeys(dataset_title(r.cell.dataset) for own in chosen.values() for r in own)
    shows = (
        f"{' and '.join(WHAT[title] for title, *_ in drawn)} by {of.noun}, on {enumerated(list(datasets))}"
    )
    joules = of_axis(record for own in chosen.values() for record in own)
    made = [
        Panel(
            title + joules * (title == ENERGY),
            [
                Line(name, titles[name], [(of.value(r.cell), y, mark(r).sign) for r in own if (y := get(r))])
                for name, own in chosen.items()
            ],
        )
        for title, get, mark in drawn
    ]
    return drawing(_drawn, axis, values, made), shows


def _drawn(axis: str, values: Sequence[Any], panels: Sequence[Panel]) -> str:
    from matplotlib.figure import Figure

    with themed():
        sketch = Figure(figsize=(4.4 * len(panels), 3.2), layout="constrained")
        places = sketch.subplots(1, len(panels), squeeze=False).flat
        for place, panel in zip(places, panels, strict=True):
            for line in panel.lines:
                _line(place, axis, values, line)
            number_axis(place, axis, values)
            plain_log(place.yaxis)
            place.set_ylabel(panel.label)
            place.grid(visible=True, axis="y", which="major")
            place.margins(y=0.15)
        sketch.legend(*places[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return svg(sketch)


def _of_one_dataset(name: str, records: Sequence[Record]) -> list[Record]:
    timed = [record for record in records if record.latency_s is not None]
    names = list(dict.fromkeys(record.cell.dataset for record in timed))
    entry = models.registry().get(name)
    chosen = entry.speed_dataset if entry and entry.speed_dataset in names else next(iter(names), "")
    return [record for record in timed if record.cell.dataset == chosen]


def _line(place: Axes, axis: str, values: Sequence[Any], line: Line) -> None:
    numeric, shown = axes.AXES[axis].numeric, look(line.name, models.registry())
    at = [value if numeric else values.index(value) for value, _, _ in line.points]
    style = "-" if numeric else ""
    place.plot(
        at, [y for _, y, _ in line.points], color=shown.color, marker=shown.marker, linestyle=style,
        label=line.title,
    )  # fmt: skip
    for x, (_, y, sign) in zip(at, line.points, strict=True):
        signed(place, x, y, sign)


def _value(axis: str, record: Record) -> Field:
    of = axes.AXES[axis]
    printed = record.on(axis).reported
    text = printed.figures[0].row if printed and printed.figures else of.text(record.cell)
    aside = of.against_original and record.cell.batch_size != 16
    return Field(f"{text}, batch {record.cell.batch_size}" if aside else text, words=not of.numeric)


def _compared(row: Row) -> Field:
    """Show the ratio of the time per image to that of the first row, with the interval that decides."""
    change = row.change
    if change is None:
        return Field(FIRST) if row.record.latency_s is not None else missing(row.record)
    scale = change.low.cell.batch_size / change.high.cell.batch_size
    found, key = change.difference, row.record.key
    mark = joined(findings.verdict_mark(change, scale), of_turns(change.low, change.high))
    if row.doubt:
        mark = joined(mark, Mark(DISPUTED, f"; {row.doubt}: The reports, checked, says why"))
    if found is None:
        return marked(Field(f"{scale * change.ratio:.2f} times", "without an interval", key), mark)
    ends, why = (
        (scale * found.low, scale * found.high),
        f"interval {fields.rule(change.low, change.high)}{mark.why}",
    )
    return fields.spanned(
        scale * found.ratio, ends, lambda n: clear_of(n, 1, 2), why, key, f" times{mark.sign}"
    )
