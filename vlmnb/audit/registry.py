"""Find the rules that the modules of ``measured`` and ``reports`` define, and run them over records."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from vlmnb.audit import measured, reports
from vlmnb.audit.kept import Kept
from vlmnb.audit.measured import across_records, bounds, phases, timing
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


COMPARED = (
    across_records.latency_grows_with_size, across_records.optimization_is_faster,
    bounds.savings_within_their_bound,
)  # fmt: skip
"""Rules that compare times, of turns and of windows: see ``analysis.series``, which chooses as for pages."""


def run(
    records: Sequence[Record], source: str, rules: Sequence[Rule] = RULES, known: Sequence[Turns] = (),
    kept: Kept | None = None,
) -> list[Finding]:  # fmt: skip
    """Return what the rules of a source find in its records, errors first, then in the order of the rules.

    Args:
        known: Turns of the records, whose times are checked as well, and compared in place of the windows'.
        kept: What is known about single records.
    """
    kept = kept or Kept()
    own = [found for found in records if found.source == source]
    chosen = [rule for rule in rules if rule.source == source]
    found = [one for record in own for one in kept.about(record, [rule for rule in chosen if rule.alone])]
    found += [one for rule in chosen if not rule.alone and rule not in COMPARED for one in rule(own)]
    of_turns = [rule for rule in chosen if rule in OF_TURNS]
    sound = []
    for taken in known:
        timed = [one for one in turns.shown(own, [taken], repeats=True) if one.timing and one.timing.turns]
        wrong = [one for record in timed for one in kept.about(record, of_turns)]
        found += wrong
        doubted = {where.key for one in wrong for where in one.records}
        timings = {key: timing for key, timing in taken.timings.items() if key not in doubted}
        sound.append(taken.model_copy(update={"timings": timings}))
    together = turns.shown(own, sound)
    found += [one for rule in chosen if rule in COMPARED for one in rule(together)]
    order = [rule.name for rule in rules]
    return sorted(found, key=lambda one: (LEVELS.index(one.level), order.index(one.rule)))
