"""The table of what optimizations do to the answers, and the mark of those that change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlmnb.analysis.agreement import Agreement
from vlmnb.analysis.answer_changes import SIGNIFICANT, AnswerChange
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.views import fields
from vlmnb.views.marks import CHANGED
from vlmnb.views.table import Field, Row, Table, missing, without
from vlmnb.views.templates import say

HEADS = (
    axes.AXES["optimization"].row_title, "Identical answers", "WER between the answers", "Logit difference",
    "Score higher / lower", "p of the scores", "Beyond the noise",
)  # fmt: skip


def table(
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
    names = {cell.optimization for cell, own in changes.items() if own.changed}

    def name(field: Field) -> Field:
        return replace(field, text=field.text + CHANGED, title="changes answers beyond the noise")

    rows = ((name(row[0]), *row[1:]) if row[0].text in names else row for row in made.rows)
    return replace(made, rows=tuple(rows))


def _fields(own: AnswerChange, key: str) -> Row:
    found, logits = own.answers, without("no logits on record", key)
    if own.logits is not None:
        logits = Field(f"{own.logits:.3g}", "of one question, without an interval", key)
    if found is None:
        none = without("random weights: answers have no meaning", key)
        return none, none, logits, none, none, none
    counts = f"{found.identical} of {found.total}, 95 % interval"
    scores = scores_p = without("the data set has no score", key)
    if found.gained is not None:
        scores = Field(f"{found.gained} / {found.lost}", "counted", key)
    if own.score_p_value is not None:
        scores_p = Field(f"{own.score_p_value:.3g}", "two-sided sign test", key)
    beyond = {True: "yes", False: "no", None: "not known"}[own.changed]
    reason = "no run at another batch size to compare with"
    if own.p_value is not None:
        beyond, reason = f"{beyond}, p = {own.p_value:.2g}", "one-sided sign test"
    return (
        fields.share(found.share, (found.low, found.high), counts, key, " %"),
        _between(found, key),
        logits,
        scores,
        scores_p,
        Field(beyond, reason, key, words=True),
    )


def _between(found: Agreement, key: str) -> Field:
    """Show the word error rate between the answers of both runs."""
    if found.wer is None or found.wer_ends is None:
        return without("empty answers", key)
    return fields.fraction(found.wer, found.wer_ends, f"{found.total} answers", key)
