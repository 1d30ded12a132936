"""The pages of findings: one about the book's own records, one about the figures of the reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vlmnb.audit import registry
from vlmnb.audit.rule import LEVELS, TITLES, Finding, Level
from vlmnb.book import disputed
from vlmnb.book.content import model_title
from vlmnb.book.rendering import code, render
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.types import Source
from vlmnb.views.table import Field

SPELLED = {
    "flops": "FLOPs", "wer": "WER", "cpu": "CPU", "gpus": "GPU's", "codecarbons": "codecarbon's",
}  # fmt: skip
"""Words of a rule's name that a heading spells otherwise."""


def findings(records: Sequence[Record], source: Source) -> list[Finding]:
    """Return what the rules find in the records of a source."""
    own = [record for record in records if record.source == source]
    return registry.run(own, source) if own else []


def page(records: Sequence[Record], source: Source) -> str:
    """Return the page of findings about the records of a source."""
    found = findings(records, source)
    groups: dict[Level, dict[str, list[tuple[int, Finding]]]] = {level: {} for level in LEVELS}
    for number, finding in enumerate(found, start=1):
        groups[finding.level].setdefault(finding.rule, []).append((number, finding))
    rules = {rule.name: rule.says for rule in registry.RULES if rule.source == source}
    levels, of_rules = Counter(finding.level for finding in found), Counter(finding.rule for finding in found)
    overview = [
        (
            disputed.SURE[finding.level],
            Field(disputed.sentence(finding), words=True, href=f"#finding-{number}"),
            ", ".join(dict.fromkeys(model_title(where.model) for where in finding.records)),
            sum(len(where.places) for where in finding.records) or "all",
        )
        for number, finding in enumerate(found, start=1)
    ]
    return render(
        "audit.md", overview=overview, source=source,
        records=sum(record.source == source for record in records), groups=groups, titles=TITLES,
        headings={name: " ".join(SPELLED.get(word, word) for word in name.split("-")) for name in rules},
        statements=rules,
        counts=", ".join(formatting.counted(levels[level], level) for level in LEVELS),
        rules=[(code(name), says, of_rules[name]) for name, says in rules.items()],
    )  # fmt: skip
