"""The figure of the comparison: latency and error, one panel per data set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from vlmnb.analysis import pareto
from vlmnb.analysis.base_configuration import BaseResult, Setup, dataset_title, scored
from vlmnb.analysis.pareto import Point
from vlmnb.stats import intervals
from vlmnb.views.axis_figure import INK

MARKERS = ("o", "s", "^", "D", "v", "P")
COLORS = ("#2E86C9", "#D55E00", "#009E73", "#C0659A", "#B8860B", "#7A6FD0")
"""Okabe and Ito's palette, which color-blind eyes can distinguish, in shades for light and dark ground."""


def figure(results: Sequence[BaseResult]) -> bytes:
    """Draw latency and error, one panel per data set, as PNG on a transparent ground."""
    from matplotlib.figure import Figure

    found = pareto.panels(results)
    columns = min(len(found), 2)
    lines = -(-len(found) // columns)
    drawing = Figure(figsize=(4.2 * columns, 2.6 * lines), layout="constrained")
    axes_grid = drawing.subplots(lines, columns, squeeze=False).flat
    for (name, listed), panel in zip(found.items(), axes_grid, strict=False):
        _draw(panel, listed)
        panel.set_title(dataset_title(name), color=INK, fontsize=11)
        panel.set_ylabel("1 - accuracy" if scored(results, name) else "WER", color=INK)
        panel.set_xlabel("latency, s per batch", color=INK)
    for unused in list(axes_grid):
        unused.set_axis_off()
    # Labels beside the points would overlap.
    named: dict[str, Any] = {}
    for panel in drawing.axes:
        handles, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    drawing.legend(named.values(), named.keys(), loc="outside upper center", ncols=4, frameon=False,
                   labelcolor=INK)  # fmt: skip
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=130, transparent=True, metadata={"Software": None})
    return buffer.getvalue()


def path(setup: Setup) -> str:
    """Return the file of a set-up's figure, below ``book/generated``."""
    return f"figures/{setup.source}-{setup.hardware}-{setup.device}.png"


def _draw(panel: Any, listed: Sequence[Point]) -> None:
    front = [listed[i] for i in intervals.pareto_front([(p.x, p.y) for p in listed])]
    panel.plot([p.x for p in front], [p.y for p in front], color=INK, linewidth=1, linestyle="--", zorder=1)
    for p in listed:
        marker, color = MARKERS[p.number % len(MARKERS)], COLORS[p.number % len(COLORS)]
        panel.errorbar(
            [p.x], [p.y], xerr=_reach(p.x, p.x_ends), yerr=_reach(p.y, p.y_ends), fmt=marker, color=color,
            label=p.title, capsize=3, zorder=2,
        )  # fmt: skip
    panel.margins(x=0.15, y=0.15)  # before the limits, which end the automatic ones
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.tick_params(colors=INK)
    panel.grid(color=INK, alpha=0.2)
    for side, spine in panel.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))


def _reach(value: float, ends: tuple[float, float]) -> list[list[float]]:
    """Return how far an interval extends below and above, as matplotlib takes it."""
    return [[max(value - ends[0], 0.0)], [max(ends[1] - value, 0.0)]]
