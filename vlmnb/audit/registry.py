"""All rules, and running them over records."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.audit import (
    accounts,
    answers,
    between,
    content,
    held,
    origin,
    proportion,
    reportcost,
    reportflops,
    reportlog,
    reportprompts,
    reports,
    reportseries,
    reportwer,
    shown,
    timing,
    windows,
)
from vlmnb.audit.finding import LEVELS, Finding, Rule
from vlmnb.records.record import Record

RULES: tuple[Rule, ...] = (
    *origin.RULES,
    *timing.RULES,
    *windows.RULES,
    *accounts.RULES,
    *held.RULES,
    *shown.RULES,
    *content.RULES,
    *answers.RULES,
    *between.RULES,
    *proportion.RULES,
    *reports.RULES,
    *reportlog.RULES,
    *reportflops.RULES,
    *reportprompts.RULES,
    *reportwer.RULES,
    *reportcost.RULES,
    *reportseries.RULES,
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
