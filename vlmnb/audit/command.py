"""What ``vlmnb audit`` does with its options."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.padding import Padding

from vlmnb import record
from vlmnb.audit import registry
from vlmnb.audit.finding import LEVELS, TITLES, Finding
from vlmnb.errors import UserError, nearest
from vlmnb.spec import Source

SHOWN_RECORDS = 3
"""Records that a finding names on a terminal; ``--json`` and the book have all."""

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}


def run(results: Path, source: str, *, as_json: bool) -> int:
    """Check the records and print what was found.

    Args:
        results: Folder of the records.
        source: ``measured``, ``reports``, or empty for both.
        as_json: For a program.

    Returns:
        1 where there is a finding of level error, else 0.

    Raises:
        UserError: There is no such source or folder, or no record of the source in it.
    """
    sources = get_args(Source)
    if source and source not in sources:
        raise UserError(f"no source {source!r}; {nearest(source, sources)}")
    if not results.is_dir():
        raise UserError(f"no folder {results}; measure something first, or name the records with --results")
    records, problems = record.read_all(results)
    chosen = [source] if source else [name for name in sources if any(r.source == name for r in records)]
    if not any(found.source in chosen for found in records):
        raise UserError(f"{results} holds no record{f' of source {source}' if source else ''} to check")
    found = {name: registry.run(records, name) for name in chosen}
    counts = {name: sum(r.source == name for r in records) for name in chosen}
    errors = {name: sum(one.level == "error" for one in listed) for name, listed in found.items()}
    if as_json:
        print(json.dumps(_document(found, counts, errors, problems), indent=1, ensure_ascii=False))
    else:
        _show(found, counts)
        print("\n".join(_verdict(errors)))
        for problem in problems:
            print(f"vlmnb: left out: {problem}", file=sys.stderr)
    return int(any(errors.values()))


WHOSE = {"measured": "measured records", "reports": "the earlier reports' own figures"}


def _verdict(errors: dict[str, int]) -> list[str]:
    """Whose errors decide the exit code, and how to ask about one source alone."""
    told = [f"{_counted(count, 'error')} in {WHOSE[name]} (source {name})" for name, count in errors.items()]
    lines = [f"{', '.join(told)}: exit code {int(any(errors.values()))}."]
    if errors.get("reports") and "measured" in errors:
        lines.append("To check what was measured alone: vlmnb audit --source measured")
    return lines


def _document(
    found: dict[str, list[Finding]], counts: dict[str, int], errors: dict[str, int], problems: Sequence[str]
) -> dict[str, object]:
    return {
        "records": counts,
        "errors": errors,
        "findings": [
            {"source": source, **one.model_dump(mode="json")}
            for source, listed in found.items()
            for one in listed
        ],
        "rules": [
            {"name": rule.name, "source": rule.source, "says": rule.says}
            for rule in registry.RULES
            if rule.source in found
        ],
        "left_out": list(problems),
    }


def _show(found: dict[str, list[Finding]], counts: dict[str, int]) -> None:
    console = Console(highlight=False, soft_wrap=False)
    for source, listed in found.items():
        rules = sum(rule.source == source for rule in registry.RULES)
        levels = Counter(one.level for one in listed)
        told = ", ".join(_counted(levels[level], level) for level in LEVELS)
        console.print(f"{counts[source]} records of source {source}, {rules} rules: {told}", style="bold")
        for level in LEVELS:
            if levels[level]:
                console.print(f"\n{level.upper()}: {TITLES[level]}", style=STYLES[level])
            for one in listed:
                if one.level == level:
                    _show_one(console, one)
        console.print()


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _show_one(console: Console, one: Finding) -> None:
    console.print(f"\n  {one.rule}", style="bold")
    lines = [one.meaning, one.unknown]
    lines.append("; ".join(f"{name}: {value}" for name, value in one.figures.items()))
    for where in one.records[:SHOWN_RECORDS]:
        lines.append(f"- {where.hardware}/{where.model}/{where.key}.json ({where.cell})")
    if len(one.records) > SHOWN_RECORDS:
        lines.append(f"- and {len(one.records) - SHOWN_RECORDS} more")
    for line in filter(None, lines):
        console.print(Padding(line, (0, 0, 0, 4)), markup=False)
