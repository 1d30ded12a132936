"""The book's pages of findings: over its own records, and over what the reports print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vlmnb.audit import registry
from vlmnb.audit.rule import LEVELS, TITLES, Finding, Where
from vlmnb.book import contents
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.views import markup

OWN, REPORTS = "audit", "reports-checked"
"""Names of the pages, below ``book/generated``."""

SPELLED = {
    "flops": "FLOPs", "wer": "WER", "cpu": "CPU", "gpus": "GPU's", "codecarbons": "codecarbon's",
}  # fmt: skip
"""Words of a rule's name that a heading spells otherwise."""

FOLD = 4
"""Records a finding lists openly; more are folded."""

MOST = 20
"""Findings of one rule on the page; what is wrong with every record need not be read for every record."""


def own_page(records: Sequence[Record]) -> str:
    """What the rules say of the book's own measurements."""
    return _page(
        records,
        "measured",
        "# Audit",
        "Every record of the book is checked by rules that must hold whatever was measured: identities "
        "within a record, and consistency between records. Differences count only beyond noise. The same is "
        "printed by `vlmnb audit`. How it is done stands in the [methodology](#the-audit).",
    )


def reports_page(records: Sequence[Record]) -> str:
    """What the rules say of the figures in the reports."""
    return _page(
        records,
        "reports",
        "# The reports, checked",
        "Three earlier reports and a raw log gave this book its questions and its tables (see "
        "[](#the-reports)). These are the findings of rules over every figure they print, with what each "
        "means and what cannot be concluded from it. The reports say little of how they measured; nothing "
        "here says that a figure was made up. The same is printed by `vlmnb audit --source reports`.",
    )


def _page(records: Sequence[Record], source: str, title: str, intro: str) -> str:
    own = [found for found in records if found.source == source]
    if not own:
        return contents.joined([title, intro, "There are no such records here.", _rules(source, [])])
    found = registry.run(own, source)
    levels = Counter(one.level for one in found)
    counts = ", ".join(formatting.counted(levels[level], level) for level in LEVELS)
    parts = [title, intro, f"**{counts}** in {len(own)} records."]
    for level in LEVELS:
        listed = [one for one in found if one.level == level]
        if listed:
            parts.append(f"## {level.capitalize()}s: {TITLES[level]}")
        for rule in dict.fromkeys(one.rule for one in listed):
            same = [one for one in listed if one.rule == rule]
            parts += [f"### {_heading(rule)}", markup.plain(_says(rule, source))]
            parts += [_block(one) for one in same[:MOST]]
            if len(same) > MOST:
                parts.append(f"{len(same) - MOST} more findings of this rule: `vlmnb audit` lists them all.")
    return contents.joined([*parts, _rules(source, found)])


def _block(one: Finding) -> str:
    """A finding: what it means, its figures, its records."""
    figures = markup.facts({markup.escape(name): markup.escape(value) for name, value in one.figures.items()})
    shown = f"**{markup.plain(one.meaning)}** {markup.plain(one.unknown)}".strip()
    return f"{shown}\n\n{figures}\n\n{_records(one.records)}"


def _records(listed: Sequence[Where]) -> str:
    """Links to the files of the records, with the places of a report's figures."""
    items = "".join(f"<li>{_record(where)}</li>" for where in listed)
    found = f"<ul>{items}</ul>"
    if len(listed) > FOLD:
        return f"<details><summary>{len(listed)} records</summary>{found}</details>"
    return found


def _record(where: Where) -> str:
    target = f"../../downloads/records/{where.hardware}/{where.model}/{where.key}.json"
    link = markup.link(where.key, target)
    told = markup.escape(f"{contents.model_title(where.model)}: {where.cell}")
    places = f" ({markup.escape('; '.join(where.places))})" if where.places else ""
    return f"{told}{places}, {link}"


def _rules(source: str, found: Sequence[Finding]) -> str:
    """Every rule and how often it found something; a rule without findings holds everywhere."""
    counts = Counter(one.rule for one in found)
    rows = [
        [f"<code>{rule.name}</code>", markup.escape(rule.says), str(counts[rule.name])]
        for rule in registry.RULES
        if rule.source == source
    ]
    return "## The rules\n\n" + markup.table(["Rule", "What must hold", "Findings"], rows, text=(1,))


def _heading(rule: str) -> str:
    """A rule's name as a heading."""
    words = " ".join(SPELLED.get(word, word) for word in rule.split("-"))
    return words[0].upper() + words[1:]


def _says(rule: str, source: str) -> str:
    return next(one.says for one in registry.RULES if (one.name, one.source) == (rule, source))
