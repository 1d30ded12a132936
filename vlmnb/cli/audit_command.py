"""The work of ``vlmnb audit``: check the records, print the findings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.padding import Padding

from vlmnb.audit import damaged_files, registry
from vlmnb.audit.rule import LEVELS, TITLES, Finding
from vlmnb.errors import UserError, nearest
from vlmnb.stats.formatting import counted
from vlmnb.types import Source

SHOWN_RECORDS = 3
"""A terminal names this many records per finding; ``--json`` and the book name all."""

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
WHOSE = {"measured": "measured records", "reports": "the earlier reports' own figures"}


def run(results: Path, source: str, *, as_json: bool) -> int:
    """Check the records of a source, or of all, and print what was found.

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
    rules = [(damaged_files.RULE, name, damaged_files.SAYS) for name in chosen]
    rules += [(rule.name, rule.source, rule.says) for rule in registry.RULES if rule.source in chosen]
    if as_json:
        document = {
            "records": counts,
            "errors": errors,
            "findings": [
                {"source": name, **one.model_dump(mode="json")}
                for name, listed in found.items()
                for one in listed
            ],
            "rules": [{"name": rule, "source": name, "says": says} for rule, name, says in rules],
            "left_out": [str(one) for one in damaged],
        }
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        for name, listed in found.items():
            count = sum(of == name for _, of, _ in rules)
            _show(f"{counts[name]} records of source {name}, {count} rules", listed)
        parts = [f"{counted(n, 'error')} in {WHOSE[name]} (source {name})" for name, n in errors.items()]
        print(f"{', '.join(parts)}: exit code {int(any(errors.values()))}.")
        if errors.get("reports") and "measured" in errors:
            print("To check only your own records: vlmnb audit --source measured")
    return int(any(errors.values()))


def _show(heading: str, findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=False)
    levels = Counter(one.level for one in findings)
    console.print(f"{heading}: {', '.join(counted(levels[level], level) for level in LEVELS)}", style="bold")
    for level in LEVELS:
        if levels[level]:
            console.print(f"\n{level.upper()}: {TITLES[level]}", style=STYLES[level])
        for one in (one for one in findings if one.level == level):
            console.print(f"\n  {one.rule}", style="bold")
            lines = [one.meaning, one.unknown]
            lines.append("; ".join(f"{name}: {value}" for name, value in one.figures.items()))
            for where in one.records[:SHOWN_RECORDS]:
                lines.append(f"- {where.hardware}/{where.model}/{where.key}.json ({where.cell})")
            if len(one.records) > SHOWN_RECORDS:
                lines.append(f"- and {len(one.records) - SHOWN_RECORDS} more")
            for line in filter(None, lines):
                console.print(Padding(line, (0, 0, 0, 4)), markup=False)
    console.print()
