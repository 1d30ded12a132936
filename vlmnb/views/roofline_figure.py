"""The figure of the shares of the peak rates that each setting reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmnb.analysis.rates import Rate
from vlmnb.views.axis_figure import INK, STYLE
from vlmnb.views.roofline_tables import Bar, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 130
"""Percent at which the figure ends; a longer bar is cut and its value is written on it."""


def figure(drawn: Sequence[Bar]) -> Figure:
    """Draw MFU and MBU of each setting as bars, with their intervals and marks."""
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        sketch, place = pyplot.subplots(figsize=(9, 0.9 + 0.42 * len(drawn)))
        for i, bar in enumerate(drawn):
            named = ("MFU, prefill", "MBU, decode") if i == 0 else (None, None)
            _bar(place, i - 0.2, bar.mfu, bar.mfu_mark.sign, color="#0173b2", label=named[0])
            _bar(place, i + 0.2, bar.mbu, bar.mbu_mark.sign, color="#de8f05", label=named[1])
        place.axvline(100, color=INK, linestyle="--", linewidth=1)
        if place.get_xlim()[1] > WIDEST:
            place.set_xlim(0, WIDEST)
        place.set_yticks(range(len(drawn)), [bar.label for bar in drawn])
        place.invert_yaxis()
        place.set_xlabel("share of the measured peak rate, %")
        place.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        place.grid(axis="x")
        sketch.tight_layout()
    return sketch


def _bar(place: Any, y: float, share: Rate, mark: str, *, color: str, label: str | None) -> None:
    value = 100 * share.value
    place.barh(y, value, 0.36, color=color, label=label)
    end = value
    if share.ends:
        low, end = (100 * each for each in share.ends)
        reach = [[max(value - low, 0.0)], [max(end - value, 0.0)]]
        place.errorbar([value], [y], xerr=reach, fmt="none", ecolor=INK, capsize=2)
    if value > WIDEST:  # one such bar would leave the others no room
        written = f"{percent(share.value)} %{mark}"
        place.text(WIDEST - 1, y, written, va="center", ha="right", color="white")
    elif mark:
        place.text(min(end, WIDEST) + 0.5, y, mark.strip(), va="center", color=INK)
