"""The figure of the page by layers, and the points it is drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlmnb.analysis import layer_shares
from vlmnb.records.layer_profile import LayerPart
from vlmnb.records.record import Record
from vlmnb.stats.formatting import format_si
from vlmnb.views import axis_figure, fields, layer_tables
from vlmnb.views.layer_tables import TITLES
from vlmnb.views.table import Field, Row, Table, without
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = dict(zip(TITLES, axis_figure.COLORS, strict=True))
"""A component has one color in all panels."""


def figure(records: Sequence[Record]) -> Figure:
    """Draw shares by component and batch size; of the largest batch time over depth, and the roofline."""
    from matplotlib import pyplot

    found = [record for record in records if record.layers is not None]
    with pyplot.rc_context(axis_figure.STYLE):
        drawing, panels = pyplot.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
        _bars(panels[0], found)
        _depth(panels[1], found[-1])
        _roof(panels[2], found[-1])
        for panel in panels:
            panel.grid(axis="y")
        handles, names = panels[0].get_legend_handles_labels()
        drawing.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return drawing


def points(records: Sequence[Record]) -> Table:
    """Make the table of the figure: one row per point, with its place, value, interval and record."""
    found = [record for record in records if record.layers is not None]
    rows = [row for record in found for row in _bar_rows(record)]
    rows += [row for record in found[-1:] for row in _part_rows(record)]
    heads = ("Panel", "Batch size", "Point", "Place", "Value", "Record")
    return Table(say("layers", "points"), heads, tuple(rows))


def _bar_rows(record: Record) -> Iterator[Row]:
    """Yield a row for each component in the left panel."""
    assert record.layers is not None
    for name, share in layer_shares.shares(record.layers).items():
        value = fields.share(share.value, (share.low, share.high), "of the pass", record.key, " %")
        yield _row("left", record, TITLES[name], without("a bar stands at its batch size"), value)


def _part_rows(record: Record) -> Iterator[Row]:
    """Yield a row for each layer in the middle panel, and for each rate in the right one."""
    assert record.layers is not None
    for part in record.layers.parts:
        if part.depth is not None:
            value = fields.seconds(layer_shares.summed_s([part]), record.key, "passes")
            value = replace(value, text=f"{value.text} s")
            yield _row("middle", record, part.name, Field(f"layer {part.depth}"), value)
        if part.flops and part.replay_s:
            x, y = _place(part)
            value = Field(format_si(y, "FLOP/s", 3), layer_tables.ONE_MEAN, record.key)
            yield _row("right", record, part.name, Field(f"{x:.3g} FLOP/B"), value)


def _row(panel: str, record: Record, point: str, place: Field, value: Field) -> Row:
    size = Field(str(record.cell.batch_size))
    words = Field(panel, words=True), size, Field(point, words=True)
    return (*words, place, value, fields.record_key(record))


def _place(part: LayerPart) -> tuple[float, float]:
    """Return FLOP per byte, and FLOP per second."""
    assert part.flops is not None
    assert part.replay_s is not None
    return part.flops / (part.weight_bytes + part.activation_bytes), part.flops / part.replay_s


def _bars(panel: Any, found: Sequence[Record]) -> None:
    sizes = [str(record.cell.batch_size) for record in found]
    below = [0.0] * len(found)
    for name, title in TITLES.items():
        shares = [layer_shares.shares(record.layers).get(name) for record in found if record.layers]
        heights = [100 * share.value if share else 0.0 for share in shares]
        if any(heights):
            panel.bar(sizes, heights, bottom=below, label=title, color=COLORS[name], width=0.6)
            below = [a + b for a, b in zip(below, heights, strict=True)]
    panel.axhline(100, linestyle="--", linewidth=1, color=axis_figure.INK)
    panel.set_xlabel("Batch size")
    panel.set_ylabel("Share of the pass, %")


def _depth(panel: Any, record: Record) -> None:
    assert record.layers is not None
    for name, of in layer_shares.components(record.layers).items():
        layers = [part for part in of if part.depth is not None]
        taken = [layer_shares.summed_s([part]) for part in layers]
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
    peak = record.layers.ceilings
    drawn = [(*_place(part), part.component) for part in record.layers.parts if part.flops and part.replay_s]
    ridge = peak.flops_per_s / peak.bytes_per_s
    left = min([ridge / 10, *(x / 2 for x, _, _ in drawn)])
    right = max([ridge * 10, *(x * 2 for x, _, _ in drawn)])
    roof = [left * peak.bytes_per_s, peak.flops_per_s, peak.flops_per_s]
    panel.plot([left, ridge, right], roof, color=axis_figure.INK, linewidth=1)
    for name in TITLES:
        of = [(x, y) for x, y, component in drawn if component == name]
        panel.scatter([x for x, _ in of], [y for _, y in of], color=COLORS[name], s=18)
    panel.set_xscale("log")
    panel.set_yscale("log")
    # On less than a decade matplotlib would print every tick, as a power of ten.
    panel.yaxis.set_minor_formatter("")
    lows = [y for _, y, _ in drawn] + roof
    panel.set_ylim(10 ** _decade(min(lows)), 10 ** (_decade(max(lows)) + 1))
    panel.set_xlabel("FLOP per byte")
    panel.set_ylabel(f"FLOP/s (batch size {record.cell.batch_size})")


def _decade(value: float) -> int:
    return int(f"{value:e}".split("e")[1])
