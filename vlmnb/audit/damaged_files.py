"""Report damaged files, which no rule over records can see."""

from __future__ import annotations

from collections.abc import Iterable

from vlmnb.audit.rule import Finding, Where, grouped
from vlmnb.errors import Damaged
from vlmnb.records import record
from vlmnb.types import Source

RULE = "every-file-is-a-record"
SAYS = "Every file in a record's place can be read and is as it was written."

AGAIN: dict[Source, str] = {
    "measured": "The next sweep over its cell measures it again and keeps the file as <key>.damaged.",
    "reports": "`vlmnb reports` writes it again.",
}


def source(damaged: Damaged) -> Source:
    """Return the source that a file's folder belongs to."""
    return "reports" if damaged.path.parts[-3] == record.REPORTS else "measured"


def findings(damaged: Iterable[Damaged], of: Source) -> list[Finding]:
    """Return one finding for each kind of damage to files of a source."""
    return [
        Finding(
            level="error", rule=RULE, records=tuple(map(_where, files)), figures={"files": str(len(files))},
            meaning=f"The file {files[0].why}. No table counts it.", unknown=AGAIN[of],
        )
        for files in grouped((one for one in damaged if source(one) == of), lambda one: one.why)
    ]  # fmt: skip


def _where(damaged: Damaged) -> Where:
    *_, hardware, model, _ = damaged.path.parts
    return Where(key=damaged.path.stem, hardware=hardware, model=model, cell=damaged.why)
