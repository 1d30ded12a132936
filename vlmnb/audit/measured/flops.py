"""Check that counters, phases and the formula agree on a record's FLOPs."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit import expected_flops
from vlmnb.audit.rule import Finding, contradiction, record_rule
from vlmnb.records.record import Record

COUNTERS = 0.02
"""Relative difference of counters: biases of convolutions and the like, which not all of them count."""


@record_rule
def flops_three_ways(record: Record) -> Iterator[Finding]:
    """Torch's count, fvcore's and the formula agree for the prompt that was counted."""
    counts, cell = record.flops, record.cell
    if counts is None or counts.torch is None:
        return
    named = not record.provenance.geometry  # the formula here is that of the model of this name
    ways = {"torch": float(counts.torch)}
    if counts.fvcore is not None and (named or not counts.unused):
        # fvcore traces the output, and so leaves out layers that nothing reads.
        idle = expected_flops.unused(cell.model, cell.image_size, cell.batch_size) if named else 0
        ways["fvcore, and layers it leaves out"] = float(counts.fvcore + idle)
    first = record.answers[: cell.batch_size]
    longest = max(first, key=lambda answer: answer.text_tokens, default=None)
    if named and longest is not None and longest.image_tokens:
        tokens = longest.text_tokens + longest.image_tokens
        parts = expected_flops.prefill(cell.model, cell.image_size, tokens, len(first))
        if parts is not None and not cell.interpolate:
            ways[f"formula, {tokens} tokens"] = float(parts.total)
    spread = max(ways.values()) / min(ways.values()) - 1
    if spread > COUNTERS:
        yield contradiction(
            {name: expected_flops.shown(value) for name, value in ways.items()}
            | {"Apart": f"{100 * spread:.1f} %"},
            f"FLOPs counted in {len(ways)} ways are {100 * spread:.1f} % apart: one of the counts belongs to "
            "another pass, and rates computed from them are in doubt.",
        )


@record_rule
def flops_of_phases_add_up(record: Record) -> Iterator[Finding]:
    """FLOPs by phase add up to their total, and those of a decoding step are the formula's."""
    counts, cell = record.flops, record.cell
    if counts is None:
        return
    totals = [
        (f"{name}, by phase", name, parts.total, whole)
        for name, parts, whole in (
            ("torch", counts.prefill_torch, counts.torch),
            ("fvcore", counts.prefill_fvcore, counts.fvcore),
            ("formula", counts.prefill_formula, counts.formula),
        )
        if parts is not None and whole is not None
    ]
    again = _by_formula(record)
    if again is not None:
        step, unused = again
        steps = [("torch's step", counts.decode_torch), ("formula's step", counts.decode_formula)]
        totals += [
            (name, f"one step of {cell.model} by formula", parts.total, step)
            for name, parts in steps
            if parts is not None
        ]
        if counts.unused is not None and not cell.interpolate:
            totals.append(("unused", "unused by formula", counts.unused, unused))
    wrong = [each for each in totals if abs(each[2] - each[3]) > COUNTERS * max(each[2], each[3])]
    if wrong:
        name, other, one, whole = wrong[0]
        yield contradiction(
            {name.capitalize(): expected_flops.shown(one), other.capitalize(): expected_flops.shown(whole)},
            f"FLOPs of {name} differ from those of {other}: a phase or its total belongs to another pass, "
            "and FLOPs by phase and per token are in doubt.",
        )


def _by_formula(record: Record) -> tuple[int, int] | None:
    """Return FLOPs of a step after the counted prompt, and of unused vision layers; None if unknown."""
    cell = record.cell
    first = record.answers[: cell.batch_size]
    tokens = max((a.text_tokens + a.image_tokens for a in first if a.image_tokens), default=0)
    named = tokens and not record.provenance.geometry
    step = expected_flops.step(cell.model, tokens, len(first)) if named else None
    return None if step is None else (step, expected_flops.unused(cell.model, cell.image_size, len(first)))
