"""Compare a report with its raw log: digits, figures that the log does not have, the log's heading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from vlmnb.audit.reports import printed
from vlmnb.audit.reports.flops import CONVENTIONS, Count, counts_of, span
from vlmnb.audit.reports.printed import CellFigure, Row
from vlmnb.audit.rule import Draft, found, grouped, rule
from vlmnb.records.record import Record
from vlmnb.records.reported import digits, step

NO_PASS = "none"
"""Shown where a count is no forward pass in any reading."""

Pair = tuple[CellFigure, CellFigure]
"""A report's figure of a cell, and the log's figure of the same."""


@rule("reports")
def digits_rounded(records: Sequence[Record]) -> Iterator[Draft]:
    """Where the log has all digits, the report's figure is the log's, rounded."""
    pairs = [pair for pair in _with_log(records) if None not in (one.figure.value for one in pair)]
    longer = [(a, b) for a, b in pairs if digits(b.figure.printed) > digits(a.figure.printed)]
    for group in grouped(longer, lambda pair: pair[0].figure.file):
        kinds = Counter(map(_rounding, group))
        cut = [pair for pair in group if _rounding(pair) == "cut"]
        if not cut:
            continue
        worst = max(cut, key=lambda pair: (pair[1].number - pair[0].number) / (pair[0].number or 1))
        values: dict[str, Any] = {
            "kinds": kinds, "same": kinds.total() - kinds["other"], "others": kinds["other"] or None,
            "file": worst[0].figure.file, "short": worst[0].shown, "full": worst[1].shown,
        }  # fmt: skip
        case = "some rounded up" if kinds["up"] else "all cut off"
        yield found(case, [short.where for short, _ in cut], **values)


@rule("reports")
def figures_stand_in_their_log(records: Sequence[Record]) -> Iterator[Draft]:
    """A figure of a report is in the raw log behind it, where the log has its row."""
    pairs = [pair for pair in _with_log(records) if pair[0].figure.value is not None]
    counts = {(c.record.key, c.figure.value): c for c in counts_of(records)}
    for group in grouped(pairs, lambda p: (p[0].cell.model, p[0].figure.quantity, p[0].figure.printed)):
        absent = [short for short, full in group if full.figure.value is None]
        if not absent:
            continue
        known = [pair for pair in group if pair[1].figure.value is not None]
        other = [full.figure for short, full in known if not printed.prints(short.figure, full.number)]
        listed = [one for pair in group for one in pair]
        ways = {
            one.figure.printed: _ways(counts[one.record.key, one.figure.value])
            for one in listed
            if absent[0].figure.quantity == "flops" and (one.record.key, one.figure.value) in counts
        }
        passes = [
            f"{text} {'cannot' if way == NO_PASS else 'can'} be one forward pass (flops-of-the-geometry)."
            for text, way in ways.items()
        ]
        differ = f"{len(other)} {'is' if len(other) == 1 else 'are'} {', '.join(f.printed for f in other)}"
        case = "others differ" if other else "blank"
        figures = {one.figure.place: one.figure.printed for pair in zip(*group, strict=True) for one in pair}
        figures |= {f"{text} as a pass over prompts": way for text, way in ways.items()}
        log = group[0][1].figure.file
        values = {"rows": len(group), "blank": len(absent), "differ": differ, "passes": " ".join(passes)}
        yield found(case, [one.where for one in listed], figures, first=absent[0], log=log, **values)


@rule("reports")
def batch_that_the_log_states(records: Sequence[Record]) -> Iterator[Draft]:
    """The figures of a log belong to the batch size that its heading states for their sections."""
    from vlmnb import paths
    from vlmnb.records import report_transcripts

    stated = {t.file: t.quality_batch_size for t in report_transcripts.load(paths.transcripts())}
    logged = [row for row in printed.rows(records) if stated.get(row.file) and row.value("wer") is not None]
    for rows in grouped(logged, lambda row: row.file):
        file, size = rows[0].file, stated[rows[0].file]
        by_batch = {row.cell.batch_size: row for row in rows if row.figures["wer"].axis == "batch_size"}
        named = by_batch.get(size or 0)
        copies = [
            (row, other)
            for row in rows if row.figures["wer"].axis in ("image_size", "seq_len")
            for other in by_batch.values()
            if named and other is not named and _texts(row) == _texts(other) != _texts(named)
        ]  # fmt: skip
        if not named or not copies:
            continue
        other = copies[0][1]
        sections = " and ".join(dict.fromkeys(repr(row.table) for row, _ in copies))
        figures = {
            f"Batch {size} in {named.table!r}": _shown(named),
            f"Batch {other.cell.batch_size} in {other.table!r}": _shown(other),
            **{f"In {row.table!r}, {row.name}, {other.cell.dataset}": _shown(row) for row, _ in copies},
        }
        about = [named.where(), other.where(), *(row.where() for row, _ in copies)]
        yield found("", about, figures, file=file, size=size, cell=other.cell, sections=sections)


def _rounding(pair: Pair) -> str:
    """Return how the report's figure was made from the log's: cut, up, either, or other."""
    short, full = pair
    if not printed.prints(short.figure, full.number):
        return "other"
    unit, excess = step(short.figure), full.number - short.number
    if unit / 2 * (1 + 1e-9) < excess < unit:
        return "cut"
    return "up" if excess < 0 else "either"


def _ways(count: Count) -> str:
    ways = [
        f"{CONVENTIONS[factor]} over {samples}: {span(tokens)} text tokens a sample"
        for (factor, samples), tokens in count.readings().items()
    ]
    return "; ".join(ways) or NO_PASS


def _with_log(records: Sequence[Record]) -> Iterator[Pair]:
    """Yield a report's figures of each cell with the log's: one that is no blank, if there is one."""
    for record in records:
        for short in printed.figures(record):
            logged = [f for f in printed.figures(record) if f.kind == "log" and f.quantity == short.quantity]
            if short.kind == "report" and logged:
                full = max(logged, key=lambda f: (f.value is not None, f.axis == short.axis))
                yield CellFigure(record, short), CellFigure(record, full)


def _texts(row: Row) -> dict[str, str]:
    return {name: f.printed for name, f in row.figures.items() if f.value is not None and name != "flops"}


def _shown(row: Row) -> str:
    return ", ".join(printed.shown(f) for f in row.figures.values() if f.value is not None)
