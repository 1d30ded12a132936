"""Check that image tokens were removed as the optimization's name says, and not merely masked."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit import expected_flops
from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.models.family import square
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.stats.formatting import format_si

COUNTED = 0.01
"""Share by which counted FLOPs may differ from those of the kept tokens."""


@record_rule
def kept_tokens_are_those_of_the_name(record: Record) -> Iterator[Draft]:
    """A reduction keeps as many image tokens as its name says, in every answer."""
    reduction, seen = optimizations.of(record.cell).reduction, record.visual_tokens
    if record.status != "ok" or record.cell.measure != "generation" or (reduction is None and seen is None):
        return
    named = reduction.kept(*square(seen.of)) if reduction and seen else None
    stored = seen.kept if seen else None
    if named is None or stored != named:
        yield found("of the name", stored=stored, named=named)
        return
    wrong = [a.image_tokens for a in record.answers if seen and a.image_tokens != seen.kept + seen.beside]
    if wrong:
        yield found("of the answers", seen=seen, wrong=len(wrong), answers=len(record.answers), one=wrong[0])


@record_rule
def removed_tokens_are_nowhere(record: Record) -> Iterator[Draft]:
    """Cache and FLOPs are those of the tokens of the prompt: what was removed is not merely masked."""
    counts, cell = record.flops, record.cell
    first = record.answers[: cell.batch_size]
    if not first or optimizations.of(cell).guesses:
        return
    prompt = max(a.text_tokens + a.image_tokens for a in first)
    cached = record.probe.cache_tokens if record.probe else None
    if cached is not None and cached != prompt + 1:
        yield found("cache", cached=cached, prompt=prompt)
    named = not record.provenance.geometry
    parts = expected_flops.prefill(cell.model, cell.image_size, prompt, len(first)) if named else None
    if record.visual_tokens is None or counts is None or counts.prefill_torch is None or parts is None:
        return
    own, expected = (p.projections + p.mlp + p.scores + p.head for p in (counts.prefill_torch, parts))
    if abs(own - expected) > COUNTED * expected:
        yield found("FLOPs", own=format_si(own), expected=format_si(expected), prompt=prompt)
