"""A/A repeats: one cell measured in several windows, and what that says about differences between cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vlmnb import data, differences, paths, record, stats, store
from vlmnb.differences import Repeatability
from vlmnb.record import Record
from vlmnb.rows import EXPORT_COLUMNS
from vlmnb.spec import Cell
from vlmnb.tables import ONE_READING, Field, Table, absent, seconds

FEWEST = 3
"""Windows from which a threshold is told: two say so little that theirs is of no use."""


def read(results: Path) -> list[Record]:
    """All records of repeats below a folder, found by the index."""
    at = {name: EXPORT_COLUMNS.index(name) for name in ("hardware", "model", "key", "repeat")}
    with store.Index(results, rows=True) as index:
        rows = [row for row in index.rows() if row[at["repeat"]]]
    files = (paths.record(results, *(row[at[name]] for name in ("hardware", "model", "key"))) for row in rows)
    return [record.read(file) for file in files if file.exists()]


def groups(records: Iterable[Record]) -> dict[Cell, tuple[Record, ...]]:
    """Repeats of one cell by that cell, in order: of the newest code alone, on one machine alone.

    Args:
        records: Of one machine.
    """
    found: dict[Cell, dict[str, dict[int, Record]]] = {}
    measured = [r for r in records if r.cell.repeat and r.latency is not None and r.source == "measured"]
    for one in sorted(measured, key=lambda r: r.provenance.started_at):
        cell = one.cell.model_copy(update={"repeat": 0})
        by_code = found.setdefault(cell, {})
        # Windows of the code that measured last stand last.
        windows = by_code.pop(one.provenance.code, {})
        by_code[one.provenance.code] = {**windows, one.cell.repeat: one}
    return {
        cell: tuple(windows for _, windows in sorted(list(by_code.values())[-1].items()))
        for cell, by_code in found.items()
    }


def of(windows: Sequence[Record]) -> Repeatability | None:
    """What the windows of one cell say; None where they are too few, or the same window twice."""
    if len(windows) < FEWEST:
        return None
    try:
        return differences.repeatability([window.full_batches_s for window in windows])
    except ValueError:
        return None


def drift(records: Iterable[Record], hardware: str, device: str) -> float | None:
    """Relative difference that two windows of one cell may show on a machine's device; None: not known.

    The largest threshold of the cells that were repeated there: a smaller one would hold for some only.
    """
    own = [r for r in records if r.hardware == hardware and r.cell.device == device]
    known = (of(windows) for windows in groups(own).values())
    return max((found.threshold for found in known if found), default=None)


def table(records: Sequence[Record]) -> Table:
    """One row per window: median with its interval, and what disturbed it."""
    rows = []
    for one in sorted(records, key=lambda r: (r.cell.dataset, r.cell.length, r.cell.repeat)):
        first = (Field(data.get(one.cell.dataset).title, words=True), Field(one.cell.length, words=True),
                 Field(str(one.cell.repeat)))  # fmt: skip
        latency, load = one.latency, one.provenance.other_load
        if latency is None:
            rows.append((*first, *(absent(one) for _ in range(4))))
            continue
        rows.append(
            (
                *first,
                seconds(latency, one.key),
                Field(stats.verdict(one.full_batches_s), key=one.key, words=True),
                Field(f"{100 * load:.0f} %" if load is not None else "-", ONE_READING, one.key),
                Field(one.provenance.started_at[11:19] or "-", "UTC", one.key),
            )
        )
    heads = (
        "Data set",
        "Answers",
        "Window",
        "Latency per batch, s [95 %]",
        "Verdict",
        "Load by others",
        "Began",
    )
    return Table("Windows of one and the same cell, each with the model loaded anew", heads, tuple(rows))


def text(records: Sequence[Record]) -> str:
    """Markdown list: the threshold of each repeated cell, and what it means."""
    lines = []
    for cell, windows in groups(records).items():
        found = of(windows)
        name = f"{data.get(cell.dataset).title}, answers of {cell.length} length"
        if found is None:
            lines.append(f"- {name}: {len(windows)} windows say nothing; {FEWEST} or more do.")
            continue
        lines.append(
            f"- {name}: medians of {found.windows} windows spread by {percent(found.spread)} %. Two windows "
            f"of this cell differ by less than {percent(found.threshold)} % in 95 % of cases: a smaller "
            f"difference between two cells is no evidence. One of {percent(found.detectable)} % would be "
            f"found in {100 * differences.POWER:.0f} % of cases."
        )
        disturbed = sum(
            bool(w.provenance.conditions and w.provenance.conditions.contaminated) for w in windows
        )
        if disturbed:
            lines[-1] += (
                f" Others used the machine during {disturbed} of them; on a quieter one windows differ less."
            )
    return "\n".join(lines) or "- No window of this page could be measured on this machine."


def percent(share: float) -> str:
    """A share in percent, two digits where it is small."""
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"
