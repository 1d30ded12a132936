"""Check what the reports print about a cell: one value, percentages, rows of other models, blanks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.rule import Draft, found, grouped, rule, where
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
def one_value_for_one_cell(records: Sequence[Record]) -> Iterator[Draft]:
    """A cell that several tables print has one value there, cut off or rounded."""
    for record in records:
        for one, other in record.reported.conflicts() if record.reported else ():
            figures = {figure.place: printed.shown(figure) for figure in (one, other)}
            about, ratio = [where(record, (one, other))], other.number / one.number
            yield found("", about, figures, ratio=ratio, column=one.column, cell=record.cell)


@rule("reports")
def percent_of_its_base(records: Sequence[Record]) -> Iterator[Draft]:
    """A percentage is the row's figure over that of the original in the same table, to its printed digits."""
    rows = printed.rows(records)
    for row in rows:
        for percent, quantity in BASES.items():
            base = _original(rows, row, percent).get(quantity)
            if not base or base.value is None or row.value(percent) is None or row.value(quantity) is None:
                continue
            stated, top = row.figures[percent], row.figures[quantity]
            (low, high), (least, most) = printed.ends(top), printed.ends(base)
            if not printed.overlap((100 * low / most, 100 * high / least), printed.ends(stated)):
                figures = {"Row": printed.shown(top), "Original": printed.shown(base)}
                about, right = [row.where(percent, quantity)], top.number / base.number
                values = {"stated": stated, "top": top, "base": base, "cell": row.cell}
                yield found("", about, figures, right=right, **values)


@rule("reports")
def source_of_one_model(records: Sequence[Record]) -> Iterator[Draft]:
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
        figures = {figure.place: printed.shown(figure) for figure in row.figures.values()}
        about = [row.where(), *(other.where() for other, _ in same)]
        count = len({name for _, equal in same for name in equal})
        yield found("", about, figures, main=main, row=row, same=count)


@rule("reports")
def row_of_one_model(records: Sequence[Record]) -> Iterator[Draft]:
    """No row of figures appears under two models."""
    for one, other in combinations(printed.rows(records), 2):
        same = _equal(one, other) if one.cell.model != other.cell.model else {}
        if len(same) >= FEWEST_EQUAL:
            listed = [*same.values(), *(other.figures[name] for name in same)]
            figures = {figure.place: printed.shown(figure) for figure in listed}
            about = [one.where(*same), other.where(*same)]
            yield found("", about, figures, same=len(same), one=one.cell.model, other=other.cell.model)


@rule("reports")
def blank_with_a_reason(records: Sequence[Record]) -> Iterator[Draft]:
    """A blank gives its reason."""
    from vlmnb.records.report_transcripts import NO_REASON

    blank = [record for record in records if record.status != "ok" and record.reason == NO_REASON]
    for own in grouped(blank, lambda record: record.cell.model):
        yield found(about=own, cells=len(own), model=own[0].cell.model)


@rule("reports")
def image_size_that_is_seen(records: Sequence[Record]) -> Iterator[Draft]:
    """The image size in a header is the one that the model sees."""
    shown = [record for record in records if printed.figures(record)]
    for own in grouped(shown, lambda record: (record.cell.model, record.cell.image_size)):
        model, size = own[0].cell.model, own[0].cell.image_size
        known = expected_flops.geometry(model)
        if known and known.side(size) != size:
            seen, tokens = known.side(size), known.image_tokens(size)
            yield found(about=own, model=model, size=size, seen=seen, tokens=tokens)


def _original(rows: Sequence[Row], row: Row, percent: Quantity) -> dict[str, Figure]:
    """Return the figures of the first row of the same table that is 100 % of itself."""
    same = (other for other in rows if (other.file, other.table) == (row.file, row.table))
    return next((other.figures for other in same if other.value(percent) == 100), {})


def _equal(one: Row, other: Row) -> dict[Quantity, Figure]:
    """Return figures of a row, with enough digits, that another row prints too, rounded or cut off or not."""
    same: dict[Quantity, Figure] = {}
    for name in NUMBERS:
        if one.value(name) is not None and other.value(name) is not None:
            short, full = sorted((one.figures[name], other.figures[name]), key=lambda f: digits(f.printed))
            if digits(short.printed) >= TELLING_DIGITS and printed.prints(short, full.number):
                same[name] = one.figures[name]
    return same
