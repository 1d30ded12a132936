"""What an optimization does to the answers: how many it changes, and whether that is more than noise.

The noise is how the original's answers differ at another batch size, where padding and kernels round
differently; no user would call that a change. An optimization is flagged if it changes more answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.analysis import agreement
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison
from vlmnb.types import Frozen

SIGNIFICANT = 0.05
"""A p-value below this counts as significant."""


class AnswerChange(Frozen):
    """Answers of an optimization compared with the original's to the same questions.

    Attributes:
        answers: The comparison of the answers; None for random weights, whose answers have no meaning.
        logits: Largest absolute difference between the logits that were kept for one question.
        noise: Answers of the original that differ at another batch size; None if not on record.
        p_value: Probability that noise alone changes so many more answers than another batch size does;
            None if the noise is not known.
        score_p_value: Probability of such an imbalance of higher and lower scores by chance.
    """

    answers: agreement.Agreement | None
    logits: float | None
    noise: int | None
    p_value: float | None
    score_p_value: float | None

    @property
    def changed(self) -> bool | None:
        """Whether answers change beyond the original's noise; None if that is not known."""
        if self.answers is None:
            return None
        if self.answers.identical == self.answers.total:
            return False
        return None if self.p_value is None else self.p_value < SIGNIFICANT


def answer_change(original: Record, own: Record, noise: Record | None) -> AnswerChange:
    """Compare an optimization with the original; ``noise``: the original at another batch size.

    Raises:
        ValueError: The records hold answers to different questions.
    """
    found = agreement.agreement(original, own) if original.has_quality and own.has_quality else None
    count = p_value = score_p_value = None
    if found and noise:
        changed, noisy = differing(original, own), differing(original, noise)
        count = len(noisy)
        p_value = comparison.one_sided_sign_test(len(changed - noisy), len(noisy - changed))
    if found and found.gained is not None and found.lost is not None:
        score_p_value = comparison.sign_test(found.gained, found.lost)
    return AnswerChange(
        answers=found,
        logits=logit_difference(original, own),
        noise=count,
        p_value=p_value,
        score_p_value=score_p_value,
    )


def differing(reference: Record, other: Record) -> frozenset[str]:
    """Return the questions to which the answers of two records differ."""
    known = {answer.sample_id: answer.answer for answer in reference.answers}
    return frozenset(a.sample_id for a in other.answers if known.get(a.sample_id, a.answer) != a.answer)


def logit_difference(reference: Record, other: Record) -> float | None:
    """Return the largest absolute difference between the logits of two records; None if not comparable.

    The logits of the second token are compared if both runs chose the same first token.
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
    """Return the run of the original at another batch size whose answers differ most from its own."""
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


def of_cells(
    cells: Sequence[Cell], records: Sequence[Record], others: Iterable[Record]
) -> dict[Cell, AnswerChange]:
    """Compare every measured cell with the first one, which is the original at the same batch size.

    The original at another batch size is looked for among ``others``.
    """
    found = by_cell(records)
    original = found.get(cells[0]) if cells else None
    if original is None or original.status != "ok":
        return {}
    noise = noise_of(original, others) if original.has_quality else None
    measured = [found[cell] for cell in cells[1:] if cell in found and found[cell].status == "ok"]
    return {record.cell: answer_change(original, record, noise) for record in measured}
