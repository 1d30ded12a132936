"""The figure of an axis, readable on a light and on a dark page, and the table of its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from vlmnb.data import catalogue
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.views import detail_table, fields
from vlmnb.views.marks import MODELLED
from vlmnb.views.report_tables import TITLES
from vlmnb.views.table import Field, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#808080"
"""Mid grey: axes and text keep a contrast of 3.9 to 1 or more on white and on the dark theme's ground."""

STYLE: Any = {
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
    "grid.color": INK, "grid.alpha": 0.25, "legend.labelcolor": INK,
    "figure.facecolor": "none", "axes.facecolor": "none",
}  # fmt: skip
"""matplotlib settings of every figure."""

PANELS = {
    "latency_s": "Latency per batch, s",
    "energy_j_per_sample": "Energy per sample, J",
    "wer": "Word error rate, fraction",
    "gflops": "GFLOPs per batch of prompts",
}
"""Quantities of every plot, with units."""


def axis_plot(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Figure:
    """Draw latency per batch, energy per sample, word error rate and FLOPs over the axis.

    Bars and points are medians; whiskers are the intervals of the tables.
    """
    import seaborn as sns
    from matplotlib import pyplot

    frame = _frame(axis, cells, records)
    panels = list(PANELS)
    if (frame["source"] == "reports").all():  # a report's table has only some of the quantities
        panels = [panel for panel in panels if frame[panel].notna().any()]
    lines = -(-len(panels) // 2)
    with pyplot.rc_context(STYLE), sns.color_palette("colorblind"):
        figure, drawn = pyplot.subplots(lines, 2, figsize=(9, 3.2 * lines), squeeze=False)
        for unused in drawn.flat[len(panels) :]:
            unused.set_axis_off()
        for number, (position, panel) in enumerate(zip(drawn.flat, panels, strict=False)):
            _panel(position, axis, panel, frame, legend=number == 0)
            position.grid(axis="y")
            sns.despine(ax=position)
        figure.tight_layout()
    return figure


def points(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make the table of the figure: one row per cell that is drawn, one column per panel."""
    found = by_cell(records, axis)
    drawn = [found[cell] for cell in cells if cell in found and found[cell].latency_s is not None]
    reported = any(found[cell].reported for cell in cells if cell in found)
    rows: list[Row] = []
    for record in drawn:
        rows.append(
            (
                Field(str(axes.AXES[axis].value(record.cell))),
                Field(catalogue.get(record.cell.dataset).title, words=True),
                *(show(record) for show in fields.SHOW.values()),
                *([] if reported else [detail_table.background_load(record)]),
                fields.record_key(record),
            )
        )
    load = () if reported else ("Background load",)
    heads = (axes.AXES[axis].row_title, "Data set", *(TITLES[name] for name in fields.SHOW), *load, "Record")
    if reported:
        return Table("What the figure shows, as the report prints it, without intervals", heads, tuple(rows))
    return Table(f"What the figure shows, with 95 % intervals. {fields.WITHOUT}", heads, tuple(rows))


def _frame(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> pd.DataFrame:
    found = by_cell(records, axis)
    rows: list[dict[str, Any]] = []
    for cell in cells:
        record = found.get(cell)
        if record is None or record.latency_s is None:
            continue
        summary = record.latency
        rows.append(
            {
                "value": axes.AXES[axis].value(cell),
                "dataset": catalogue.get(cell.dataset).title,
                "source": record.source,
                "latency_s": record.latency_s,
                "latency_s_low": summary.low if summary else math.nan,
                "latency_s_high": summary.high if summary else math.nan,
                "energy_j_per_sample": record.energy_j_per_sample,
                "energy_method": record.energy_method or "",
                "gflops": record.flops_per_batch / 1e9 if record.flops_per_batch else None,
                "wer": record.wer,
                "wer_low": record.wer_interval[0] if record.wer_interval else math.nan,
                "wer_high": record.wer_interval[1] if record.wer_interval else math.nan,
            }
        )
    return pd.DataFrame(rows)


def _panel(position: Axes, axis: str, panel: str, frame: pd.DataFrame, *, legend: bool) -> None:
    """Draw one quantity over the axis: lines with whiskers for numbers, bars for names."""
    import seaborn as sns

    values = list(dict.fromkeys(frame["value"]))
    numbers = axes.AXES[axis].numeric
    categories = [str(value) for value in (sorted(values) if numbers else values)]
    shown = frame.assign(value=pd.Categorical(frame["value"].astype(str), categories, ordered=True))
    shown = shown.dropna(subset=[panel])
    if shown.empty:
        position.text(0.5, 0.5, "not measured", ha="center", transform=position.transAxes, color=INK)
        return
    several = shown["dataset"].nunique() > 1
    draw = sns.pointplot if numbers else sns.barplot
    options: dict[str, Any] = {"width": 0.6} if draw is sns.barplot else {"markersize": 5, "linewidth": 1.5}
    if several:
        options |= {"hue": "dataset", "palette": "colorblind"}
    else:
        options["color"] = sns.color_palette("colorblind")[0]
    if several and draw is sns.pointplot:
        options["dodge"] = 0.25
    draw(data=shown, x="value", y=panel, errorbar=None, ax=position, **options)
    if f"{panel}_low" in shown:
        _whiskers(position, panel, shown, categories)
    if len(categories) > 5 and draw is sns.barplot:  # names that would overlap
        position.tick_params(axis="x", labelrotation=35)
        for label in position.get_xticklabels():
            label.set_horizontalalignment("right")
    position.set_xlabel(axes.AXES[axis].row_title)
    position.set_ylabel(_label(panel, shown))
    position.set_ylim(bottom=0)
    drawn_legend = position.get_legend()
    if drawn_legend and not legend:
        drawn_legend.remove()
    elif drawn_legend:
        drawn_legend.set_title("")
        drawn_legend.get_frame().set_alpha(0)


def _whiskers(position: Axes, panel: str, shown: pd.DataFrame, categories: Sequence[str]) -> None:
    """Draw the intervals where seaborn draws the data sets, side by side."""
    names = list(dict.fromkeys(shown["dataset"]))
    width = 0.25 if len(names) > 1 else 0.0
    step = width / max(len(names) - 1, 1)
    for i, name in enumerate(names):
        part = shown[shown["dataset"] == name]
        at = [categories.index(str(value)) - width / 2 + i * step for value in part["value"]]
        spread = [part[panel] - part[f"{panel}_low"], part[f"{panel}_high"] - part[panel]]
        position.errorbar(at, part[panel], yerr=spread, fmt="none", ecolor=INK, capsize=2, linewidth=0.8)


def _label(panel: str, shown: pd.DataFrame) -> str:
    modelled = panel == "energy_j_per_sample" and (shown["energy_method"] == "model").any()
    return PANELS[panel] + (f"\n({MODELLED}modelled)" if modelled else "")
