"""The figure of cost alone: joules against milliseconds per image, and the table of its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from vlmnb import models
from vlmnb.records.record import Record
from vlmnb.records.reported import Disputed, Quantity
from vlmnb.views import fields, marks
from vlmnb.views.fields import Show
from vlmnb.views.figure_style import INK, Drawing, drawing, look, plain_log, svg, themed
from vlmnb.views.table import Field, Table, declared


class Curve(NamedTuple):
    """A model in the figure: batch size, milliseconds and joules per image of each point."""

    name: str
    title: str
    points: Sequence[tuple[int, float, float]]


def figure(found: Mapping[str, Sequence[Record]], titles: Mapping[str, str]) -> Drawing:
    """Return the figure of joules against milliseconds per image of each model, a point per batch size."""
    curves = [
        Curve(
            name,
            titles[name],
            [
                (
                    r.cell.batch_size,
                    1000 * (r.latency_s or 0) / r.cell.batch_size,
                    r.energy_j_per_sample or 0,
                )
                for r in records
            ],
        )
        for name, records in found.items()
    ]
    label = "J per image" + marks.of_axis(record for own in found.values() for record in own)
    return drawing(_drawn, curves, label)


def _drawn(curves: Sequence[Curve], label: str) -> str:
    from matplotlib.figure import Figure

    with themed():
        sketch = Figure(figsize=(5.0, 3.6), layout="constrained")
        place = sketch.subplots()
        for name, title, at in curves:
            of = look(name, models.registry())
            xs, ys = [x for _, x, _ in at], [y for _, _, y in at]
            place.plot(xs, ys, color=of.color, marker=of.marker, linewidth=1.5, label=title)
            sides = ((-4, 6), "right"), ((4, -12), "left")
            for (size, x, y), (beside, side) in zip((at[0], at[-1])[: len(at)], sides, strict=False):
                place.annotate(
                    f"batch {size}", (x, y), beside, textcoords="offset points",
                    ha=side, fontsize="small", color=INK,
                )  # fmt: skip
        plain_log(place.xaxis)
        plain_log(place.yaxis)
        place.set_xlabel("ms per image")
        place.set_ylabel(label)
        place.grid(visible=True, which="major")
        place.margins(x=0.15, y=0.15)
        sketch.legend(loc="outside upper center", ncols=3)
    return svg(sketch)


def points(
    found: Mapping[str, Sequence[Record]], titles: Mapping[str, str], caption: str,
    disputed: Disputed = (),
) -> Table:  # fmt: skip
    """Make the table of the points of :func:`figure`; disputed figures of reports are marked."""

    def shown(quantity: Quantity, show: Show, pair: tuple[str, Record]) -> Field:
        return marks.if_disputed(show(pair[1]), (pair[1].key, quantity), disputed)

    columns: list[tuple[str, Callable[[tuple[str, Record]], Field]]] = [
        ("Model", lambda pair: Field(titles[pair[0]], words=True)),
        ("Batch size", lambda pair: Field(str(pair[1].cell.batch_size))),
        ("Time, ms per image", partial(shown, "latency_s", fields.ms_per_image)),
        ("Energy, J per sample", partial(shown, "energy_j_per_sample", fields.energy)),
        ("Record", lambda pair: fields.record_key(pair[1])),
    ]
    return declared(caption, columns, [(name, record) for name, own in found.items() for record in own])
