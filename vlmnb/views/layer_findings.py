"""Sentences on where the time of a forward pass goes, and whether its parts add up."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis import layer_shares
from vlmnb.analysis.layer_shares import Share
from vlmnb.records.layer_profile import LayerProfile
from vlmnb.records.record import Record
from vlmnb.views.layer_tables import TITLES

CLOSES = 0.05
"""The parts are said to add up to the whole if they differ from it by no more than this share."""


def text(records: Sequence[Record]) -> str:
    """Return a Markdown list: where the time of each batch size goes, and whether the parts add up."""
    lines = [f"- {_line(record, record.layers)}" for record in records if record.layers is not None]
    return "\n".join(lines) or "- No cell of this page could be measured on this machine."


def _line(record: Record, profile: LayerProfile) -> str:
    found = layer_shares.components(profile)
    shares = {TITLES[name]: layer_shares.share(profile, parts) for name, parts in found.items()}
    first, second = sorted(shares, key=lambda title: -shares[title].value)[:2]
    hooks = layer_shares.hooks(profile)
    line = (
        f"Batch size {record.cell.batch_size}: {first} takes {_percent(shares[first])} of the pass "
        f"and {second} {_percent(shares[second])}; {_sum(layer_shares.rest(profile))}. Hooks changed the "
        f"pass by {100 * (hooks.ratio - 1):+.1f} %, interval {_ends(hooks.low - 1, hooks.high - 1)}."
    )
    conditions = record.provenance.conditions
    if conditions and conditions.contaminated:
        line += (
            f" Other processes used {100 * conditions.other_load:.0f} % of the CPU meanwhile: measure again "
            "on an idle machine before you quote times or rates."
        )
    above, rated = layer_shares.above_peak(profile)
    if above:
        line += (
            f" {above} of {rated} parts were faster than the peak rate (‡): the machine was slower while the "
            "peak was measured, and the shares of it mean nothing here."
        )
    return line


def _sum(rest: Share) -> str:
    """Return whether the parts add up to the whole, by the share that no part explains."""
    span = f"{100 * rest.value:+.1f} % is left, interval {_ends(rest.low, rest.high)}"
    within = f"within {100 * CLOSES:.0f} %"
    if max(abs(rest.low), abs(rest.high)) <= CLOSES:
        return f"the parts add up to the whole {within} ({span})"
    if rest.low > CLOSES or rest.high < -CLOSES:
        return (
            f"the parts do not add up to the whole {within}: {span}; it is work outside every part, the cost "
            "of the hooks, or noise of the machine"
        )
    return f"it is not known whether the parts add up to the whole {within}: {span}"


def _ends(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f} %"


def _percent(share: Share) -> str:
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f})"
