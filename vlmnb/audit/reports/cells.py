"""Check what the reports print about a cell: one value, percentages, rows of other models, blanks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.rule import Finding, error, grouped, note, rule, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Quantity, digits

FEWEST_EQUAL = 2
"""Figures that two rows must share to count as one row printed twice."""

TELLING_DIGITS = 3
"""Digits that a figure must have to count there: shorter ones agree by chance."""

BASES: dict[Quantity, Quantity] = {
    "latency_percent": "latency_s",
    "flops_percent": "flops",
    "energy_percent": "energy_j_per_sample",
}
"""What each percent column is a percentage of."""

NUMBERS: tuple[Quantity, ...] = ("wer", "latency_s", "energy_j_per_sample", "flops")


@rule("reports")
def one_value_for_one_cell(records: Sequence[Record]) -> Iterator[Finding]:
    """A cell that several tables print has one value there, cut off or rounded."""
    for record in records:
        cell = record.cell
        for one, other in record.reported.conflicts() if record.reported else ():
            yield error(
                {
                    one.place: printed.shown(one),
                    other.place: printed.shown(other),
                    "Ratio": f"{other.number / one.number:.4g}",
                },
                f"{one.column} of {cell.model} on {cell.dataset} at batch {cell.batch_size} has two values "
                "that are not one number, rounded or cut off.",
                "Which is right, or whether the cell was measured twice, is not stated.",
                about=[where(record, (one, other))],
            )


@rule("reports")
def percent_of_its_base(records: Sequence[Record]) -> Iterator[Finding]:
    """A percentage is the row's figure over that of the original in the same table, to its printed digits."""
    found = printed.rows(records)
    for row in found:
        for percent, quantity in BASES.items():
            base = _original(found, row, percent, quantity)
            if base is None or row.value(percent) is None or row.value(quantity) is None:
                continue
            stated, top = row.figures[percent], row.figures[quantity]
            (low, high), (least, most) = printed.ends(top), printed.ends(base)
            if printed.overlap((100 * low / most, 100 * high / least), printed.ends(stated)):
                continue
            right = f"{100 * top.number / base.number:.2f} %"
            yield error(
                {
                    "Printed": f"{stated.printed} %",
                    "Row": printed.shown(top),
                    "Original": printed.shown(base),
                    "Recomputed": right,
                },
                f"{top.printed} is {right} of {base.printed}, and {stated.printed} is printed.",
                "A digit may have been lost, or the percentage is of other figures.",
                about=[row.where(percent, quantity)],
            )


@rule("reports")
def source_of_one_model(records: Sequence[Record]) -> Iterator[Finding]:
    """A report or log on one model contains no figures of another."""
    models: dict[str, Counter[str]] = {}
    for record in records:
        for figure in printed.figures(record):
            models.setdefault(figure.file, Counter())[record.cell.model] += 1
    for row in printed.rows(records):
        main = models[row.file].most_common(1)[0][0]
        if row.cell.model == main:
            continue
        others = [other for other in printed.rows([row.record]) if other.file != row.file]
        same = [(other, equal) for other in others if (equal := _equal(row, other))]
        yield error(
            {figure.place: printed.shown(figure) for figure in row.figures.values()},
            f"The source on {main} has, under {row.table!r}, a row of {row.cell.model}: "
            f"{len({name for _, equal in same for name in equal})} figures are those of that model's report.",
            f"The section's own figures of {main} are lost, the origin of what its report prints.",
            about=[row.where(), *(other.where() for other, _ in same)],
        )


@rule("reports")
def row_of_one_model(records: Sequence[Record]) -> Iterator[Finding]:
    """No row of figures appears under two models."""
    for one, other in combinations(printed.rows(records), 2):
        same = _equal(one, other) if one.cell.model != other.cell.model else {}
        if len(same) >= FEWEST_EQUAL:
            listed = [*same.values(), *(other.figures[name] for name in same)]
            yield error(
                {figure.place: printed.shown(figure) for figure in listed},
                f"{len(same)} figures of a row appear under both {one.cell.model} and {other.cell.model}.",
                "The figures do not show which of the two models it belongs to.",
                about=[one.where(*same), other.where(*same)],
            )


@rule("reports")
def blank_with_a_reason(records: Sequence[Record]) -> Iterator[Finding]:
    """A blank gives its reason."""
    from vlmnb.records.report_transcripts import NO_REASON

    blank = [record for record in records if record.status != "ok" and record.reason == NO_REASON]
    for own in grouped(blank, lambda record: record.cell.model):
        yield note(
            {"Cells": str(len(own))},
            f"{len(own)} cells of {own[0].cell.model} are blank without a reason.",
            "Whether they failed, ran out of memory or were never tried is unknown.",
            about=own,
        )


@rule("reports")
def image_size_that_is_seen(records: Sequence[Record]) -> Iterator[Finding]:
    """The image size in a header is the one that the model sees."""
    shown = [record for record in records if printed.figures(record)]
    for own in grouped(shown, lambda record: (record.cell.model, record.cell.image_size)):
        model, size = own[0].cell.model, own[0].cell.image_size
        known = expected_flops.geometry(model)
        if known and known.side(size) != size:
            seen, tokens = known.side(size), known.image_tokens(size)
            yield note(
                {"Header": f"{size} px", "Seen by the model": f"{seen} px", "Image tokens": str(tokens)},
                f"The headers say {size} pixels; {model} takes {seen} and makes {tokens} tokens of an image.",
                "The images may first have been reduced to the smaller size, which costs detail.",
                about=own,
            )


def _original(found: Sequence[Row], row: Row, percent: Quantity, quantity: Quantity) -> Figure | None:
    """Return the figure of the first row of the same table that is 100 % of itself."""
    for other in found:
        if (other.file, other.table) == (row.file, row.table) and other.value(percent) == 100:
            return other.figures[quantity] if other.value(quantity) is not None else None
    return None


def _equal(one: Row, other: Row) -> dict[Quantity, Figure]:
    """Return figures of a row, with enough digits, that another row prints too, rounded or cut off or not."""
    same: dict[Quantity, Figure] = {}
    for name in NUMBERS:
        if one.value(name) is None or other.value(name) is None:
            continue
        short, full = sorted((one.figures[name], other.figures[name]), key=lambda f: digits(f.printed))
        if digits(short.printed) >= TELLING_DIGITS and printed.prints(short, full.number):
            same[name] = one.figures[name]
    return same
