"""Find the rules, and run them over records.

Every module of ``measured/`` and ``reports/`` lists its rules in ``RULES``; a new module is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence

from vlmnb.audit import measured, reports
from vlmnb.audit.rule import LEVELS, Finding, Rule
from vlmnb.records.record import Record


def _rules() -> Iterator[Rule]:
    for package in (measured, reports):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield from getattr(importlib.import_module(info.name), "RULES", ())


RULES: tuple[Rule, ...] = tuple(_rules())


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
