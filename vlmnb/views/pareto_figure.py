"""The comparison's figure: latency against error, one panel per data set."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vlmnb.stats import intervals

GREY = "#808080"
"""Axes and text of figures: readable on white and on black."""


class Point(NamedTuple):
    """A model in one panel of the figure: latency, error, and how far their intervals reach.

    ``disturbed``: others used the machine while it was timed; ``few``: batches too few for an interval.
    """

    title: str
    color: str
    marker: str
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    disturbed: bool = False
    few: bool = False


def figure(found: Mapping[str, tuple[str, Sequence[Point]]]) -> bytes:
    """The figure as PNG on a transparent ground.

    Args:
        found: By title of the panel: what its second axis shows, and its points.
    """
    from matplotlib.figure import Figure

    columns = min(len(found), 2)
    lines = -(-len(found) // columns)
    drawing = Figure(figsize=(4.2 * columns, 2.6 * lines), layout="constrained")
    axes_grid = drawing.subplots(lines, columns, squeeze=False).flat
    for (title, (error, listed)), panel in zip(found.items(), axes_grid, strict=False):
        _draw(panel, listed)
        panel.set_title(title, color=GREY, fontsize=11)
        panel.set_ylabel(error, color=GREY)
        panel.set_xlabel("latency, s per batch", color=GREY)
    for unused in list(axes_grid):
        unused.set_axis_off()
    named = {label: handle for panel in drawing.axes for handle, label in _named(panel)}
    drawing.legend(named.values(), named.keys(), loc="outside upper center", ncols=4, frameon=False,
                   labelcolor=GREY)  # fmt: skip
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=130, transparent=True, metadata={"Software": None})
    return buffer.getvalue()


def _named(panel: Any) -> Iterator[tuple[Any, str]]:
    """Handles and names of a panel's models; labels beside the points would lie on one another."""
    yield from zip(*panel.get_legend_handles_labels(), strict=True)


def _draw(panel: Any, listed: Sequence[Point]) -> None:
    front = [listed[i] for i in intervals.pareto_front([(p.x, p.y) for p in listed])]
    panel.plot([p.x for p in front], [p.y for p in front], color=GREY, linewidth=1, linestyle="--", zorder=1)
    for p in listed:
        x_reach, y_reach = _reach(p.x, p.x_ends), _reach(p.y, p.y_ends)
        panel.errorbar(
            [p.x],
            [p.y],
            xerr=x_reach,
            yerr=y_reach,
            fmt=p.marker,
            color=p.color,
            label=p.title,
            capsize=3,
            zorder=2,
        )
    panel.margins(x=0.15, y=0.15)  # before the limits, which end the automatic ones
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.tick_params(colors=GREY)
    panel.grid(color=GREY, alpha=0.2)
    for side, spine in panel.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))


def _reach(value: float, ends: tuple[float, float]) -> list[list[float]]:
    """How far an interval reaches below and above, as matplotlib wants it."""
    return [[max(value - ends[0], 0.0)], [max(ends[1] - value, 0.0)]]
