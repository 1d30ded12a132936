"""Files in the place of a record that are none, as findings: no rule over records can see them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vlmnb.audit.rule import Finding, Where, finding
from vlmnb.errors import Damaged
from vlmnb.records import record
from vlmnb.records.record import Record
from vlmnb.types import Source

RULE = "every-file-is-a-record"
SAYS = "Every file in a record's place can be read, and is as it was written."

AGAIN: dict[Source, str] = {
    "measured": "a sweep that asks for its cell measures it again and keeps the file as <key>.damaged",
    "reports": "`vlmnb reports` writes it again",
}


def read(results: Path) -> tuple[list[Record], list[Damaged]]:
    """All records below a folder, and what is none."""
    records, damaged = [], []
    for path in record.record_files(results):
        try:
            records.append(record.read(path))
        except Damaged as error:
            damaged.append(error)
    return records, damaged


def source(damaged: Damaged) -> Source:
    """Which source a file would be of, by its folder."""
    return "reports" if damaged.path.parts[-3] == record.REPORTS else "measured"


def findings(damaged: Iterable[Damaged], of: Source) -> list[Finding]:
    """A finding for each way in which files of a source are no records."""
    ways: dict[str, list[Damaged]] = {}
    for one in damaged:
        if source(one) == of:
            ways.setdefault(one.why, []).append(one)
    return [
        finding(
            "error",
            [
                Where(key=one.path.stem, hardware=one.path.parts[-3], model=one.path.parts[-2], cell=why)
                for one in files
            ],
            {"files": str(len(files))},
            f"The file {why}. No table counts it; {AGAIN[of]}.",
        ).model_copy(update={"rule": RULE})
        for why, files in ways.items()
    ]
