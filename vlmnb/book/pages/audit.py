"""The pages of findings: one about the book's own records, one about the figures of the reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vlmnb.audit import registry
from vlmnb.audit.rule import LEVELS, TITLES, Finding, Level
from vlmnb.book.rendering import code, render
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.types import Source

SPELLED = {
    "flops": "FLOPs", "wer": "WER", "cpu": "CPU", "gpus": "GPU's", "codecarbons": "codecarbon's",
}  # fmt: skip
"""Words of a rule's name that a heading spells otherwise."""


def page(records: Sequence[Record], source: Source) -> str:
    """Return the page of findings about the records of a source."""
    own = [record for record in records if record.source == source]
    found = registry.run(own, source) if own else []
    groups: dict[Level, dict[str, list[Finding]]] = {level: {} for level in LEVELS}
    for finding in found:
        groups[finding.level].setdefault(finding.rule, []).append(finding)
    rules = {rule.name: rule.says for rule in registry.RULES if rule.source == source}
    levels, of_rules = Counter(finding.level for finding in found), Counter(finding.rule for finding in found)
    return render(
        "audit.md", source=source, records=len(own), groups=groups, titles=TITLES,
        headings={name: " ".join(SPELLED.get(word, word) for word in name.split("-")) for name in rules},
        statements=rules,
        counts=", ".join(formatting.counted(levels[level], level) for level in LEVELS),
        rules=[(code(name), says, of_rules[name]) for name, says in rules.items()],
    )  # fmt: skip
