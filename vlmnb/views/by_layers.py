"""The page by layers: tables, figure, and sentences on where time goes and whether the parts add up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlmnb.analysis import layer_shares
from vlmnb.meters.readings import headline, headline_reason
from vlmnb.records.parts import Ceilings, LayerPart, LayerProfile
from vlmnb.records.record import Record
from vlmnb.stats.formatting import digits, format_si
from vlmnb.views import fields, figure_style, marks
from vlmnb.views.fields import COUNTED
from vlmnb.views.marks import MODELLED
from vlmnb.views.table import Field, Row, Table, missing, without
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "vision": "vision tower",
    "projector": "projector",
    "attention": "decoder, attention",
    "mlp": "decoder, MLP",
    "other": "decoder, norms and the like",
    "head": "head",
}
"""Titles of ``layer_shares.COMPONENTS``."""

Colors = Mapping[str, Any]
"""The color of a component, the same in all panels."""

HEADS = (
    "Time in pass, s", "% of whole", "FLOPs", "Parameters", "Energy, J", "FLOP/s", "% of peak rate",
    "B/s, % of peak rate",
)  # fmt: skip
ONE_MEAN = "one mean over many calls, without an interval"
NOT_COUNTED = "norms and the like, whose FLOPs are not counted"
NO_PARAMETERS = "embeddings and norms belong to no part"
CLOSES = 0.05
"""The parts are said to add up to the whole if they differ from it by no more than this share."""


def component_table(records: Sequence[Record]) -> Table:
    """Make a table with one row per component and batch size: time, share, FLOPs, energy, rates."""
    rows: list[Row] = []
    for record in records:
        size = Field(str(record.cell.batch_size))
        if record.layers is None:
            rows.append((size, Field("-", words=True), *[missing(record)] * len(HEADS)))
            continue
        for name, parts in layer_shares.components(record.layers).items():
            rows.append((size, Field(TITLES[name], words=True), *_numbers(record, record.layers, parts)))
        rows += [(size, *row) for row in _totals(record, record.layers)]
    heads = ("Batch size", "Component", *HEADS)
    return _captioned("One forward pass over a batch of prompts", heads, rows, records)


def part_table(record: Record) -> Table:
    """Make a table with one row per part, in the order in which they run."""
    profile = record.layers
    rows: list[Row] = [(Field("-", words=True), *[missing(record)] * len(HEADS))]
    if profile is not None:
        rows = [(Field(part.name, words=True), *_numbers(record, profile, [part])) for part in profile.parts]
    return _captioned(f"Every part at batch size {record.cell.batch_size}", ("Part", *HEADS), rows, [record])


def text(records: Sequence[Record]) -> str:
    """Return a Markdown list: where the time of each batch size goes, and whether the parts add up."""
    lines = [f"- {_line(record, record.layers)}" for record in records if record.layers is not None]
    return "\n".join(lines) or say("findings", "nothing", reported=False)


def caption(records: Sequence[Record]) -> str:
    """Return the caption of the figure: the two largest components of the first batch size, and n."""
    first = next(record for record in records if record.layers is not None)
    assert first.layers is not None
    return say(
        "layers", "figure", main=_main(first, first.layers), n=len(first.layers.forward_s),
        intervals=_intervals(records),
    )  # fmt: skip


def figure(records: Sequence[Record]) -> Figure:
    """Draw shares by component and batch size; of the largest batch time over depth, and the roofline."""
    from matplotlib import pyplot

    colors = dict(zip(TITLES, figure_style.COLORS, strict=True))
    found = [(record.cell.batch_size, record.layers) for record in records if record.layers]
    with figure_style.themed():
        drawing, panels = pyplot.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
        _bars(panels[0], colors, found)
        _depth(panels[1], colors, *found[-1])
        _roof(panels[2], colors, *found[-1])
        handles, names = panels[0].get_legend_handles_labels()
        drawing.legend(handles, names, loc="outside upper center", ncols=len(names))
    return drawing


def points(records: Sequence[Record]) -> Table:
    """Make the table of the figure: one row per point, with its place, value, interval and record."""
    found = [(record, record.layers) for record in records if record.layers]
    rows = [row for each in found for row in _bar_rows(*each)]
    rows += [row for each in found[-1:] for row in _part_rows(*each)]
    heads = ("Panel", "Batch size", "Point", "Place", "Value", "Record")
    return Table(say("layers", "points", intervals=_intervals(records)), heads, tuple(rows))


def _captioned(what: str, heads: tuple[str, ...], rows: Sequence[Row], of: Sequence[Record]) -> Table:
    caption = say("layers", "table", what=what, beyond=marks.beyond(rows), intervals=_intervals(of))
    return Table(caption, heads, tuple(rows))


def _intervals(records: Sequence[Record]) -> str:
    """Return which confidence the intervals of times have, by the number of passes."""
    return fields.covering(layer_shares.whole_s(one.layers) for one in records if one.layers)


def _totals(record: Record, profile: LayerProfile) -> list[Row]:
    key, whole = record.key, layer_shares.whole_s(profile)
    left = layer_shares.rest(profile)
    value, low, high = (whole.median * share for share in left)
    title = f"whole less the sum of all parts, medians of {whole.n} passes each, 95 % interval"
    flops = without("not counted", key)
    if count := record.flops_per_batch:
        flops = Field(format_si(count), COUNTED, key)
    return [
        (
            Field("not explained by parts", words=True),
            fields.measured(value, (low, high), title, key),
            fields.share(left.value, (left.low, left.high), title, key),
            *[without("no part of its own")] * 6,
        ),
        (
            Field("whole pass", words=True),
            fields.seconds(whole, key, "passes without hooks"),
            Field("100", "the whole itself"),
            flops,
            without(NO_PARAMETERS, key),
            *[without("a pass is timed as a whole; only parts are called alone", key)] * 4,
        ),
    ]


def _numbers(record: Record, profile: LayerProfile, parts: Sequence[LayerPart]) -> Row:
    key, share = record.key, layer_shares.share(profile, parts)
    title = "median divided by that of passes without hooks, 95 % interval of the ratio"
    count, parameters = sum(part.flops or 0 for part in parts), sum(part.parameters for part in parts)
    return (
        fields.seconds(layer_shares.summed_s(parts), key, "passes"),
        fields.share(share.value, (share.low, share.high), title, key),
        Field(format_si(count), f"2 per multiply-add; {COUNTED}", key)
        if count
        else without(NOT_COUNTED, key),
        Field(format_si(parameters), COUNTED, key) if parameters else without(NO_PARAMETERS, key),
        *_rates(record, profile.ceilings, [part for part in parts if part.replay_s]),
    )


def _rates(record: Record, peak: Ceilings, replayed: Sequence[LayerPart]) -> Row:
    key = record.key
    if not replayed:
        return (without("cannot be called alone", key),) * 4
    replay_s = sum(part.replay_s or 0.0 for part in replayed)
    moved = sum(part.weight_bytes + part.activation_bytes for part in replayed)
    rate = sum(part.flops or 0 for part in replayed) / replay_s
    flops = share = without(NOT_COUNTED, key)
    if rate:
        flops = Field(format_si(rate, digits=3), f"called alone in {replay_s:.3g} s; {ONE_MEAN}", key)
        of = f"of {format_si(peak.flops_per_s, 'FLOP/s', 3)} ({peak.method}); {ONE_MEAN}"
        share = _of_peak(rate / peak.flops_per_s, of, key, peak)
    of = f"weights, inputs and outputs once each, of {format_si(peak.bytes_per_s, 'B/s', 3)}; {ONE_MEAN}"
    traffic = _of_peak(moved / replay_s / peak.bytes_per_s, of, key, peak)
    return (_energy(record, replayed), flops, share, traffic)


def _of_peak(share: float, title: str, key: str, peak: Ceilings) -> Field:
    shown = Field(f"{100 * share:.1f}{marks.of_share(share)}", title, key)
    return marks.marked(shown, marks.of_peak(peak.contaminated))


def _energy(record: Record, replayed: Sequence[LayerPart]) -> Field:
    metered = [(part.energy, record.cell.device, part.energy_refused) for part in replayed]
    readings = [(headline(*had), part.replays) for had, part in zip(metered, replayed, strict=True)]
    if any(reading is None for reading, _ in readings):
        why = {headline_reason(*had) for had in metered} - {""}
        return without("; ".join(sorted(why)) or "no reading", record.key)
    joules = sum(reading.energy_j / replays for reading, replays in readings if reading)
    methods = {reading.method for reading, _ in readings if reading}
    mark = MODELLED if methods == {"model"} else ""
    shared = max(part.energy_parts for part in replayed)
    how = f"{', '.join(sorted(methods))}, per call of the part alone; {fields.ONE_READING}"
    how += f", the mean of {shared} equal parts replayed in one window" if shared > 1 else ""
    return Field(f"{mark}{digits(joules)}", how, record.key)


def _line(record: Record, profile: LayerProfile) -> str:
    above, rated = layer_shares.above_peak(profile)
    conditions = record.provenance.conditions
    return say(
        "layers", "line", main=_main(record, profile), rest=layer_shares.rest(profile), closes=CLOSES,
        hooks=layer_shares.hooks(profile), above=above, rated=rated,
        load=conditions.other_load if conditions and record.window_under_load else None,
    )  # fmt: skip


def _main(record: Record, profile: LayerProfile) -> str:
    shares = {TITLES[name]: share for name, share in layer_shares.shares(profile).items()}
    first, second = sorted(shares.items(), key=lambda pair: -pair[1].value)[:2]
    return say("layers", "main", size=record.cell.batch_size, first=first, second=second)


def _bar_rows(record: Record, profile: LayerProfile) -> Iterator[Row]:
    for name, share in layer_shares.shares(profile).items():
        value = fields.share(share.value, (share.low, share.high), "of the pass", record.key, " %")
        yield _row("left", record, TITLES[name], without("a bar stands at its batch size"), value)


def _part_rows(record: Record, profile: LayerProfile) -> Iterator[Row]:
    for part in profile.parts:
        if part.depth is not None:
            value = fields.seconds(layer_shares.summed_s([part]), record.key, "passes")
            value = replace(value, text=f"{value.text} s")
            yield _row("middle", record, part.name, Field(f"layer {part.depth}"), value)
        if part.flops and part.replay_s:
            x, y = _place(part)
            value = Field(format_si(y, "FLOP/s", 3), ONE_MEAN, record.key)
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


def _bars(panel: Any, colors: Colors, found: Sequence[tuple[int, LayerProfile]]) -> None:
    sizes = [str(size) for size, _ in found]
    below = [0.0] * len(found)
    for name, title in TITLES.items():
        shares = [layer_shares.shares(profile).get(name) for _, profile in found]
        heights = [100 * share.value if share else 0.0 for share in shares]
        if any(heights):
            panel.bar(sizes, heights, bottom=below, label=title, color=colors[name], width=0.6)
            below = [a + b for a, b in zip(below, heights, strict=True)]
    panel.axhline(100, linestyle="--", linewidth=1, color=figure_style.INK)
    panel.set_xlabel("Batch size")
    panel.set_ylabel("Share of the pass, %")


def _depth(panel: Any, colors: Colors, size: int, profile: LayerProfile) -> None:
    for name, of in layer_shares.components(profile).items():
        layers = [part for part in of if part.depth is not None]
        taken = [layer_shares.summed_s([part]) for part in layers]
        if layers:
            panel.errorbar(
                [part.depth for part in layers],
                [each.median for each in taken],
                yerr=[[x.median - x.low for x in taken], [x.high - x.median for x in taken]],
                color=colors[name], marker="o", markersize=4, linewidth=1.5, elinewidth=0.8, capsize=2,
            )  # fmt: skip
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    panel.set_xlabel("Layer")
    panel.set_ylabel(f"Time in the pass, s (batch size {size})")


def _roof(panel: Any, colors: Colors, size: int, profile: LayerProfile) -> None:
    import seaborn as sns

    peak = profile.ceilings
    drawn = [(*_place(part), part.component) for part in profile.parts if part.flops and part.replay_s]
    ridge = peak.flops_per_s / peak.bytes_per_s
    left = min([ridge / 10, *(x / 2 for x, _, _ in drawn)])
    right = max([ridge * 10, *(x * 2 for x, _, _ in drawn)])
    roof = [left * peak.bytes_per_s, peak.flops_per_s, peak.flops_per_s]
    panel.plot([left, ridge, right], roof, color=figure_style.INK, linewidth=1)
    if drawn:
        x, y, of = zip(*drawn, strict=True)
        sns.scatterplot(x=x, y=y, hue=of, palette=colors, s=18, linewidth=0, legend=False, ax=panel)
    panel.set_xscale("log")
    panel.set_yscale("log")
    # On less than a decade matplotlib would print every tick, as a power of ten.
    panel.yaxis.set_minor_formatter("")
    lows = [y for _, y, _ in drawn] + roof
    low, high = (math.floor(math.log10(end)) for end in (min(lows), max(lows)))
    panel.set_ylim(10.0**low, 10.0 ** (high + 1))
    panel.set_xlabel("FLOP per byte")
    panel.set_ylabel(f"FLOP/s (batch size {size})")
