"""All rules, and running them over records."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.audit.measured import (
    across_records,
    answers,
    energy,
    flops,
    memory,
    phases,
    provenance,
    throughput,
    timing,
    window,
)
from vlmnb.audit.reports import cells, flops, log, power_and_latency, prompts, series, wer
from vlmnb.audit.rule import LEVELS, Finding, Rule
from vlmnb.records.record import Record

RULES: tuple[Rule, ...] = (
    *provenance.RULES,
    *timing.RULES,
    *window.RULES,
    *energy.RULES,
    *memory.RULES,
    *throughput.RULES,
    *flops.RULES,
    *answers.RULES,
    *across_records.RULES,
    *phases.RULES,
    *cells.RULES,
    *log.RULES,
    *flops.RULES,
    *prompts.RULES,
    *wer.RULES,
    *power_and_latency.RULES,
    *series.RULES,
)


def run(records: Sequence[Record], source: str) -> list[Finding]:
    """Findings of every rule of a source over its records, errors first, then in the order of the rules."""
    own = [found for found in records if found.source == source]
    found = [
        one.model_copy(update={"rule": rule.name})
        for rule in RULES
        if rule.source == source
        for one in rule.check(own)
    ]
    return sorted(found, key=lambda one: LEVELS.index(one.level))
