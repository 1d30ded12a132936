"""The pages of findings: one about the book's own records, one about the figures of the reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vlmnb.audit import registry
from vlmnb.audit.rule import LEVELS, TITLES, Finding, Rule
from vlmnb.book.rendering import code, render
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.types import Source

SPELLED = {
    "flops": "FLOPs", "wer": "WER", "cpu": "CPU", "gpus": "GPU's", "codecarbons": "codecarbon's",
}  # fmt: skip
"""Words of a rule's name that a heading spells otherwise."""

FOLD = 4
"""Most records of a finding that are listed openly; a longer list is folded."""

MOST = 20
"""Most findings of one rule on a page: an error of every record need not be read for every record."""


class Findings(NamedTuple):
    """The findings of one rule, and how many more of them the page leaves out."""

    heading: str
    statement: str
    findings: list[Finding]
    more: int


class Level(NamedTuple):
    """The rules with findings of one level."""

    name: str
    title: str
    rules: list[Findings]


def page(records: Sequence[Record], source: Source) -> str:
    """Return the page of findings about the records of a source."""
    own = [record for record in records if record.source == source]
    found = registry.run(own, source) if own else []
    rules = [rule for rule in registry.RULES if rule.source == source]
    levels, of_rules = Counter(finding.level for finding in found), Counter(finding.rule for finding in found)
    return render(
        "audit", source=source, records=len(own), fold=FOLD, levels=_levels(rules, found),
        counts=", ".join(formatting.counted(levels[level], level) for level in LEVELS),
        rules=[(code(rule.name), rule.says, of_rules[rule.name]) for rule in rules],
    )  # fmt: skip


def _levels(rules: Sequence[Rule], found: Sequence[Finding]) -> list[Level]:
    statements = {rule.name: rule.says for rule in rules}
    made = []
    for level in LEVELS:
        groups: dict[str, list[Finding]] = {}
        for finding in found:
            if finding.level == level:
                groups.setdefault(finding.rule, []).append(finding)
        if groups:
            of_rules = [
                Findings(_heading(name), statements[name], group[:MOST], len(group[MOST:]))
                for name, group in groups.items()
            ]
            made.append(Level(level, TITLES[level], of_rules))
    return made


def _heading(rule: str) -> str:
    """Return a rule's name as a heading."""
    words = " ".join(SPELLED.get(word, word) for word in rule.split("-"))
    return words[0].upper() + words[1:]
