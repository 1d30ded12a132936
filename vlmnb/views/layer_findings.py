"""Sentences on where the time of a forward pass goes, and whether its parts add up."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis import layer_shares
from vlmnb.records.layer_profile import LayerProfile
from vlmnb.records.record import Record
from vlmnb.views.layer_tables import TITLES
from vlmnb.views.templates import say

CLOSES = 0.05
"""The parts are said to add up to the whole if they differ from it by no more than this share."""


def text(records: Sequence[Record]) -> str:
    """Return a Markdown list: where the time of each batch size goes, and whether the parts add up."""
    lines = [f"- {_line(record, record.layers)}" for record in records if record.layers is not None]
    return "\n".join(lines) or say("findings", "nothing", reported=False)


def caption(records: Sequence[Record]) -> str:
    """Return the caption of the figure: the two largest components of the first batch size, and n."""
    first = next(record for record in records if record.layers is not None)
    assert first.layers is not None
    return say("layers", "figure", main=_main(first, first.layers), n=len(first.layers.forward_s))


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
