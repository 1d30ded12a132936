"""The figure of the page by layers, and the points it is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlmnb.records.layer_profile import LayerPart, LayerProfile
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.views import axis_figure, axis_table, layer_tables
from vlmnb.views.axis_table import Field, Table
from vlmnb.views.layer_tables import TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = dict(zip(TITLES, ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161"), strict=True))
"""seaborn's palette for color-blind eyes; a component has one color in all panels."""


def figure(records: Sequence[Record]) -> Figure:
    """Shares by component and batch size; time over depth of the largest batch, and its roofline.

    Raises:
        ValueError: No record has a profile.
    """
    import seaborn as sns
    from matplotlib import pyplot

    found = [record for record in records if record.layers is not None]
    if not found:
        raise ValueError("no cell of the page has a profile to draw")
    with pyplot.rc_context(axis_figure.STYLE):
        drawing, panels = pyplot.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
        _bars(panels[0], found)
        _depth(panels[1], found[-1])
        _roof(panels[2], found[-1])
        for panel in panels:
            panel.grid(axis="y")
            sns.despine(ax=panel)
        handles, names = panels[0].get_legend_handles_labels()
        drawing.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return drawing


def points(records: Sequence[Record]) -> Table:
    """One row per point of the figure: where it is, its value, its interval, and its record."""
    found = [record for record in records if record.layers is not None]
    rows = []
    for record in found:
        assert record.layers is not None
        size = Field(str(record.cell.batch_size))
        for name, of in layer_tables.components(record.layers).items():
            shown, span = axis_table.percent_span(*layer_tables.share(record.layers, of))
            rows.append((Field("left", words=True), size, Field(TITLES[name], words=True), Field("-", NO_X),
                         Field(f"{shown} %", "of the pass", record.key, span=span),
                         _own(record)))  # fmt: skip
    for record in found[-1:]:
        assert record.layers is not None
        for part in record.layers.parts:
            first = (Field(str(record.cell.batch_size)), Field(part.name, words=True))
            if part.depth is not None:
                taken = layer_tables.summed_s(record.layers, [part])
                value = axis_table.seconds(taken, record.key, "passes")
                value = replace(value, text=f"{value.text} s")
                rows.append((Field("middle", words=True), *first, Field(f"layer {part.depth}"), value,
                             _own(record)))  # fmt: skip
            if part.flops and part.replay_s:
                x, y = _place(part)
                rate = Field(
                    formatting.format_si(y, "FLOP/s", 3), "one mean over many calls: no interval", record.key
                )
                rows.append(
                    (Field("right", words=True), *first, Field(f"{x:.3g} FLOP/B"), rate, _own(record))
                )
    heads = ("Panel", "Batch size", "Point", "Place", "Value", "Record")
    caption = (
        "Every point of the figure with its 95 % interval. Rates (right) are one mean over many calls of a "
        "part alone and have none"
    )
    return Table(caption, heads, tuple(rows))


NO_X = "a bar stands at its batch size"


def _own(record: Record) -> Field:
    return Field(record.key, "file of the record", record.key, words=True)


def _place(part: LayerPart) -> tuple[float, float]:
    """FLOP per byte, and FLOP per second."""
    assert part.flops is not None
    assert part.replay_s is not None
    return part.flops / (part.weight_bytes + part.activation_bytes), part.flops / part.replay_s


def _bars(panel: Any, found: Sequence[Record]) -> None:
    sizes = [str(record.cell.batch_size) for record in found]
    below = [0.0] * len(found)
    for name, title in TITLES.items():
        heights = [_height(record.layers, name) for record in found if record.layers is not None]
        if any(heights):
            panel.bar(sizes, heights, bottom=below, label=title, color=COLORS[name], width=0.6)
            below = [a + b for a, b in zip(below, heights, strict=True)]
    panel.axhline(100, linestyle="--", linewidth=1, color=axis_figure.INK)
    panel.set_xlabel("Batch size")
    panel.set_ylabel("Share of the pass, %")


def _height(profile: LayerProfile, component: str) -> float:
    of = layer_tables.components(profile).get(component, [])
    return 100 * layer_tables.share(profile, of)[0] if of else 0.0


def _depth(panel: Any, record: Record) -> None:
    assert record.layers is not None
    for name, of in layer_tables.components(record.layers).items():
        layers = [part for part in of if part.depth is not None]
        taken = [layer_tables.summed_s(record.layers, [part]) for part in layers]
        if layers:
            panel.errorbar(
                [part.depth for part in layers],
                [each.median for each in taken],
                yerr=[[x.median - x.low for x in taken], [x.high - x.median for x in taken]],
                color=COLORS[name], marker="o", markersize=4, linewidth=1.5, elinewidth=0.8, capsize=2,
            )  # fmt: skip
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    panel.set_xlabel("Layer")
    panel.set_ylabel(f"Time in the pass, s (batch size {record.cell.batch_size})")


def _roof(panel: Any, record: Record) -> None:
    assert record.layers is not None
    ceilings = record.layers.ceilings
    drawn = [(*_place(part), part.component) for part in record.layers.parts if part.flops and part.replay_s]
    ridge = ceilings.flops_per_s / ceilings.bytes_per_s
    left = min([ridge / 10, *(x / 2 for x, _, _ in drawn)])
    right = max([ridge * 10, *(x * 2 for x, _, _ in drawn)])
    roof = [left * ceilings.bytes_per_s, ceilings.flops_per_s, ceilings.flops_per_s]
    panel.plot([left, ridge, right], roof, color=axis_figure.INK, linewidth=1)
    for name in TITLES:
        of = [(x, y) for x, y, component in drawn if component == name]
        panel.scatter([x for x, _ in of], [y for _, y in of], color=COLORS[name], s=18)
    panel.set_xscale("log")
    panel.set_yscale("log")
    # Of a part of a decade matplotlib would print every tick, in powers of ten.
    panel.yaxis.set_minor_formatter("")
    lows = [y for _, y, _ in drawn] + roof
    panel.set_ylim(10 ** _decade(min(lows)), 10 ** (_decade(max(lows)) + 1))
    panel.set_xlabel("FLOP per byte")
    panel.set_ylabel(f"FLOP/s (batch size {record.cell.batch_size})")


def _decade(value: float) -> int:
    return int(f"{value:e}".split("e")[1])
