"""Rules that hold a report against its raw log: digits, figures the log does not have, the log's heading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from vlmnb.audit.reports import printed
from vlmnb.audit.reports.flops import CONVENTIONS, Count, counts_of, span
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.rule import Finding, finding, rules, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, digits


def digits_rounded(records: Sequence[Record]) -> Iterator[Finding]:
    """Where the log has all digits, the report's figure is the log's, rounded."""
    told: dict[str, list[tuple[Record, Figure, Figure]]] = {}
    kinds: dict[str, Counter[str]] = {}
    for record in records:
        for short, full in _beside_the_log(record):
            if short.value is None or full.value is None or digits(full.printed) <= digits(short.printed):
                continue
            kind = (
                "other" if not printed.prints(short, full.value)
                else "cut" if printed.cut_not_rounded(short, full.value)
                else "up" if full.value < short.value
                else "either"
            )  # fmt: skip
            kinds.setdefault(short.file, Counter())[kind] += 1
            if kind == "cut":
                told.setdefault(short.file, []).append((record, short, full))
    for file, cases in told.items():
        worst = max(
            cases, key=lambda case: ((case[2].value or 0) - (case[1].value or 0)) / (case[1].value or 1)
        )
        found = kinds[file]
        same = found.total() - found["other"]
        others = {"Another number, and not counted": str(found["other"])} if found["other"] else {}
        yield finding(
            "note",
            [where(record, [short]) for record, short, _ in cases],
            {
                "Cut off": f"{len(cases)} of {same} figures",
                "Rounded up": str(found["up"]),
                "Cut off and rounded are the same": str(found["either"]),
                **others,
                "Printed": printed.shown(worst[1]),
                "In the log": printed.shown(worst[2]),
            },
            f"{len(cases)} of {same} figures of {file} that the log has in full are cut off and not "
            f"rounded{', others are rounded up' if found['up'] else ''}.",
            "The last digit of a figure without a log may be off by one; nothing rests on it here.",
        )


def figures_stand_in_their_log(records: Sequence[Record]) -> Iterator[Finding]:
    """A figure of a report stands in the raw log behind it, where the log has its row."""
    groups: dict[tuple[str, str, str], list[tuple[Record, Figure, Figure]]] = {}
    for record in records:
        for short, full in _beside_the_log(record):
            if short.value is not None:
                key = (record.cell.model, short.quantity, short.printed)
                groups.setdefault(key, []).append((record, short, full))
    readings = {(c.record.key, c.figure.value): c for c in counts_of(records)}
    for (model, _, text), group in groups.items():
        absent = [case for case in group if case[2].value is None]
        if not absent:
            continue
        against = [f for _, s, f in group if f.value is not None and not printed.prints(s, f.value)]
        figures = {short.place: short.printed for _, short, _ in group}
        figures |= {full.place: full.printed for _, _, full in group}
        passes = ""
        if group[0][1].quantity == "flops":
            tried = [
                readings[r.key, f.value] for r, s, o in group for f in (s, o) if (r.key, f.value) in readings
            ]
            ways = {count.figure.printed: _ways(count) for count in tried}
            figures |= {f"{printed_as} as a pass over prompts": way for printed_as, way in ways.items()}
            passes = "".join(
                f" {printed_as} {'can' if way != NO_PASS else 'cannot'} be one forward pass "
                "(flops-of-the-geometry)." for printed_as, way in ways.items()
            )  # fmt: skip
        yield finding(
            "warning",
            [where(record, (short, full)) for record, short, full in group],
            figures,
            f"{absent[0][1].file} prints {text} in {len(group)} rows of {model}; in {absent[0][2].file}, "
            f"the log behind it, {len(absent)} of them are blank"
            + (f" and {len(against)} {'is' if len(against) == 1 else 'are'} "
               f"{', '.join(f.printed for f in against)}" if against else "")
            + f": {len(absent)} figures have no origin in the log.{passes}",
            "That they were made up does not follow: another run may have given them, and the log need not "
            "hold all. That a count can be one pass does not make it right.",
        )  # fmt: skip


def batch_that_the_log_states(records: Sequence[Record]) -> Iterator[Finding]:
    """The figures of a log are of the batch size that its heading states for their sections."""
    from vlmnb import paths
    from vlmnb.records import report_transcripts

    stated = {t.file: t.quality_batch_size for t in report_transcripts.load(paths.transcripts())}
    found = [row for row in printed.rows(records) if stated.get(row.file) and row.value("wer") is not None]
    for file in dict.fromkeys(row.file for row in found):
        size, own = stated[file], [row for row in found if row.file == file]
        by_batch = {row.record.cell.batch_size: row for row in own if row.figures["wer"].axis == "batch_size"}
        if size not in by_batch:
            continue
        copies = [
            (row, batch, other)
            for row in own if row.figures["wer"].axis in ("image_size", "seq_len")
            for batch, other in by_batch.items()
            if batch != size and _texts(row) == _texts(other) != _texts(by_batch[size])
        ]  # fmt: skip
        if not copies:
            continue
        _, batch, other = copies[0]
        sections = list(dict.fromkeys(row.table for row, _, _ in copies))
        cell = other.record.cell
        yield finding(
            "warning",
            [by_batch[size].where(), other.where(), *(row.where() for row, _, _ in copies)],
            {
                "Stated for quality": f"batch size {size}",
                f"Batch {size} in {by_batch[size].table!r}": _shown(by_batch[size]),
                f"Batch {batch} in {other.table!r}": _shown(other),
                **{f"In {row.table!r}, {row.name}, {cell.dataset}": _shown(row) for row, _, _ in copies},
            },
            f"The heading of {file} states batch size {size} for quality, and the figures of {cell.model} on "
            f"{cell.dataset} in {' and '.join(map(repr, sections))} are, to every digit, those of batch "
            f"{batch}.",
            "Of the other data sets and sizes the log has no row by batch to hold them against; the report "
            f"made of it says batch {cell.batch_size}, and they are filed under that.",
        )


NO_PASS = "none"
"""Stands where a count is no forward pass in any reading."""


def _ways(count: Count) -> str:
    told = [
        f"{CONVENTIONS[factor]} over {samples}: {span(tokens)} text tokens a sample"
        for (factor, samples), tokens in count.readings().items()
    ]
    return "; ".join(told) or NO_PASS


def _beside_the_log(record: Record) -> Iterator[tuple[Figure, Figure]]:
    """A report's figures of a cell, each with the log's: one that is no blank, if there is one."""
    figures = record.reported.figures if record.reported else ()
    for short in figures:
        same = [f for f in figures if f.kind == "log" and f.quantity == short.quantity]
        if short.kind == "report" and same:
            yield short, max(same, key=lambda f: (f.value is not None, f.axis == short.axis))


def _texts(row: Row) -> dict[str, str]:
    return {name: f.printed for name, f in row.figures.items() if f.value is not None and name != "flops"}


def _shown(row: Row) -> str:
    return ", ".join(printed.shown(f) for f in row.figures.values() if f.value is not None)


RULES = rules("reports", (digits_rounded, figures_stand_in_their_log, batch_that_the_log_states))
