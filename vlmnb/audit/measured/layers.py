"""Check that the layers of a profile add up to the pass, and that no rate exceeds the measured peak."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from vlmnb.analysis.rates import rates as rates_of
from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.records.parts import LayerProfile
from vlmnb.records.record import Record

CLOSED = 0.001
"""Share by which FLOPs of the parts may exceed those of the pass: counts are whole numbers of products."""

OUTSIDE = 0.05
"""Share of the FLOPs of a pass that may lie outside its parts: patch embeddings, 2.8 % in a bundled model."""

OVERLAP = 0.02
"""Share by which parts may exceed the pass around them: time stamps of hooks nest within each other."""

UNEXPLAINED = 0.05
"""Share of a pass that its parts may leave unexplained, as the pages by layers say."""

PEAK = 0.1
"""Share by which a rate may exceed a measured peak: the best of many rounds, on a machine that varies. On a
CPU background load may slow the rounds and not the parts: there a larger excess is a warning, no error."""


@record_rule
def layers_add_up(record: Record) -> Iterator[Draft]:
    """Parts add up to the pass: in time with hooks, in time without, and in FLOPs."""
    profile = record.layers
    if profile is None:
        return
    parts_s = median(sum(times) for times in zip(*(part.in_pass_s for part in profile.parts), strict=True))
    hooked_s, pass_s = median(profile.hooked_s), median(profile.forward_s)
    over, rest = parts_s / hooked_s - 1, 1 - parts_s / pass_s
    if over > OVERLAP:
        yield found("parts take longer", parts_s=parts_s, hooked_s=hooked_s, over=over)
    elif abs(rest) > UNEXPLAINED:
        yield found("unexplained time", parts_s=parts_s, hooked_s=hooked_s, pass_s=pass_s, rest=rest)
    yield from _flops_of_parts(record, profile)


@record_rule
def rates_below_the_ceiling(record: Record) -> Iterator[Draft]:
    """No rate exceeds the measured peak of the device (MFU and MBU are at most 1)."""
    computes, moves = _rates(record)
    computing = "computes" if record.cell.device.startswith("cuda") else "computes on a CPU"
    for case, rates in ((computing, computes), ("moves", moves)):
        beyond = [rate for rate in rates if rate[1] > 1 + PEAK]
        if beyond:
            name, share = max(beyond, key=lambda rate: rate[1])
            yield found(case, name=name, share=share, beyond=len(beyond), rates=len(rates))


Rates = list[tuple[str, float]]
"""Shares of a peak, each with the name of what reached it."""


def _rates(record: Record) -> tuple[Rates, Rates]:
    """Return shares of the peak in computing and in moving bytes: of the layers, or MFU and MBU of a cell."""
    profile = record.layers
    if profile is None:
        own = rates_of(record)
        named = (("the prompt (MFU)", own.mfu), ("decoding (MBU)", own.mbu))
        computes, moves = ([(name, rate.value)] if rate else [] for name, rate in named)
        return computes, moves
    peak, replayed = profile.ceilings, [(part, part.replay_s) for part in profile.parts if part.replay_s]
    computes = [(p.name, p.flops / seconds / peak.flops_per_s) for p, seconds in replayed if p.flops]
    if record.flops and record.flops.torch:
        whole_s = median(profile.forward_s)
        computes.append(("the whole pass", record.flops.torch / whole_s / peak.flops_per_s))
    moved = [(p.name, (p.weight_bytes + p.activation_bytes) / seconds) for p, seconds in replayed]
    return computes, [(name, rate / peak.bytes_per_s) for name, rate in moved]


def _flops_of_parts(record: Record, profile: LayerProfile) -> Iterator[Draft]:
    counted = [part.flops for part in profile.parts if part.replay_s]
    if not record.flops or not record.flops.torch or None in counted:
        return
    parts = sum(flops or 0 for flops in counted)
    excess = parts / record.flops.torch - 1
    if excess > CLOSED or excess < -OUTSIDE:
        yield found("too many FLOPs" if excess > 0 else "too few FLOPs", parts=parts, missing=-excess)
