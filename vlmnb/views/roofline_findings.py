"""Sentences on what limits prefill and decoding, and which setting uses the memory best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vlmnb.analysis.bottleneck import Bottleneck, Limit, Nearest, Phase
from vlmnb.analysis.rates import Rate
from vlmnb.spec.cell import Cell
from vlmnb.stats.formatting import percent
from vlmnb.views import optimization_text

LIMITS: dict[Limit, str] = {
    "arithmetic": "arithmetic limits it",
    "memory": "memory limits it",
    "neither alone": "neither limits it alone",
    "neither": "neither limits it, but the cost of many small operations and of the time between them",
    "not known": "what limits it is not known",
}


def text(found: Bottleneck, cells: Sequence[Cell]) -> str:
    """Return the sentences on a bottleneck; empty if there are no rates.

    Args:
        found: The bottleneck.
        cells: The cells of the page, which name the settings.
    """
    if not found.measured:
        return ""
    if not found.quiet:
        return (
            "What limits prefill and decoding, and which setting uses the memory best, is not known: other "
            "processes used the machine while every setting, or the peak rates, were measured (†)."
        )
    label = partial(optimization_text.label, "optimization", cells=cells)
    among = "" if len(found.quiet) == found.measured else " among the undisturbed settings"
    parts = [_nearest(found.nearest, among, cells)] if found.nearest else []
    if found.prefill and found.decode:
        prefill = _phase(found.prefill, "reads the weights")
        decode = _phase(found.decode, "reads weights, keys and values")
        parts.append(f"With {label(found.quiet[0])}, prefill {prefill}; decoding {decode}.")
    return " ".join(parts)


def _nearest(nearest: Nearest, among: str, cells: Sequence[Cell]) -> str:
    name, *alike = (
        optimization_text.label("optimization", cell, cells) for cell in (nearest.cell, *nearest.alike)
    )
    if alike:
        return (
            f"Which setting's decoding comes nearest to the memory's peak rate{among} is not known: {name} "
            f"reaches {_share(nearest.mbu)} of it, and {'; '.join(alike)} may reach as much (within "
            "intervals and noise floor)."
        )
    above = ", so the device can do more than this peak" if nearest.mbu.value > 1 else ""
    return (
        f"Decoding comes nearest to the memory's peak rate{among} with {name}: {_share(nearest.mbu)} of "
        f"it{above}."
    )


def _phase(phase: Phase, reads: str) -> str:
    return (
        f"computes at {_share(phase.flops)} of the arithmetic's peak rate and {reads} at "
        f"{_share(phase.memory)} of the memory's: {LIMITS[phase.limit]}"
    )


def _share(rate: Rate) -> str:
    ends = f" [{percent(rate.ends[0])}, {percent(rate.ends[1])}]" if rate.ends else ""
    return f"{percent(rate.value)} %{ends}"
