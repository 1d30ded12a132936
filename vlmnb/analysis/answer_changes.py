"""What an optimization does to the answers: how far they stray, and whether that is more than noise.

The original's own noise is how its answers differ at another batch size, where padding and kernels round
differently: nothing that a user would call a change. An optimization is flagged where more answers differ
than that explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vlmnb.analysis import agreement
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison
from vlmnb.types import Frozen
from vlmnb.views.axis_table import Field, Table, absent, percent_span

SIGNIFICANT = 0.05
FLAG = " ⚑"
"""Stands behind the name of an optimization that changes answers."""


class Drift(Frozen):
    """Answers of an optimization against the original's to the same questions.

    Attributes:
        answers: The comparison of the answers; None where they say nothing (random weights).
        logits: Largest absolute difference between the logits kept of one question.
        noise: Answers of the original that differ at another batch size; None where none is on record.
        p_value: How likely so many more answers would differ than at another batch size, were it all noise;
            None where the noise is not known.
        score_p_value: How likely such an imbalance of higher and lower scores would be by chance.
    """

    answers: agreement.Agreement | None
    logits: float | None
    noise: int | None
    p_value: float | None
    score_p_value: float | None

    @property
    def changed(self) -> bool | None:
        """Whether answers change beyond the original's noise; None where that cannot be told."""
        if self.answers is None:
            return None
        if self.answers.identical == self.answers.total:
            return False
        return None if self.p_value is None else self.p_value < SIGNIFICANT


def drift(original: Record, own: Record, noise: Record | None) -> Drift:
    """Compare a record with that of the original configuration.

    Args:
        original: Of the configuration that the others are held against.
        own: Of the optimization.
        noise: Of the original at another batch size, or None.

    Raises:
        ValueError: The records hold answers to different questions.
    """
    found = agreement.agreement(original, own) if original.has_quality and own.has_quality else None
    p_value = None
    if found and noise:
        ours, theirs = differing(original, own), differing(original, noise)
        p_value = comparison.one_sided_sign_test(len(ours - theirs), len(theirs - ours))
    score_p_value = None
    if found and found.gained is not None and found.lost is not None:
        score_p_value = comparison.sign_test(found.gained, found.lost)
    return Drift(
        answers=found,
        logits=logit_difference(original, own),
        noise=len(differing(original, noise)) if found and noise else None,
        p_value=p_value,
        score_p_value=score_p_value,
    )


def differing(reference: Record, other: Record) -> frozenset[str]:
    """Questions to which the answers of two records differ."""
    known = {answer.sample_id: answer.answer for answer in reference.answers}
    return frozenset(a.sample_id for a in other.answers if known.get(a.sample_id, a.answer) != a.answer)


def logit_difference(reference: Record, other: Record) -> float | None:
    """Largest absolute difference between the logits of two records; None where they do not compare.

    Those of the second token are compared where both runs chose the same first one.
    """
    one, two = reference.probe, other.probe
    if one is None or two is None or one.vocabulary != two.vocabulary or len(one.values) != len(two.values):
        return None
    same = reference.answers[:1] and other.answers[:1]
    if not same or reference.answers[0].prompt != other.answers[0].prompt:
        return None
    ours, theirs = one.values, two.values
    if one.token == two.token and len(one.step_values) == len(two.step_values):
        ours, theirs = ours + one.step_values, theirs + two.step_values
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def noise_of(original: Record, others: Iterable[Record]) -> Record | None:
    """The run of the original at another batch size whose answers differ most from its own."""
    family = agreement.family(original)
    repeats = [
        other
        for other in by_cell(others).values()
        if other.status == "ok" and other.has_quality and agreement.family(other) == family
        and other.cell.optimization == original.cell.optimization
        and other.cell.batch_size != original.cell.batch_size
        and {a.sample_id for a in other.answers} == {a.sample_id for a in original.answers}
    ]  # fmt: skip
    return max(repeats, key=lambda other: len(differing(original, other)), default=None)


def of_cells(cells: Sequence[Cell], records: Sequence[Record], others: Iterable[Record]) -> dict[Cell, Drift]:
    """The drift of every measured cell against the first one, which is the original."""
    found = by_cell(records)
    original = found.get(cells[0]) if cells else None
    if original is None or original.status != "ok":
        return {}
    noise = noise_of(original, others) if original.has_quality else None
    measured = [found[cell] for cell in cells[1:] if cell in found and found[cell].status == "ok"]
    return {record.cell: drift(original, record, noise) for record in measured}


def table(cells: Sequence[Cell], records: Sequence[Record], others: Iterable[Record]) -> Table | None:
    """One row per optimization; None where there is nothing to compare."""
    drifts, found = of_cells(cells, records, others), by_cell(records)
    if not drifts:
        return None
    rows = []
    for cell in cells[1:]:
        record, own = found.get(cell), drifts.get(cell)
        name = Field(cell.optimization + (FLAG if own and own.changed else ""))
        rows.append((name, *(_fields(own, record.key) if own and record else [absent(record)] * 6)))
    noise = next(iter(drifts.values())).noise
    known = (
        f"at another batch size, {noise} of the original's own answers differ"
        if noise is not None
        else "the original's own noise is not known, as no run of it at another batch size is on record"
    )
    original = f"{cells[0].optimization}, batch {cells[0].batch_size}"
    caption = (
        f"Answers against the original's ({original}), with 95 % intervals; {known}. "
        f"{FLAG.strip()} changes answers beyond that noise (sign test over questions, "
        f"p < {SIGNIFICANT}). Logits: largest difference among those kept of the first question's first "
        "token, by the prompt's pass, and, where that is the same, of the one after it, by a decoding step"
    )
    heads = (
        axes.AXES["optimization"].row_title, "Identical answers", "WER between the answers",
        "Logit difference",
        "Score higher / lower", "p of the scores", "Beyond the noise",
    )  # fmt: skip
    return Table(caption, heads, tuple(rows))


def flagged(made: Table, drifts: dict[Cell, Drift], cells: Sequence[Cell]) -> Table:
    """An optimization table with the names marked that change answers beyond the original's noise."""
    names = {cell.optimization for cell in cells if cell in drifts and drifts[cell].changed}
    rows = tuple(
        (
            replace(row[0], text=row[0].text + FLAG, title="changes answers beyond noise"),
            *row[1:],
        )
        if row[0].text in names
        else row
        for row in made.rows
    )
    return replace(made, rows=rows)


def _fields(own: Drift, key: str) -> list[Field]:
    found, none = own.answers, Field("-", "random weights: answers say nothing", key)
    logits = (
        Field("-", "no logits on record", key)
        if own.logits is None
        else Field(f"{own.logits:.3g}", "of one question, without an interval", key)
    )
    if found is None:
        return [none, none, logits, none, none, none]
    share, span = percent_span(found.share, found.low, found.high)
    unscored = Field("-", "the data set has no score", key)
    told = {True: "yes", False: "no", None: "not known"}[own.changed]
    reason = "one-sided sign test" if own.p_value is not None else "no run at another batch size to compare"
    if own.p_value is not None:
        told += f", p = {own.p_value:.2g}"
    return [
        Field(f"{share} %", f"{found.identical} of {found.total}, 95 % interval", key, span=span),
        _between(found, key),
        logits,
        unscored if found.gained is None else Field(f"{found.gained} / {found.lost}", "counted", key),
        unscored
        if own.score_p_value is None
        else Field(f"{own.score_p_value:.3g}", "two-sided sign test", key),
        Field(told, reason, key, words=True),
    ]


def _between(found: agreement.Agreement, key: str) -> Field:
    """Word error rate between the answers of both runs."""
    if found.wer is None or found.wer_ends is None:
        return Field("-", "empty answers", key)
    span = f"[{found.wer_ends[0]:.3f}, {found.wer_ends[1]:.3f}]"
    return Field(f"{found.wer:.3f}", f"{found.total} answers, 95 % interval over them", key, span=span)
