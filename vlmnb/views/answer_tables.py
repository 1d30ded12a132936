"""Tables of answers compared with those of another run: by batch size and precision, and by optimization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlmnb.analysis.agreement import SIGNIFICANT, AnswerChange, Matrix, agreement, comparable
from vlmnb.data import catalogue
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import DTYPES
from vlmnb.stats.formatting import digits
from vlmnb.views import fields
from vlmnb.views.marks import CHANGED
from vlmnb.views.table import Field, Row, Table, missing, without
from vlmnb.views.templates import say

HEADS = (
    axes.AXES["optimization"].row_title, "Identical answers", "WER between the answers", "Logit difference",
    "Score higher / lower", "p of the scores", "Beyond the noise",
)  # fmt: skip
SMALL = 0.001
"""A logit difference below it is shown as smaller: its digits are those of rounding."""


def agreement_table(found: Matrix) -> Table:
    """Make a table of identical answers: rows by batch size, columns by optimization."""
    rows = tuple(
        (
            Field(str(size)),
            *(_identical(found.reference, found.runs.get((size, name))) for name in found.optimizations),
        )
        for size in found.sizes
    )
    cell = found.reference.cell
    caption = say(
        "answers", "matrix", title=catalogue.get(cell.dataset).title, cell=cell, recorded=len(found.runs),
        total=len(found.sizes) * len(found.optimizations),
        attention="eager attention" if cell.optimization in DTYPES else cell.optimization,
    )  # fmt: skip
    return Table(caption, ("Batch size", *found.optimizations), rows)


def changes_table(
    changes: Mapping[Cell, AnswerChange], cells: Sequence[Cell], records: Sequence[Record]
) -> Table | None:
    """Make a table with a row for each optimization after the original; None if nothing can be compared."""
    if not changes:
        return None
    found = by_cell(records)
    rows: list[Row] = []
    for cell in cells[1:]:
        record, own = found.get(cell), changes.get(cell)
        name = Field(f"{cell.optimization}{CHANGED if own and own.changed else ''}")
        row = _fields(own, record.key) if own and record else (missing(record),) * (len(HEADS) - 1)
        rows.append((name, *row))
    caption = say(
        "answers", "changes", original=cells[0], noise=next(iter(changes.values())).noise,
        mark=CHANGED.strip(), significant=SIGNIFICANT,
    )  # fmt: skip
    return Table(caption, HEADS, tuple(rows))


def flagged(made: Table, changes: Mapping[Cell, AnswerChange]) -> Table:
    """Mark the optimizations in a table that change answers beyond the original's noise."""
    names = changed(changes)

    def name(field: Field) -> Field:
        return replace(field, text=field.text + CHANGED, title="changes answers beyond the noise")

    rows = ((name(row[0]), *row[1:]) if row[0].text in names else row for row in made.rows)
    return replace(made, rows=tuple(rows))


def changed(changes: Mapping[Cell, AnswerChange]) -> set[str]:
    """Return the names of the optimizations that change answers beyond the original's noise."""
    return {cell.optimization for cell, own in changes.items() if own.changed}


def _identical(reference: Record, record: Record | None) -> Field:
    if record is None or not comparable(record):
        return missing(record, "" if record and record.short else "answers of random weights have no quality")
    try:
        found = agreement(reference, record)
    except ValueError as error:
        return without(str(error), record.key)
    if record.key == reference.key:
        return Field("reference", f"{found.total} answers", record.key, words=True)
    parts = [f"{found.total - found.identical} of {found.total} answers differ"]
    parts += [f"WER between the answers {found.wer:.3f}"] if found.wer is not None else []
    if found.gained is not None:
        parts += [f"score higher in {found.gained}, lower in {found.lost}"]
    return fields.share(found.share, (found.low, found.high), "; ".join(parts), record.key, " %")


def _chance(p_value: float, equals: str = "") -> str:
    """Return a p value with three decimals, or that it is smaller."""
    return "< 0.001" if p_value < 0.0005 else f"{equals}{p_value:.3f}"


def _fields(own: AnswerChange, key: str) -> Row:
    found, logits = own.answers, without("no logits on record", key)
    if own.logits is not None:
        shown = digits(own.logits) if own.logits >= SMALL or not own.logits else f"< {SMALL}"
        logits = Field(shown, f"{own.logits:.3g}, of one question, without an interval", key)
    if found is None:
        none = without("random weights: answers have no meaning", key)
        return none, none, logits, none, none, none
    between, scores, scores_p = (
        without("empty answers", key),
        *[without("the data set has no score", key)] * 2,
    )
    if found.wer is not None and found.wer_ends is not None:
        between = fields.fraction(found.wer, found.wer_ends, f"{found.total} answers", key)
    if found.gained is not None:
        scores = Field(f"{found.gained} / {found.lost}", "counted", key)
    if own.score_p_value is not None:
        scores_p = Field(_chance(own.score_p_value), "two-sided sign test", key)
    beyond = {True: "yes", False: "no", None: "not known"}[own.changed]
    reason = "no run at another batch size to compare with"
    if own.p_value is not None:
        beyond, reason = f"{beyond}, p {_chance(own.p_value, '= ')}", "one-sided sign test"
    return (
        fields.share(found.share, (found.low, found.high), f"{found.identical} of {found.total}", key, " %"),
        between,
        logits,
        scores,
        scores_p,
        Field(beyond, reason, key, words=True),
    )
