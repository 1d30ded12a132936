"""Check that counters, phases and the formula agree on a record's FLOPs."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit import expected_flops
from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.records.record import Record
from vlmnb.stats.formatting import format_si

COUNTERS = 0.02
"""Relative difference of counters: biases of convolutions and the like, which not all of them count."""


@record_rule
def flops_three_ways(record: Record) -> Iterator[Draft]:
    """Torch's count, fvcore's and the formula agree for the prompt that was counted."""
    counts, cell = record.flops, record.cell
    if counts is None or counts.torch is None:
        return
    named = not record.provenance.geometry  # the formula here is that of the model of this name
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


def _counted_prompt(record: Record) -> tuple[int, int]:
    """Return tokens and samples of the prompts that were counted; no tokens if no formula applies to them."""
    first = record.answers[: record.cell.batch_size]
    if record.provenance.geometry:
        return 0, len(first)
    return max((a.text_tokens + a.image_tokens for a in first if a.image_tokens), default=0), len(first)
