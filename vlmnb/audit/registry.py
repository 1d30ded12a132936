"""Find the rules that the modules of ``measured`` and ``reports`` define, and run them over records."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from vlmnb.audit import measured, reports
from vlmnb.audit.measured import phases, timing
from vlmnb.audit.rule import LEVELS, Finding, Rule
from vlmnb.records import turns
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns


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


OF_TURNS = (
    timing.every_batch_is_counted, timing.steps_are_tokens, timing.throughput_times_latency_is_the_batch,
    phases.phases_add_up,
)  # fmt: skip
"""Rules on the times of single records that hold for those of turns as well."""


def run(
    records: Sequence[Record], source: str, rules: Sequence[Rule] = RULES, known: Sequence[Turns] = ()
) -> list[Finding]:
    """Return what the rules of a source find in its records, errors first, then in the order of the rules.

    Args:
        known: Turns of the records, whose times are checked in place of those of the windows as well.
    """
    own = [found for found in records if found.source == source]
    found = [one for rule in rules if rule.source == source for one in rule(own)]
    for taken in known:
        timed = [one for one in turns.shown(own, [taken], repeats=True) if one.timing and one.timing.turns]
        found += [one for rule in rules if rule in OF_TURNS and rule.source == source for one in rule(timed)]
    return sorted(found, key=lambda one: LEVELS.index(one.level))
