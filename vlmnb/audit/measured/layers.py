"""Check that the layers of a profile add up to the pass, and that no rate exceeds the measured peak."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from vlmnb.analysis.rates import rates as rates_of
from vlmnb.audit import expected_flops
from vlmnb.audit.rule import WHICH, Finding, Level, contradiction, finding, record_rule, warning
from vlmnb.records.layer_profile import LayerProfile
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
def layers_add_up(record: Record) -> Iterator[Finding]:
    """Parts add up to the pass: in time with hooks, in time without, and in FLOPs."""
    profile = record.layers
    if profile is None:
        return
    summed = median(sum(times) for times in zip(*(part.in_pass_s for part in profile.parts), strict=True))
    hooked, whole = median(profile.hooked_s), median(profile.forward_s)
    over, rest = summed / hooked - 1, 1 - summed / whole
    figures = {"Parts": f"{summed:.4g} s", "Pass with hooks": f"{hooked:.4g} s"}
    if over > OVERLAP:
        yield contradiction(
            figures,
            f"The parts of a pass take {100 * over:.1f} % more than the pass around them: some are counted "
            "twice, and shares of this profile are in doubt.",
        )
    elif abs(rest) > UNEXPLAINED:
        yield warning(
            figures | {"Pass without hooks": f"{whole:.4g} s"},
            f"Parts and pass differ by {100 * rest:+.1f} %: shares by layer are wrong by as much.",
            "Hooks, work outside every part or background load may be the cause.",
        )
    yield from _flops_of_parts(record, profile)


@record_rule
def rates_below_the_ceiling(record: Record) -> Iterator[Finding]:
    """No rate exceeds the measured peak of the device (MFU and MBU are at most 1)."""
    computes, moves = _layer_rates(record) if record.layers else _cell_rates(record)
    on_gpu = record.cell.device.startswith("cuda")
    judged: list[tuple[Level, str, list[tuple[str, float]]]] = [
        ("error" if on_gpu else "warning", "computes", computes),
        ("note", "moves", moves),
    ]
    for level, verb, rates in judged:
        beyond = [rate for rate in rates if rate[1] > 1 + PEAK]
        if beyond:
            name, share = max(beyond, key=lambda rate: rate[1])
            yield finding(
                level,
                {
                    "Rates": f"{len(beyond)} of {len(rates)}",
                    "Highest": f"{name}: {share:.3f} of the peak rate",
                },
                f"{name} {verb} {share:.2f} times as much per second as the measured peak."
                + (" What fits a cache is not read from memory." if verb == "moves" else ""),
                f"Peak, time or count may be wrong. {WHICH}"
                if verb == "computes"
                else "How much of the memory's own bandwidth is used is unknown.",
            )


Rates = tuple[list[tuple[str, float]], list[tuple[str, float]]]
"""Shares of the peak in computing and in moving bytes, each with the name of what reached it."""


def _layer_rates(record: Record) -> Rates:
    assert record.layers is not None
    peak, whole_s = record.layers.ceilings, median(record.layers.forward_s)
    replayed = [(part, part.replay_s) for part in record.layers.parts if part.replay_s]
    computes = [(p.name, p.flops / seconds / peak.flops_per_s) for p, seconds in replayed if p.flops]
    if record.flops and record.flops.torch:
        computes.append(("the whole pass", record.flops.torch / whole_s / peak.flops_per_s))
    return computes, [
        (p.name, (p.weight_bytes + p.activation_bytes) / seconds / peak.bytes_per_s)
        for p, seconds in replayed
    ]


def _cell_rates(record: Record) -> Rates:
    """Return the MFU of the prompt's pass and the MBU of decoding, where the record has a peak."""
    own = rates_of(record)
    return (
        [("the prompt (MFU)", own.mfu.value)] if own.mfu else [],
        [("decoding (MBU)", own.mbu.value)] if own.mbu else [],
    )


def _flops_of_parts(record: Record, profile: LayerProfile) -> Iterator[Finding]:
    counted = [part.flops for part in profile.parts if part.replay_s]
    if not record.flops or not record.flops.torch or None in counted:
        return
    summed = sum(flops or 0 for flops in counted)
    excess = summed / record.flops.torch - 1
    if excess > CLOSED or excess < -OUTSIDE:
        yield finding(
            "error" if excess > 0 else "warning",
            {"Parts": expected_flops.shown(summed), "Pass": expected_flops.shown(record.flops.torch)},
            "FLOPs of the parts differ from those of the pass: "
            + ("a part is counted twice." if excess > 0 else f"{-100 * excess:.1f} % of them have no part."),
            "Which products these are is unknown.",
        )
