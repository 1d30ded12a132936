"""Rules over what the reports print: one value for one cell, percentages, rows of other models, blanks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.rule import Finding, finding, rules, where
from vlmnb.fit import shape
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Quantity, digits

FEWEST_EQUAL = 2
"""Figures that two rows must share to count as one row printed twice."""

TELLING_DIGITS = 3
"""Digits a figure must have to count there: shorter ones agree by chance."""

BASES: dict[Quantity, Quantity] = {
    "latency_percent": "latency_s",
    "flops_percent": "flops",
    "energy_percent": "energy_j_per_sample",
}
"""What each percent column is a percentage of."""

QUANTITIES: dict[Quantity, str] = {
    "wer": "The WER",
    "latency_s": "The latency",
    "energy_j_per_sample": "The energy per sample",
    "flops": "The count of FLOPs",
    "latency_percent": "The latency in percent",
    "flops_percent": "The count of FLOPs in percent",
    "energy_percent": "The energy in percent",
}

NUMBERS: tuple[Quantity, ...] = ("wer", "latency_s", "energy_j_per_sample", "flops")


def one_value_for_one_cell(records: Sequence[Record]) -> Iterator[Finding]:
    """A cell that stands in several tables has one value there, cut off or rounded."""
    for record in records:
        for one, other in record.reported.conflicts() if record.reported else ():
            assert one.value is not None
            assert other.value is not None
            yield finding(
                "error",
                [where(record, (one, other))],
                {
                    one.place: printed.shown(one),
                    other.place: printed.shown(other),
                    "Ratio": f"{other.value / one.value:.4g}",
                },
                f"{QUANTITIES[one.quantity]} of {record.cell.model} on {record.cell.dataset} at batch "
                f"{record.cell.batch_size} has two values that are not one number, rounded or cut off.",
                "Which is right, or whether the cell was measured twice, is not stated.",
            )


def percent_of_its_base(records: Sequence[Record]) -> Iterator[Finding]:
    """A percentage is the row's figure over that of the original in the same table, to its printed digits."""
    found = printed.rows(records)
    for row in found:
        for percent, quantity in BASES.items():
            told, top = row.figures.get(percent), row.figures.get(quantity)
            base = _original(found, row, percent, quantity)
            if told is None or told.value is None or top is None or top.value is None or base is None:
                continue
            assert base.value is not None
            low, high = (
                printed.ends(top)[0] / printed.ends(base)[1],
                printed.ends(top)[1] / printed.ends(base)[0],
            )
            least, most = printed.ends(told)
            if 100 * low > most or 100 * high < least:
                right = 100 * top.value / base.value
                yield finding(
                    "error",
                    [row.where(percent, quantity)],
                    {
                        "Printed": f"{told.printed} %",
                        "Row": printed.shown(top),
                        "Original": printed.shown(base),
                        "Recomputed": f"{right:.2f} %",
                    },
                    f"The percentage is not that of its own row: {top.printed} is {right:.2f} % of "
                    f"{base.printed}, and {told.printed} is printed.",
                    "Whether a digit was lost on the way or the percentage is of other figures cannot be "
                    "told.",
                )


def source_of_one_model(records: Sequence[Record]) -> Iterator[Finding]:
    """A report or log on one model holds no figures of another."""
    models: dict[str, Counter[str]] = {}
    for record in records:
        for figure in record.reported.figures if record.reported else ():
            models.setdefault(figure.file, Counter())[record.cell.model] += 1
    for row in printed.rows(records):
        (main, _), *others = models[row.file].most_common()
        if not others or row.record.cell.model == main:
            continue
        same = [
            other for other in printed.rows([row.record]) if other.file != row.file and _equal(row, other)
        ]
        figures = {f.place: printed.shown(f) for f in row.figures.values()}
        figures |= {f.place: printed.shown(f) for other in same for f in _equal(row, other).values()}
        yield finding(
            "error",
            [row.where(), *(other.where() for other in same)],
            figures,
            f"In the source on {main}, under {row.table!r}, stands a row of {row.record.cell.model}: "
            f"{len({name for other in same for name in _equal(row, other)})} figures are, to every digit "
            "printed there, those of that model's report.",
            f"What the section was to hold of {main} is lost, and with it the origin of what the report on "
            f"{main} prints in its place.",
        )


def row_of_one_model(records: Sequence[Record]) -> Iterator[Finding]:
    """No row of figures stands under two models."""
    found = [row for row in printed.rows(records) if row.figures]
    for one, other in combinations(found, 2):
        if one.record.cell.model == other.record.cell.model:
            continue
        same = _equal(one, other)
        if len(same) >= FEWEST_EQUAL:
            yield finding(
                "error",
                [one.where(*same), other.where(*same)],
                {
                    f.place: printed.shown(f)
                    for f in (*same.values(), *(other.figures[name] for name in same))
                },
                f"{len(same)} figures of a row are the same under {one.record.cell.model} and "
                f"{other.record.cell.model}: a result pasted in the wrong place.",
                "Which of the two models it belongs to cannot be told from the figures.",
            )


def blank_with_a_reason(records: Sequence[Record]) -> Iterator[Finding]:
    """What was not measured says why."""
    from vlmnb.records.report_transcripts import NO_REASON

    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.status != "ok" and record.reason == NO_REASON:
            groups.setdefault(record.cell.model, []).append(record)
    for model, own in groups.items():
        yield finding(
            "note",
            own,
            {"Cells": str(len(own))},
            f"{len(own)} cells of {model} are blank and nothing says why.",
            "Whether they failed, ran out of memory or were never tried is not known.",
        )


def image_size_that_is_seen(records: Sequence[Record]) -> Iterator[Finding]:
    """The image size in a header is the one the model sees."""
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        if record.reported and record.reported.figures:
            groups.setdefault((record.cell.model, record.cell.image_size), []).append(record)
    for (model, size), own in groups.items():
        if expected_flops.prefill(model, size, 1) is None:
            continue  # a model that the registry no longer has
        of = shape.of(model)
        if of.side(size) != size:
            yield finding(
                "note",
                own,
                {
                    "Header": f"{size} px",
                    "Seen by the model": f"{of.side(size)} px",
                    "Image tokens": str(of.image_tokens(size)),
                },
                f"The headers say {size} pixels; the geometry of {model} takes {of.side(size)} and makes "
                f"{of.image_tokens(size)} tokens of every image.",
                "Whether the images were first brought to the smaller size, which costs detail, is not "
                "stated.",
            )


def _original(found: Sequence[Row], row: Row, percent: Quantity, quantity: Quantity) -> Figure | None:
    """The figure of the first row of the same table that is 100 % of itself."""
    for other in found:
        if (other.file, other.table) == (row.file, row.table) and other.value(percent) == 100:
            figure = other.figures.get(quantity)
            return figure if figure is not None and figure.value is not None else None
    return None


def _equal(one: Row, other: Row) -> dict[Quantity, Figure]:
    """Figures of a row, long enough to tell, that another row prints too, cut off, rounded or in full."""
    same: dict[Quantity, Figure] = {}
    for name in NUMBERS:
        a, b = one.figures.get(name), other.figures.get(name)
        if a is None or b is None or a.value is None or b.value is None:
            continue
        short, full = sorted((a, b), key=lambda figure: digits(figure.printed))
        assert full.value is not None
        if digits(short.printed) >= TELLING_DIGITS and printed.prints(short, full.value):
            same[name] = a
    return same


RULES = rules(
    "reports",
    (
        one_value_for_one_cell, source_of_one_model, row_of_one_model, percent_of_its_base,
        image_size_that_is_seen, blank_with_a_reason,
    ),
)  # fmt: skip
