"""The pages of findings: one about the book's own records, one about the figures of the reports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from vlmnb.analysis.titles import dataset_title
from vlmnb.audit import registry
from vlmnb.audit.kept import Kept
from vlmnb.audit.rule import FOLDED, LEVELS, TITLES, Finding, Level
from vlmnb.book import disputed
from vlmnb.book.content import model_title
from vlmnb.book.rendering import code, render
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.stats import formatting
from vlmnb.types import Source
from vlmnb.views.table import Field

SPELLED = {
    "flops": "FLOPs", "wer": "WER", "cpu": "CPU", "gpus": "GPU's", "codecarbons": "codecarbon's",
}  # fmt: skip
"""Words of a rule's name that a heading spells otherwise."""


def findings(
    records: Sequence[Record], source: Source, known: Sequence[Turns] = (), earlier: Kept | None = None
) -> list[Finding]:
    """Return what the rules find in the records of a source, models and rules called as on other pages."""
    own = [record for record in records if record.source == source]
    names = {record.cell.model: model_title(record.cell.model) for record in own}
    names |= {record.cell.dataset: dataset_title(record.cell.dataset) for record in own}
    names |= {rule.name: f"“{_heading(rule.name)}”" for rule in registry.RULES}
    longest = sorted(map(re.escape, names), key=len, reverse=True)
    name = re.compile(rf"(?<![\w./-])({'|'.join(longest)})(?![\w/-])")

    def titled(text: str) -> str:
        return name.sub(lambda found: names[found[0]], text)

    def readable(finding: Finding) -> Finding:
        figures = {titled(what): titled(value) for what, value in finding.figures.items()}
        where = tuple(one.model_copy(update={"cell": titled(one.cell)}) for one in finding.records)
        meaning, unknown = titled(finding.meaning), titled(finding.unknown)
        return finding.model_copy(
            update={"figures": figures, "records": where, "meaning": meaning, "unknown": unknown}
        )

    return (
        [readable(finding) for finding in registry.run(own, source, known=known, kept=earlier)] if own else []
    )


def _heading(rule: str) -> str:
    words = " ".join(SPELLED.get(word, word) for word in rule.split("-"))
    return f"{words[0].upper()}{words[1:]}"


def _tally(found: Sequence[Finding]) -> str:
    """Return how many findings are about each model."""
    named = Counter(model_title(name) for one in found for name in {where.model for where in one.records})
    return ", ".join(f"{name} {count}" for name, count in named.items())


def page(
    records: Sequence[Record], source: Source, known: Sequence[Turns] = (), earlier: Kept | None = None
) -> str:
    """Return the page of findings about the records of a source."""
    found = findings(records, source, known, earlier)
    groups: dict[Level, dict[str, list[tuple[int, Finding]]]] = {level: {} for level in LEVELS}
    for number, finding in enumerate(found, start=1):
        groups[finding.level].setdefault(finding.rule, []).append((number, finding))
    tallies = {
        (level, name): _tally([finding for _, finding in of_rule])
        for level, of_level in groups.items()
        for name, of_rule in of_level.items()
    }
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
        headings={name: _heading(name) for name in rules}, tallies=tallies, fold=FOLDED,
        statements=rules, halves={number: disputed.halves(one) for number, one in enumerate(found, start=1)},
        counts=", ".join(formatting.counted(levels[level], level) for level in LEVELS),
        rules=[(code(name), says, of_rules[name]) for name, says in rules.items()],
    )  # fmt: skip
