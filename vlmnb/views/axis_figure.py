"""The figure of an axis, readable on a light and on a dark page, and the table of its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmnb.analysis.base_configuration import dataset_title
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.views import detail_table, fields, findings
from vlmnb.views.fields import Column
from vlmnb.views.figure_style import COLORS, INK, STYLE
from vlmnb.views.marks import MODELLED
from vlmnb.views.report_tables import MARKS, TITLES
from vlmnb.views.table import Field, Table, declared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    from matplotlib import pyplot

    shown = findings.measured(axis, cells, records)
    panels = list(PANELS)
    if all(record.reported for record in shown):  # a report's table has only some of the quantities
        panels = [name for name in panels if any(getattr(record, name) is not None for record in shown)]
    lines = -(-len(panels) // 2)
    with pyplot.rc_context(STYLE):
        figure, grid = pyplot.subplots(lines, 2, figsize=(9, 3.2 * lines), squeeze=False)
        for unused in grid.flat[len(panels) :]:
            unused.set_axis_off()
        for position, name in zip(grid.flat, panels, strict=False):
            _panel(position, axis, name, shown)
        if len({record.cell.dataset for record in shown}) > 1:
            grid.flat[0].legend(framealpha=0)
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


def _panel(panel: Any, axis: str, name: str, shown: Sequence[Record]) -> None:
    of = axes.AXES[axis]
    values = list(dict.fromkeys(of.value(record.cell) for record in shown))
    values = sorted(values) if of.numeric else values
    known = [r for r in shown if getattr(r, name) is not None and math.isfinite(getattr(r, name))]
    for number, dataset in enumerate(dict.fromkeys(record.cell.dataset for record in shown)):
        part = [record for record in known if record.cell.dataset == dataset]
        at = [of.value(r.cell) if of.numeric else values.index(of.value(r.cell)) for r in part]
        heights = [_height(record, name) for record in part]
        ends = [_ends(record, name) for record in part]
        reach = [[y - low for y, (low, _) in zip(heights, ends, strict=True)],
                 [high - y for y, (_, high) in zip(heights, ends, strict=True)]]  # fmt: skip
        style: Any = {"color": COLORS[number % len(COLORS)], "label": dataset_title(dataset)}
        if of.numeric:
            panel.errorbar(at, heights, yerr=reach, marker="o", markersize=5, capsize=2, **style)
        else:
            panel.bar(at, heights, 0.6, yerr=reach, ecolor=INK, capsize=2, **style)
        for record, place in zip(part, zip(at, (high for _, high in ends), strict=True), strict=True):
            sign = MARKS[name](record).sign if name in MARKS else ""
            panel.annotate(sign, place, (0, 2), textcoords="offset points", ha="center")
    if not known:
        panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes)
        return
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
    panel.grid(axis="y")


def _height(record: Record, name: str) -> float:
    height = float(getattr(record, name))
    return height / 1e9 if name == "flops_per_batch" else height


def _ends(record: Record, name: str) -> tuple[float, float]:
    """Return the interval of a quantity, which has no width where none is known."""
    if name == "latency_s" and record.latency:
        return record.latency.low, record.latency.high
    height = _height(record, name)
    return (record.wer_interval if name == "wer" else None) or (height, height)
