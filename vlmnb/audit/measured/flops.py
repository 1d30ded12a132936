"""Check that counters, phases, layers and the formula agree on FLOPs, and that rates keep below the peak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from vlmnb.analysis.rates import Peaks, Place, peaks, peaks_of
from vlmnb.analysis.rates import rates as rates_of
from vlmnb.audit import expected_flops
from vlmnb.audit.rule import Draft, found, record_rule, rule
from vlmnb.records.parts import LayerProfile
from vlmnb.records.record import Record
from vlmnb.stats.formatting import format_si

COUNTERS = 0.02
"""Relative difference of counters: biases of convolutions and the like, which not all of them count."""

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

Rates = list[tuple[str, float]]
"""Shares of a peak, each with the name of what reached it."""


@record_rule
def flops_three_ways(record: Record) -> Iterator[Draft]:
    """Torch's count, fvcore's and the formula agree for the prompt that was counted."""
    counts, cell = record.flops, record.cell
    if counts is None or counts.torch is None:
        return
    named = _as_named(record)
    ways = {"torch": counts.torch}
    if counts.fvcore is not None and (named or not counts.unused):
        # fvcore traces the output, and so leaves out layers that nothing reads.
        idle = expected_flops.unused(cell.model, cell.image_size, cell.batch_size) if named else 0
        ways["fvcore, and layers it leaves out"] = counts.fvcore + idle
    tokens, samples = _counted_prompt(record)
    parts = expected_flops.prefill(cell.model, cell.image_size, tokens, samples) if tokens else None
    if parts is not None and not cell.interpolate:
        ways[f"formula, {tokens} tokens"] = parts.total
    spread = max(ways.values()) / min(ways.values()) - 1
    if spread > COUNTERS:
        figures = {name: format_si(value) for name, value in ways.items()}
        yield found(figures=figures, ways=len(ways), spread=spread)


@record_rule
def flops_of_phases_add_up(record: Record) -> Iterator[Draft]:
    """FLOPs by phase add up to their total, and those of a decoding step are the formula's."""
    counts, cell = record.flops, record.cell
    if counts is None:
        return
    tokens, samples = _counted_prompt(record)
    step = expected_flops.step(cell.model, tokens, samples) if tokens else None
    by_formula = f"one step of {cell.model} by formula"
    compared = [
        ("torch, by phase", counts.prefill_torch, "torch", counts.torch),
        ("fvcore, by phase", counts.prefill_fvcore, "fvcore", counts.fvcore),
        ("formula, by phase", counts.prefill_formula, "formula", counts.formula),
        ("torch's step", counts.decode_torch, by_formula, step),
        ("formula's step", counts.decode_formula, by_formula, step),
    ]
    totals = [
        (name, parts.total, other, whole)
        for name, parts, other, whole in compared
        if parts is not None and whole is not None
    ]
    if step is not None and counts.unused is not None and not cell.interpolate:
        unused = expected_flops.unused(cell.model, cell.image_size, samples)
        totals.append(("unused", counts.unused, "unused by formula", unused))
    for name, one, other, whole in totals:
        if abs(one - whole) > COUNTERS * max(one, whole):
            figures = {name.capitalize(): format_si(one), other.capitalize(): format_si(whole)}
            yield found(figures=figures, name=name, other=other)
            return


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


@rule("measured")
def rates_below_the_ceiling(records: Sequence[Record]) -> Iterator[Draft]:
    """No rate exceeds the best measured peak of the device (MFU and MBU are at most 1)."""
    known = peaks(records)
    for record in records:
        computes, moves = _rates(record, known)
        top = peaks_of(record, known)
        computing = "computes" if record.cell.device.startswith("cuda") else "computes on a CPU"
        for case, rates, peak in (
            (computing, computes, top and top.flops), ("moves", moves, top and top.memory)
        ):  # fmt: skip
            beyond = [rate for rate in rates if rate[1] > 1 + PEAK]
            if beyond:
                name, share = max(beyond, key=lambda rate: rate[1])
                loaded = peak.other_load if peak and peak.contaminated else None
                yield found(
                    case,
                    [record],
                    name=name,
                    share=share,
                    beyond=len(beyond),
                    rates=len(rates),
                    loaded=loaded,
                )


def _as_named(record: Record) -> bool:
    """Return whether the formula of the model of this name applies: its geometry, and one square image."""
    return not record.provenance.geometry and record.one_square_image


def _counted_prompt(record: Record) -> tuple[int, int]:
    """Return tokens and samples of the prompts that were counted; no tokens if no formula applies to them."""
    first = record.answers[: record.cell.batch_size]
    if not _as_named(record):
        return 0, len(first)
    return max((a.text_tokens + a.image_tokens for a in first if a.image_tokens), default=0), len(first)


def _rates(record: Record, known: dict[Place, Peaks]) -> tuple[Rates, Rates]:
    """Return shares of the peak in computing and in moving bytes: of the layers, or MFU and MBU of a cell."""
    profile = record.layers
    if profile is None:
        own = rates_of(record, known)
        named = (("the prompt (MFU)", own.mfu), ("decoding (MBU)", own.mbu))
        computes, moves = ([(name, rate.value)] if rate else [] for name, rate in named)
        return computes, moves
    top, replayed = peaks_of(record, known), [(p, p.replay_s) for p in profile.parts if p.replay_s]
    flops_per_s = max(profile.ceilings.flops_per_s, top.flops.per_s if top else 0)
    bytes_per_s = max(profile.ceilings.bytes_per_s, top.memory.per_s if top else 0)
    computes = [(p.name, p.flops / seconds / flops_per_s) for p, seconds in replayed if p.flops]
    if record.flops and record.flops.torch:
        whole_s = median(profile.forward_s)
        computes.append(("the whole pass", record.flops.torch / whole_s / flops_per_s))
    moved = [(p.name, (p.weight_bytes + p.activation_bytes) / seconds) for p, seconds in replayed]
    return computes, [(name, rate / bytes_per_s) for name, rate in moved]


def _flops_of_parts(record: Record, profile: LayerProfile) -> Iterator[Draft]:
    counted = [part.flops for part in profile.parts if part.replay_s]
    if not record.flops or not record.flops.torch or None in counted:
        return
    parts = sum(flops or 0 for flops in counted)
    excess = parts / record.flops.torch - 1
    if excess > CLOSED or excess < -OUTSIDE:
        yield found("too many FLOPs" if excess > 0 else "too few FLOPs", parts=parts, missing=-excess)
