"""One axis across all models: the table, the figure and the sentences of one machine and device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vlmnb import models
from vlmnb.analysis import series
from vlmnb.analysis.base_configuration import dataset_title
from vlmnb.analysis.series import Change
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.views import detail_table, fields, findings
from vlmnb.views.axis_figure import number_axis
from vlmnb.views.figure_style import look, plain_log, svg, themed
from vlmnb.views.marks import marked
from vlmnb.views.table import MISSING, Field, Table, declared
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Row(NamedTuple):
    """A record in the table; ``change``: compared with the first of its model and data set."""

    title: str
    record: Record
    change: Change | None
    link: str = ""


def rows(
    axis: str, found: Mapping[str, Sequence[Record]], titles: Mapping[str, str], links: Mapping[str, str],
    noise_floor: float,
) -> list[Row]:  # fmt: skip
    """Return the rows of models by name, each compared with the first row of its data set and batch size."""
    made, of = [], axes.AXES[axis]
    for name, records in found.items():
        first: dict[tuple[str, int], Record] = {}
        for record in records:
            kind = record.cell.dataset, record.cell.batch_size * of.against_original
            low = first.setdefault(kind, record)
            change = None if low is record else series.change(low, record, noise_floor)
            made.append(Row(titles[name], record, change, links[name]))
    return made


def table(axis: str, shown: Sequence[Row], caption: str) -> Table:
    """Make the table: time per image, images per second, energy, quality and the change."""
    of = axes.AXES[axis]
    columns: list[tuple[str, Callable[[Row], Field]]] = [
        ("Model", lambda row: Field(row.title, words=True, href=row.link)),
        (of.row_title, lambda row: _value(axis, row.record)),
        ("Data set", lambda row: fields.dataset(row.record.cell)),
        ("Time, ms per image", lambda row: fields.ms_per_image(row.record)),
        ("Speed, images per s", lambda row: fields.images_per_s(row.record)),
        ("Energy, Wh per 1,000 images", lambda row: fields.watt_hours(row.record)),
        ("WER", lambda row: fields.wer(row.record)),
        ("Accuracy", lambda row: detail_table.accuracy(row.record)),
        ("Time per image against the first row", _against),
    ]
    made = declared(caption, columns, shown)
    said = [{row[at].text for row in made.rows} - {"", MISSING} for at in range(len(columns))]
    kept = [at for at, texts in enumerate(said) if texts and (columns[at][0] != "Data set" or len(texts) > 1)]
    heads = tuple(columns[at][0] for at in kept)
    return replace(made, columns=heads, rows=tuple(tuple(row[at] for at in kept) for row in made.rows))


def sentences(axis: str, shown: Sequence[Row]) -> str:
    """Return a Markdown list: per model what becomes of the time of an image from one end to the other."""
    of = axes.AXES[axis]
    last: dict[tuple[str, str, str], Row] = {}
    for row in shown:
        if row.change:
            last[row.title, row.record.cell.dataset, str(of.value(row.record.cell)) * of.against_original] = (
                row
            )
    several = len({row.record.cell.dataset for row in last.values()}) > 1
    groups: dict[str, list[str]] = {}
    for row in last.values():
        change, scale = row.change, 1.0
        assert change is not None
        if of.varies == "batch_size":
            scale = change.low.cell.batch_size / change.high.cell.batch_size
        ends = of.value(change.low.cell), of.value(change.high.cell)
        head = str(ends[1]) if of.against_original else f"{row.title}, {of.noun} {ends[0]} to {ends[1]}"
        where = row.title if of.against_original else dataset_title(row.record.cell.dataset)
        said = say("findings", "per_image", change=change, scale=scale)
        groups.setdefault(head, []).append(f"{where} {said}" if of.against_original or several else said)
    return "\n".join(f"- **{head}**: {'; '.join(said)}." for head, said in groups.items())


def figure(axis: str, found: Mapping[str, Sequence[Record]], titles: Mapping[str, str]) -> str:
    """Draw the time per image and the energy of each model over the axis, as SVG; empty with too little.

    Each model is drawn on the data set that its speed is read from.
    """
    from matplotlib.figure import Figure

    of = axes.AXES[axis]
    chosen = {name: _of_one_dataset(name, records) for name, records in found.items()}
    values = list(dict.fromkeys(of.value(r.cell) for own in chosen.values() for r in own))
    if of.numeric:
        values.sort()
    panels: list[tuple[str, Callable[[Record], float | None]]] = [
        ("ms per image", lambda r: 1000 * r.latency_s / r.cell.batch_size if r.latency_s else None),
        ("Wh per 1,000 images", lambda r: r.energy_j_per_sample and r.energy_j_per_sample / 3.6),
    ]
    drawn = [(title, get) for title, get in panels
             if sum(get(record) is not None for own in chosen.values() for record in own) > 1]  # fmt: skip
    if not drawn or len(values) < 2:
        return ""
    with themed():
        sketch = Figure(figsize=(4.4 * len(drawn), 3.2), layout="constrained")
        places = sketch.subplots(1, len(drawn), squeeze=False).flat
        for place, (title, get) in zip(places, drawn, strict=True):
            for name, own in chosen.items():
                _line(place, axis, values, titles[name], name, [(r, y) for r in own if (y := get(r))])
            number_axis(place, axis, values)
            plain_log(place.yaxis)
            place.set_ylabel(title)
            place.grid(visible=True, axis="y", which="major")
            place.margins(y=0.15)
        handles, names = places[0].get_legend_handles_labels()
        sketch.legend(handles, names, loc="outside upper center", ncols=3)
    return svg(sketch)


def _of_one_dataset(name: str, records: Sequence[Record]) -> list[Record]:
    timed = [record for record in records if record.latency_s is not None]
    names = list(dict.fromkeys(record.cell.dataset for record in timed))
    entry = models.registry().get(name)
    chosen = entry.speed_dataset if entry and entry.speed_dataset in names else next(iter(names), "")
    return [record for record in timed if record.cell.dataset == chosen]


def _line(
    place: Axes,
    axis: str,
    values: Sequence[Any],
    title: str,
    name: str,
    points: Sequence[tuple[Record, float]],
) -> None:
    of, shown = axes.AXES[axis], look(name, models.registry())
    at = [of.value(r.cell) if of.numeric else values.index(of.value(r.cell)) for r, _ in points]
    style = "-" if of.numeric else ""
    place.plot(
        at, [y for _, y in points], color=shown.color, marker=shown.marker, linestyle=style, label=title
    )


def _value(axis: str, record: Record) -> Field:
    of = axes.AXES[axis]
    printed = record.on(axis).reported
    text = printed.figures[0].row if printed and printed.figures else str(of.value(record.cell))
    aside = of.against_original and record.cell.batch_size != 16
    return Field(f"{text}, batch {record.cell.batch_size}" if aside else text, words=not of.numeric)


def _against(row: Row) -> Field:
    """Show the time per image against the first row: the ratio with the interval that decides."""
    change = row.change
    if change is None:
        return Field("", "the first row itself")
    scale = change.low.cell.batch_size / change.high.cell.batch_size
    found, key, mark = change.difference, row.record.key, findings.verdict_mark(change, scale)
    if found is None:
        return marked(Field(f"{scale * change.ratio:.2f} times", "without an interval", key), mark)
    ends, why = (scale * found.low, scale * found.high), f"interval with the noise floor{mark.why}"
    return fields.spanned(scale * found.ratio, ends, "{:.2f}".format, why, key, f" times{mark.sign}")
