"""Compare a report with its raw log: digits, figures that the log does not have, the log's heading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmnb.audit.reports import printed
from vlmnb.audit.reports.flops import CONVENTIONS, Count, counts_of, span
from vlmnb.audit.reports.printed import OfCell, Row
from vlmnb.audit.rule import Draft, found, grouped, rule, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, digits, step

NO_PASS = "none"
"""Shown where a count is no forward pass in any reading."""


@dataclass(frozen=True)
class Pair(OfCell):
    """A report's figure of a cell, and the log's figure of the same."""

    short: Figure
    full: Figure


@rule("reports")
def digits_rounded(records: Sequence[Record]) -> Iterator[Draft]:
    """Where the log has all digits, the report's figure is the log's, rounded."""
    longer = [
        pair
        for pair in _with_log(records)
        if pair.short.value is not None
        and pair.full.value is not None
        and digits(pair.full.printed) > digits(pair.short.printed)
    ]
    for pairs in grouped(longer, lambda pair: pair.short.file):
        kinds = Counter(map(_rounding, pairs))
        cut = [pair for pair in pairs if _rounding(pair) == "cut"]
        if not cut:
            continue
        worst = max(cut, key=lambda pair: (pair.full.number - pair.short.number) / (pair.short.value or 1))
        case = "some rounded up" if kinds["up"] else "all cut off"
        about = [where(pair.record, [pair.short]) for pair in cut]
        short, full = printed.shown(worst.short), printed.shown(worst.full)
        same, others = kinds.total() - kinds["other"], kinds["other"] or None
        yield found(
            case, about, kinds=kinds, same=same, others=others, file=worst.short.file, short=short, full=full
        )


@rule("reports")
def figures_stand_in_their_log(records: Sequence[Record]) -> Iterator[Draft]:
    """A figure of a report is in the raw log behind it, where the log has its row."""
    pairs = [pair for pair in _with_log(records) if pair.short.value is not None]
    counts = {(c.record.key, c.figure.value): c for c in counts_of(records)}
    for group in grouped(pairs, lambda p: (p.cell.model, p.short.quantity, p.short.printed)):
        absent = [pair for pair in group if pair.full.value is None]
        if not absent:
            continue
        first = absent[0]
        other = [
            p.full for p in group if p.full.value is not None and not printed.prints(p.short, p.full.value)
        ]
        listed = [(p.record, figure) for p in group for figure in (p.short, p.full)]
        ways = {
            figure.printed: _ways(counts[record.key, figure.value])
            for record, figure in listed
            if first.short.quantity == "flops" and (record.key, figure.value) in counts
        }
        passes = [
            f"{text} {'cannot' if way == NO_PASS else 'can'} be one forward pass (flops-of-the-geometry)."
            for text, way in ways.items()
        ]
        differ = f"{len(other)} {'is' if len(other) == 1 else 'are'} {', '.join(f.printed for f in other)}"
        case = "others differ" if other else "blank"
        about = [where(record, [figure]) for record, figure in listed]
        figures = {p.short.place: p.short.printed for p in group}
        figures |= {p.full.place: p.full.printed for p in group}
        figures |= {f"{text} as a pass over prompts": way for text, way in ways.items()}
        values = {"rows": len(group), "blank": len(absent), "differ": differ, "passes": " ".join(passes)}
        yield found(case, about, figures, first=first, **values)


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
    if not printed.prints(pair.short, pair.full.number):
        return "other"
    unit, excess = step(pair.short), pair.full.number - pair.short.number
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
                yield Pair(
                    record, short, max(logged, key=lambda f: (f.value is not None, f.axis == short.axis))
                )


def _texts(row: Row) -> dict[str, str]:
    return {name: f.printed for name, f in row.figures.items() if f.value is not None and name != "flops"}


def _shown(row: Row) -> str:
    return ", ".join(printed.shown(f) for f in row.figures.values() if f.value is not None)
