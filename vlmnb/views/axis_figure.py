"""The figure of an axis, readable on a light and on a dark page, and the table of its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmnb.analysis.titles import dataset_title
from vlmnb.data import catalogue
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats.formatting import enumerated
from vlmnb.views import detail_table, fields, findings
from vlmnb.views.fields import Column
from vlmnb.views.figure_style import INK, from_zero, look, signed, themed
from vlmnb.views.marks import of_axis
from vlmnb.views.report_tables import MARKS, TITLES
from vlmnb.views.table import Field, Table, declared, without_blanks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 0.6
"""Of the bars of one value together; the distance of values is 1."""

PANELS = {
    "latency_s": TITLES["latency_s"],
    "energy_j_per_sample": TITLES["energy_j_per_sample"],
    "wer": TITLES["wer"],
    "flops_per_batch": TITLES["flops"],
}
"""Quantities of every plot, called as the tables call them."""


def axis_plot(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Figure | None:
    """Draw latency per batch, energy per sample, word error rate and FLOPs over the axis.

    Bars and points are medians; whiskers are the intervals of the tables. A quantity that no two rows show,
    or that is the same in all of them, has no panel.

    Returns:
        None if there is nothing to draw.
    """
    return plot(axis, findings.measured(axis, cells, records))


def plot(axis: str, shown: Sequence[Record]) -> Figure | None:
    """Draw what records have of these quantities, as :func:`axis_plot` does."""
    from matplotlib import pyplot

    panels = [name for name in PANELS if _worth_drawing(axis, name, shown)]
    if not panels:
        return None
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    with themed():
        figure, grid = pyplot.subplots(lines, columns, figsize=(4.5 * columns, 3.2 * lines), squeeze=False)
        for unused in grid.flat[len(panels) :]:
            unused.remove()
        for position, name in zip(grid.flat, panels, strict=False):
            _panel(position, axis, name, shown)
        if len({record.cell.dataset for record in shown}) > 1:
            grid.flat[0].legend(loc="lower left", bbox_to_anchor=(0, 1.08), ncols=2)
        figure.tight_layout()
    return figure


def alt(axis: str, figure: Figure) -> str:
    """Return what the panels of a figure show."""
    titles = [panel.get_ylabel().partition(",")[0] for panel in figure.axes]
    named = enumerated([title if title[:2].isupper() else title[:1].lower() + title[1:] for title in titles])
    return f"{named[:1].upper()}{named[1:]} by {axes.AXES[axis].noun}."


def points(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make the table of the figure: one row per cell that is drawn, one column per panel."""
    found = findings.measured(axis, cells, records)
    reported, how = (
        any(record.reported for record in found),
        f"with {fields.confidence(found)}. {fields.WITHOUT}",
    )
    columns: list[Column] = [
        (axes.AXES[axis].row_title, lambda record: Field(axes.AXES[axis].text(record.cell))),
        ("Data set", lambda record: fields.dataset(record.cell)),
        *((TITLES[name], show) for name, show in fields.SHOW.items()),
        ("Background load", detail_table.background_load),
        ("Record", fields.record_key),
    ]
    if reported:
        how = "as the report prints it, without intervals"
        del columns[-2]
    return without_blanks(declared(f"What the figure shows, {how}", columns, found))


def _panel(panel: Any, axis: str, name: str, shown: Sequence[Record]) -> None:
    of = axes.AXES[axis]
    names = list(dict.fromkeys(record.cell.dataset for record in shown))
    values = list(dict.fromkeys(of.value(record.cell) for record in shown))
    known = [r for r in shown if getattr(r, name) is not None and math.isfinite(getattr(r, name))]
    for number, dataset in enumerate(names):
        own = [record for record in known if record.cell.dataset == dataset]
        beside = 0 if of.numeric else (number + 0.5) * WIDTH / len(names) - WIDTH / 2
        at = [(v if of.numeric else values.index(v)) + beside for v in (of.value(r.cell) for r in own)]
        heights, ends = [float(getattr(r, name)) for r in own], [_ends(r, name) for r in own]
        reach = list(zip(*map(_reach, heights, ends), strict=True)) or [(), ()]
        title, drawn = dataset_title(dataset), look(dataset, catalogue.CATALOGUE)
        if of.numeric:
            panel.errorbar(
                at, heights, yerr=reach, label=title, color=drawn.color, marker=drawn.marker, linewidth=1.5,
                elinewidth=1, capsize=2,
            )  # fmt: skip
        else:
            panel.bar(at, heights, WIDTH / len(names), label=title, color=drawn.color)
            panel.errorbar(at, heights, yerr=reach, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3)
        for x, record, (_, top) in zip(at, own, ends, strict=True):
            signed(panel, x, top, MARKS[name](record).sign if name in MARKS else "")
    if len(known) < len(shown):
        gone = f"not drawn: {len(shown) - len(known)} of {len(shown)}, without a value"
        panel.set_title(gone, fontsize="small")
    number_axis(panel, axis, values)
    panel.set_ylabel(PANELS[name] + of_axis(known) * (name == "energy_j_per_sample"))
    from_zero(panel)
    if name == "flops_per_batch":
        from matplotlib.ticker import EngFormatter

        panel.yaxis.set_major_formatter(EngFormatter())


def _worth_drawing(axis: str, name: str, shown: Sequence[Record]) -> bool:
    """Return whether two rows have a finite number, and, of all but the latency, not the same."""
    found = [(axes.AXES[axis].text(record.cell), getattr(record, name)) for record in shown]
    known = {row: number for row, number in found if number is not None and math.isfinite(number)}
    numbers = {number for _, number in found if number is not None}
    return len(known) > 1 and (name == "latency_s" or len(numbers) > 1)


def number_axis(panel: Any, axis: str, values: Sequence[Any]) -> None:
    """Label the axis of values: sizes and lengths at the distance of their doublings, names one by one."""
    of = axes.AXES[axis]
    panel.set_xlabel(of.row_title)
    if of.numeric and min(values) > 0:
        panel.set_xscale("log", base=2)
        panel.minorticks_off()
    crowded = len(values) > 5 and not of.numeric  # names that would overlap
    turned: Any = {"rotation": 35, "ha": "right"} if crowded else {}
    panel.set_xticks(values if of.numeric else range(len(values)), map(of.shown, values), **turned)


def _reach(height: float, ends: tuple[float, float]) -> tuple[float, float]:
    """Return how far an interval reaches below and above; without a width it is none, and has no whiskers."""
    low, high = ends
    return (max(height - low, 0.0), max(high - height, 0.0)) if low < high else (math.nan, math.nan)


def _ends(record: Record, name: str) -> tuple[float, float]:
    """Return the interval of a quantity, which has no width where none is known."""
    if name == "latency_s" and record.latency:
        return record.latency.low, record.latency.high
    height = float(getattr(record, name))
    return (record.wer_interval if name == "wer" else None) or (height, height)
