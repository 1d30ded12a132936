"""The figure of an axis, readable on a light and on a dark page, and the table of its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vlmnb.analysis.base_configuration import dataset_title
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.views import detail_table, fields, findings
from vlmnb.views.fields import Column
from vlmnb.views.figure_style import INK, PALETTE, themed
from vlmnb.views.marks import MODELLED
from vlmnb.views.report_tables import MARKS, TITLES
from vlmnb.views.table import Field, Table, declared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 0.6
"""Of the bars of one value together; the distance of values is 1."""

PANELS = {
    "latency_s": "Latency per batch, s",
    "energy_j_per_sample": "Energy per sample, J",
    "wer": "Word error rate, fraction",
    "flops_per_batch": "GFLOPs per batch of prompts",
}
"""Quantities of every plot, with units."""


def axis_plot(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Figure:
    """Draw latency per batch, energy per sample, word error rate and FLOPs over the axis.

    Bars and points are medians; whiskers are the intervals of the tables.
    """
    import seaborn as sns
    from matplotlib import pyplot

    shown = findings.measured(axis, cells, records)
    panels = list(PANELS)
    if all(record.reported for record in shown):  # a report's table has only some of the quantities
        panels = [name for name in panels if any(getattr(record, name) is not None for record in shown)]
    lines = -(-len(panels) // 2)
    with themed():
        figure, grid = pyplot.subplots(lines, 2, figsize=(9, 3.2 * lines), squeeze=False)
        for unused in grid.flat[len(panels) :]:
            unused.set_axis_off()
        for position, name in zip(grid.flat, panels, strict=False):
            _panel(position, axis, name, shown, legend="auto" if position is grid.flat[0] else False)
        if grid.flat[0].get_legend():
            sns.move_legend(grid.flat[0], "lower left", bbox_to_anchor=(0, 1.08), ncols=2)
        figure.tight_layout()
    return figure


def points(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make the table of the figure: one row per cell that is drawn, one column per panel."""
    found = findings.measured(axis, cells, records)
    reported, how = any(record.reported for record in found), f"with 95 % intervals. {fields.WITHOUT}"
    columns: list[Column] = [
        (axes.AXES[axis].row_title, lambda record: Field(str(axes.AXES[axis].value(record.cell)))),
        ("Data set", lambda record: fields.dataset(record.cell)),
        *((TITLES[name], show) for name, show in fields.SHOW.items()),
        ("Background load", detail_table.background_load),
        ("Record", fields.record_key),
    ]
    if reported:
        how = "as the report prints it, without intervals"
        del columns[-2]
    return declared(f"What the figure shows, {how}", columns, found)


def _panel(panel: Any, axis: str, name: str, shown: Sequence[Record], legend: str | bool) -> None:
    import seaborn as sns

    of = axes.AXES[axis]
    titles = list(dict.fromkeys(dataset_title(record.cell.dataset) for record in shown))
    values = list(dict.fromkeys(of.value(record.cell) for record in shown))
    known = [r for r in shown if getattr(r, name) is not None and math.isfinite(getattr(r, name))]
    # Each value is followed by the ends of its interval, which seaborn shows as they are.
    rows = [
        (of.value(record.cell), y, dataset_title(record.cell.dataset))
        for record in known
        for y in (_height(record, name), *_ends(record, name))
    ]
    if not known:
        panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes)
        return
    places, heights, datasets = zip(*rows, strict=True)
    draw = partial(
        sns.barplot, order=values, width=WIDTH, saturation=1, err_kws={"color": INK, "linewidth": 1.2}
    )
    if of.numeric:
        draw = partial(sns.pointplot, native_scale=True, err_kws={"linewidth": 1.2})  # at true distances
    draw(
        x=places, y=heights, hue=datasets, hue_order=titles, palette=PALETTE, estimator=lambda of: of.iloc[0],
        errorbar=lambda of: (of.min(), of.max()), legend=legend if len(titles) > 1 else False, ax=panel,
    )  # fmt: skip
    for record in known:
        number, value = titles.index(dataset_title(record.cell.dataset)), of.value(record.cell)
        beside = (number + 0.5) * WIDTH / len(titles) - WIDTH / 2  # of the bars of a value
        at = value if of.numeric else values.index(value) + beside
        sign = MARKS[name](record).sign if name in MARKS else ""
        panel.annotate(sign, (at, _ends(record, name)[1]), (0, 2), textcoords="offset points", ha="center")
    if len(known) < len(shown):
        gone = f"not drawn: {len(shown) - len(known)} of {len(shown)}, without a value"
        panel.set_title(gone, fontsize="small")
    crowded = len(values) > 5 and not of.numeric  # names that would overlap
    turned: Any = {"rotation": 35, "ha": "right"} if crowded else {}
    panel.set_xticks(values if of.numeric else range(len(values)), map(str, values), **turned)
    modelled = name == "energy_j_per_sample" and any(r.energy_method == "model" for r in known)
    panel.set_xlabel(of.row_title)
    panel.set_ylabel(PANELS[name] + (f"\n({MODELLED}modelled)" if modelled else ""))
    panel.set_ylim(bottom=0)


def _height(record: Record, name: str) -> float:
    height = float(getattr(record, name))
    return height / 1e9 if name == "flops_per_batch" else height


def _ends(record: Record, name: str) -> tuple[float, float]:
    """Return the interval of a quantity, which has no width where none is known."""
    if name == "latency_s" and record.latency:
        return record.latency.low, record.latency.high
    height = _height(record, name)
    return (record.wer_interval if name == "wer" else None) or (height, height)
