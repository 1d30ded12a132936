"""The work of ``vlmnb audit``: check the records, print the findings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.padding import Padding

from vlmnb.audit import damaged_files, registry
from vlmnb.audit.rule import LEVELS, TITLES, Finding
from vlmnb.errors import Damaged, UserError, nearest
from vlmnb.stats.formatting import counted
from vlmnb.types import Source

SHOWN_RECORDS = 3
"""A terminal names this many records per finding; ``--json`` and the book name all."""

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}


def run(results: Path, source: str, *, as_json: bool) -> int:
    """Check the records and print what was found.

    Args:
        results: Folder of the records.
        source: ``measured``, ``reports``, or empty for both.
        as_json: Whether to print JSON.

    Returns:
        1 if there is a finding of level error, else 0.

    Raises:
        UserError: There is no such source or folder, or the folder has no record of the source.
    """
    sources: tuple[Source, ...] = get_args(Source)
    if source and source not in sources:
        raise UserError(f"no source {source!r}; {nearest(source, sources)}")
    if not results.is_dir():
        raise UserError(f"no folder {results}; measure something first, or name the records with --results")
    records, damaged = damaged_files.read(results)
    sources_found = {found.source for found in records} | {damaged_files.source(one) for one in damaged}
    chosen = [name for name in sources if name in sources_found and source in ("", name)]
    if not chosen:
        raise UserError(f"{results} holds no record{f' of source {source}' if source else ''} to check")
    found = {name: damaged_files.findings(damaged, name) + registry.run(records, name) for name in chosen}
    counts = {name: sum(r.source == name for r in records) for name in chosen}
    errors = {name: sum(one.level == "error" for one in listed) for name, listed in found.items()}
    if as_json:
        print(json.dumps(_document(found, counts, errors, damaged), indent=1, ensure_ascii=False))
    else:
        _show(found, counts)
        print("\n".join(_verdict(errors)))
    return int(any(errors.values()))


WHOSE = {"measured": "measured records", "reports": "the earlier reports' own figures"}


def _verdict(errors: Mapping[Source, int]) -> list[str]:
    """Return the number of errors per source and the exit code, and how to check one source alone."""
    parts = [f"{counted(count, 'error')} in {WHOSE[name]} (source {name})" for name, count in errors.items()]
    lines = [f"{', '.join(parts)}: exit code {int(any(errors.values()))}."]
    if errors.get("reports") and "measured" in errors:
        lines.append("To check only your own records: vlmnb audit --source measured")
    return lines


def _document(
    found: Mapping[Source, list[Finding]], counts: Mapping[Source, int], errors: Mapping[Source, int],
    damaged: Sequence[Damaged],
) -> dict[str, object]:  # fmt: skip
    return {
        "records": counts,
        "errors": errors,
        "findings": [
            {"source": source, **one.model_dump(mode="json")}
            for source, listed in found.items()
            for one in listed
        ],
        "rules": [
            {"name": damaged_files.RULE, "source": source, "says": damaged_files.SAYS} for source in found
        ]
        + [
            {"name": rule.name, "source": rule.source, "says": rule.says}
            for rule in registry.RULES
            if rule.source in found
        ],
        "left_out": [str(one) for one in damaged],
    }


def _show(found: Mapping[Source, list[Finding]], counts: Mapping[Source, int]) -> None:
    console = Console(highlight=False, soft_wrap=False)
    for source, listed in found.items():
        rules = 1 + sum(rule.source == source for rule in registry.RULES)
        levels = Counter(one.level for one in listed)
        counts_by_level = ", ".join(counted(levels[level], level) for level in LEVELS)
        console.print(
            f"{counts[source]} records of source {source}, {rules} rules: {counts_by_level}", style="bold"
        )
        for level in LEVELS:
            if levels[level]:
                console.print(f"\n{level.upper()}: {TITLES[level]}", style=STYLES[level])
            for one in listed:
                if one.level == level:
                    _show_one(console, one)
        console.print()


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
