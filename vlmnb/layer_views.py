"""What the page by layers shows: shares by component, every part, and its place under the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from vlmnb import plots, stats
from vlmnb.layerprofile import LayerPart, LayerProfile
from vlmnb.readings import headline, headline_source
from vlmnb.record import Record
from vlmnb.tables import MODELLED, Field, Table, absent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOSES = 0.05
"""The parts are said to add up to the whole when they miss it by no more than this share."""

TITLES = {
    "vision": "vision tower",
    "projector": "projector",
    "attention": "decoder, attention",
    "mlp": "decoder, MLP",
    "other": "decoder, norms and the like",
    "head": "head",
}
"""Components in the order in which they run."""


def whole_s(profile: LayerProfile) -> stats.Summary:
    """Median seconds of a forward pass without hooks."""
    return stats.median_interval(profile.forward_s)


def summed_s(profile: LayerProfile, of: Sequence[LayerPart]) -> stats.Summary:
    """Median over passes of the sum of parts."""
    return stats.median_interval([sum(times) for times in zip(*(part.in_pass_s for part in of), strict=True)])


def remainder(profile: LayerProfile) -> float:
    """Share of the whole that no part explains; negative where hooks made the parts longer than it."""
    return 1 - summed_s(profile, profile.parts).median / whole_s(profile).median


def component_table(records: Sequence[Record]) -> Table:
    """One row per component and batch size: time, share, FLOPs, parameters, energy, rates."""
    rows: list[tuple[Field, ...]] = []
    for record in records:
        size = Field(str(record.cell.batch_size))
        if record.layers is None:
            rows.append((size, Field("-", words=True), *(absent(record) for _ in range(8))))
            continue
        profile = record.layers
        whole = whole_s(profile)
        for component, title in TITLES.items():
            of = [part for part in profile.parts if part.component == component]
            if of:
                taken = summed_s(profile, of)
                rows.append((size, Field(title, words=True), *_figures(record, of, taken, whole.median)))
        rest = remainder(profile)
        left = Field(f"{100 * rest:.1f}", "of the pass without hooks", record.key)
        rows.append((size, Field("not explained by parts", words=True), Field("-"), left,
                     *(Field("-", "no part of its own") for _ in range(6))))  # fmt: skip
        shown = stats.significant(whole.median, whole.low, whole.high)
        flops = stats.format_si(record.flops_per_batch) if record.flops_per_batch else "-"
        title = f"median of n = {whole.n} passes without hooks"
        total = (Field(shown, title, record.key), Field("100"), Field(flops, key=record.key))
        rows.append((size, Field("whole pass", words=True), *total, *(Field("-") for _ in range(5))))
    heads = ("Batch size", "Component", "Time, s", "% of whole", "FLOPs", "Parameters", "Energy, J",
             "FLOP/s", "% of ceiling", "B/s, % of ceiling")  # fmt: skip
    caption = (
        "One forward pass over a batch of prompts: median time within the pass, its share, and the rates "
        "reached when a part is replayed, against what the device reached at most"
    )
    return Table(caption, heads, tuple(rows))


def part_table(record: Record) -> Table:
    """One row per part, in the order in which they run."""
    heads = ("Part", "Time in pass, s", "% of whole", "FLOPs", "Parameters", "Energy, J", "FLOP/s",
             "% of ceiling", "B/s, % of ceiling")  # fmt: skip
    caption = f"Every part at batch size {record.cell.batch_size}"
    if record.layers is None:
        return Table(caption, heads, ((Field("-", words=True), *(absent(record) for _ in heads[1:])),))
    profile, whole = record.layers, whole_s(record.layers).median
    rows = [
        (Field(part.name, words=True), *_figures(record, [part], summed_s(profile, [part]), whole))
        for part in profile.parts
    ]
    return Table(caption, heads, tuple(rows))


def text(records: Sequence[Record]) -> str:
    """Markdown list: where the time goes, and whether the parts add up."""
    lines = []
    for record in records:
        if record.layers is None:
            continue
        profile = record.layers
        whole, rest = whole_s(profile), remainder(profile)
        shares = {
            title: summed_s(profile, of).median / whole.median
            for name, title in TITLES.items()
            if (of := [part for part in profile.parts if part.component == name])
        }
        first, second = sorted(shares, key=lambda title: -shares[title])[:2]
        verdict = (
            f"the parts add up to the whole within {100 * CLOSES:.0f} % ({100 * rest:+.1f} % is left)"
            if abs(rest) <= CLOSES
            else f"the parts do not add up to the whole within {100 * CLOSES:.0f} %: {100 * rest:+.1f} % is "
            "left, which is work outside every part, the cost of the hooks, or noise of the machine"
        )
        hooks = median(profile.hooked_s) / median(profile.forward_s) - 1
        lines.append(
            f"- Batch size {record.cell.batch_size}: {first} takes {100 * shares[first]:.0f} % of the pass "
            f"and {second} {100 * shares[second]:.0f} %; {verdict}. "
            f"Hooks changed the pass by {100 * hooks:+.1f} %."
        )
    return "\n".join(lines) or "- No cell of this page could be measured on this machine."


def figure(records: Sequence[Record]) -> Figure:
    """Shares by component, time over depth, and the roofline.

    Raises:
        ValueError: No record has a profile.
    """
    import seaborn as sns
    from matplotlib import pyplot

    found = [record for record in records if record.layers is not None]
    if not found:
        raise ValueError("no cell of the page has a profile to draw")
    with pyplot.rc_context(plots.STYLE), sns.color_palette("colorblind"):
        drawing, (bars, depth, roof) = pyplot.subplots(1, 3, figsize=(13, 4))
        _bars(bars, found)
        _depth(depth, found[-1])
        _roof(roof, found[-1])
        for panel in (bars, depth, roof):
            panel.grid(axis="y")
            sns.despine(ax=panel)
        drawing.tight_layout()
    return drawing


def _figures(record: Record, of: Sequence[LayerPart], taken: stats.Summary, whole: float) -> list[Field]:
    profile = record.layers
    assert profile is not None
    key = record.key
    count = sum(part.flops or 0 for part in of)
    seconds = stats.significant(taken.median, taken.low, taken.high)
    span = f"median of n = {taken.n} passes, interval {taken.low:.3g} to {taken.high:.3g} s"
    replayed = [part for part in of if part.replay_s]
    replay_s = sum(part.replay_s or 0.0 for part in replayed)
    moved = sum(part.weight_bytes + part.activation_bytes for part in replayed)
    made = [Field(seconds, span, key), Field(f"{100 * taken.median / whole:.1f}", key=key)]
    made.append(Field(stats.format_si(count) if count else "-", "2 per multiply-add", key))
    parameters = sum(part.parameters for part in of)
    made.append(Field(stats.format_si(parameters) if parameters else "-", key=key))
    made.append(_energy(record, replayed))
    if not replayed:
        return [*made, *(Field("-", "cannot be replayed alone", key) for _ in range(3))]
    rate = count / replay_s
    made.append(Field(stats.format_si(rate) if count else "-", f"replayed in {replay_s:.3g} s", key))
    made.append(Field(f"{100 * rate / profile.ceilings.flops_per_s:.1f}", profile.ceilings.method, key))
    made.append(Field(f"{100 * moved / replay_s / profile.ceilings.bytes_per_s:.1f}",
                      "weights, inputs and outputs once each", key))  # fmt: skip
    return made


def _energy(record: Record, replayed: Sequence[LayerPart]) -> Field:
    readings = [(headline(part.energy, record.cell.device), part.replays) for part in replayed]
    if not readings or any(reading is None for reading, _ in readings):
        source = headline_source(record.cell.device)
        why = {no.reason for part in replayed for no in part.energy_refused if no.source == source}
        return Field("-", "; ".join(sorted(why)) or "no reading", record.key)
    joules = sum(reading.energy_j / replays for reading, replays in readings if reading)
    methods = {reading.method for reading, _ in readings if reading}
    mark = MODELLED if methods == {"model"} else ""
    shared = max(part.energy_parts for part in replayed)
    how = f"{', '.join(sorted(methods))}, per call, from replays"
    how += f", the mean of {shared} equal parts replayed in one window" if shared > 1 else ""
    return Field(f"{mark}{joules:.3g}", how, record.key)


def _bars(panel: Any, found: Sequence[Record]) -> None:
    below = [0.0] * len(found)
    sizes = [str(record.cell.batch_size) for record in found]
    for name, title in TITLES.items():
        heights = []
        for record in found:
            assert record.layers is not None
            of = [part for part in record.layers.parts if part.component == name]
            share = summed_s(record.layers, of).median / whole_s(record.layers).median if of else 0.0
            heights.append(100 * share)
        if any(heights):
            panel.bar(sizes, heights, bottom=below, label=title)
            below = [a + b for a, b in zip(below, heights, strict=True)]
    panel.axhline(100, linestyle="--", linewidth=1, color=plots.INK)
    panel.set_xlabel("Batch size")
    panel.set_ylabel("Share of the pass, %")
    panel.legend(fontsize="small", frameon=False)


def _depth(panel: Any, record: Record) -> None:
    import seaborn as sns

    assert record.layers is not None
    rows = [
        {"depth": part.depth, "seconds": median(part.in_pass_s), "part": TITLES[part.component]}
        for part in record.layers.parts
        if part.depth is not None
    ]
    sns.lineplot(pd.DataFrame(rows), x="depth", y="seconds", hue="part", marker="o", ax=panel)
    panel.set_xlabel("Layer")
    panel.set_ylabel(f"Time in the pass, s (batch size {record.cell.batch_size})")
    panel.legend(title="", fontsize="small", frameon=False)


def _roof(panel: Any, record: Record) -> None:
    assert record.layers is not None
    ceilings = record.layers.ceilings
    points = [
        (part.flops / (part.weight_bytes + part.activation_bytes), part.flops / part.replay_s, part.component)
        for part in record.layers.parts
        if part.flops and part.replay_s
    ]
    ridge = ceilings.flops_per_s / ceilings.bytes_per_s
    left, right = (
        min([ridge / 10, *(x / 2 for x, _, _ in points)]),
        max([ridge * 10, *(x * 2 for x, _, _ in points)]),
    )
    roof = [left * ceilings.bytes_per_s, ceilings.flops_per_s, ceilings.flops_per_s]
    panel.plot([left, ridge, right], roof, color=plots.INK, linewidth=1)
    for name, title in TITLES.items():
        of = [(x, y) for x, y, component in points if component == name]
        if of:
            panel.scatter([x for x, _ in of], [y for _, y in of], label=title, s=18)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("FLOP per byte")
    panel.set_ylabel("FLOP/s")
    panel.legend(fontsize="small", frameon=False)
