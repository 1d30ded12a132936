"""The work of ``vlmnb audit``: check the records, print the findings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import get_args

from rich import markup
from rich.console import Console

from vlmnb.audit import damaged_files, registry
from vlmnb.audit.rule import FOLDED, TITLES, alike
from vlmnb.errors import UserError, nearest
from vlmnb.files import templates
from vlmnb.records import record_file, turns
from vlmnb.stats.formatting import counted
from vlmnb.types import Source

SHOWN_RECORDS = 3
"""A terminal names this many records per finding, none of many alike; ``--json`` and the book name all."""

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
WHOSE = {"measured": "measured records", "reports": "the earlier reports' own figures"}


def run(results: Path, source: str, *, as_json: bool) -> int:
    """Check the records of a source, or of all, print what was found, and return 1 if that is an error."""
    sources: tuple[Source, ...] = get_args(Source)
    if source and source not in sources:
        raise UserError(f"no source {source!r}; {nearest(source, sources)}")
    if not results.is_dir():
        raise UserError(f"no folder {results}; measure something first, or name the records with --results")
    records, damaged = record_file.read_all(results)
    sources_found = {found.source for found in records} | {damaged_files.source(one) for one in damaged}
    chosen = [name for name in sources if name in sources_found and source in ("", name)]
    if not chosen:
        raise UserError(f"{results} holds no record{f' of source {source}' if source else ''} to check")
    known = turns.read(results)
    found = {
        name: damaged_files.findings(damaged, name) + registry.run(records, name, known=known)
        for name in chosen
    }
    counts = {name: sum(r.source == name for r in records) for name in chosen}
    errors = {name: sum(one.level == "error" for one in listed) for name, listed in found.items()}
    code = int(any(errors.values()))
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
        console = Console(highlight=False)
        text = templates.render(
            "vlmnb.cli", "audit_findings.txt.j2", found=found, counts=counts, errors=errors, code=code,
            groups={name: alike(listed) for name, listed in found.items()}, folded=FOLDED,
            rules=Counter(of for _, of, _ in rules), titles=TITLES, styles=STYLES, shown=SHOWN_RECORDS,
            whose=WHOSE, counted=counted, escape=markup.escape, width=console.width,
        )  # fmt: skip
        console.print(text, soft_wrap=True, end="")
    return code
