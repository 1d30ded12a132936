"""Find the rules that the modules of ``measured`` and ``reports`` define, and run them over records."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from vlmnb.audit import measured, reports
from vlmnb.audit.rule import LEVELS, Finding, Rule
from vlmnb.records.record import Record


def find() -> tuple[Rule, ...]:
    """Return the rules of all modules, in the order in which the modules define them."""
    modules = [
        importlib.import_module(info.name)
        for package in (measured, reports)
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Rule)]
    return tuple(dict.fromkeys(found))


RULES = find()


def run(records: Sequence[Record], source: str, rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Return what the rules of a source find in its records, errors first, then in the order of the rules."""
    own = [found for found in records if found.source == source]
    found = [one for rule in rules if rule.source == source for one in rule(own)]
    return sorted(found, key=lambda one: LEVELS.index(one.level))
