"""Compare the answers of a run with those of a reference run: by batch size, precision and optimization.

Padding and CUDA kernels round differently, and where two tokens are nearly as likely, the answer flips.
How often that happens is a property of an optimization, as its latency is. An optimization is flagged if it
changes more answers than noise does: the original's answers differ at another batch size, too, and no user
would call that a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.quality import scores
from vlmnb.records.parts import Answer
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import DTYPES
from vlmnb.stats import comparison, intervals
from vlmnb.types import Frozen

PRECISION = ("fp32", "fp16", "bf16")
"""Precisions from the most digits to the fewest: 24, 11 and 8 bits of significand."""

SIGNIFICANT = 0.05
"""A p-value below this counts as significant."""


class Agreement(Frozen):
    """Answers of a run compared with those of a reference run to the same questions.

    Attributes:
        identical: Answers that are the same, character by character.
        low: Lower end of the 95 % interval of the share of identical answers; ``high``: the upper end.
        wer: Word error rate with the answers of the reference run as references; None if all are empty.
        wer_ends: Its 95 % bootstrap interval over questions.
        gained: Answers with a higher score than in the reference run, ``lost``: with a lower one; None
            without scores.
    """

    identical: int
    total: int
    low: float
    high: float
    wer: float | None
    wer_ends: tuple[float, float] | None
    gained: int | None
    lost: int | None

    @property
    def share(self) -> float:
        """Return identical answers as a fraction of all answers."""
        return self.identical / self.total


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

    answers: Agreement | None
    logits: float | None
    noise: int | None
    p_value: float | None
    score_p_value: float | None

    @property
    def changed(self) -> bool | None:
        """Return whether answers change beyond the original's noise; None if that is not known."""
        if self.answers is None:
            return None
        if self.answers.identical == self.answers.total:
            return False
        return None if self.p_value is None else self.p_value < SIGNIFICANT


def agreement(reference: Record, other: Record) -> Agreement:
    """Compare the answers of two records, question by question.

    Raises:
        ValueError: The records hold answers to different questions, or a question twice.
    """
    base, own = _by_sample(reference), _by_sample(other)
    if base.keys() != own.keys() or not base:
        raise ValueError(f"Records {reference.key} and {other.key} hold answers to different questions.")
    pairs = [(base[name], own[name]) for name in base]
    identical = sum(a.answer == b.answer for a, b in pairs)
    both = [(a.score, b.score) for a, b in pairs if a.score is not None and b.score is not None]
    errors = scores.corpus_wer(tuple((a.answer, b.answer) for a, b in pairs))
    low, high = intervals.wilson(identical, len(pairs))
    return Agreement(
        identical=identical,
        total=len(pairs),
        low=low,
        high=high,
        wer=errors.value if errors else None,
        wer_ends=(errors.low, errors.high) if errors else None,
        gained=sum(b > a for a, b in both) if both else None,
        lost=sum(b < a for a, b in both) if both else None,
    )


def reference_run(records: Iterable[Record]) -> Record | None:
    """Return the run to compare with: smallest batch, then eager attention, then highest precision."""

    def distance(cell: Cell) -> tuple[int, bool, int]:
        return cell.batch_size, cell.optimization not in DTYPES, PRECISION.index(cell.dtype)

    return min(filter(comparable, records), key=lambda record: distance(record.cell), default=None)


def comparable(record: Record) -> bool:
    """Return whether a record has answers that were generated in batches of its size."""
    return record.status == "ok" and record.has_quality and not record.short


def family(record: Record) -> tuple[object, ...]:
    """Return what runs have in common whose answers should be the same: all but batch size and precision."""
    free = {"batch_size", "dtype", "optimization"}
    asked = tuple(value for name, value in record.cell.model_dump().items() if name not in free)
    return (record.source, record.hardware, *asked)


class Matrix(Frozen):
    """The runs on record by batch size and optimization, of which one is the reference run."""

    reference: Record
    sizes: tuple[int, ...]
    optimizations: tuple[str, ...]
    runs: dict[tuple[int, str], Record]


class ByBatch(Frozen):
    """Answers of an optimization at several batch sizes, compared with the smallest that was measured."""

    optimization: str
    reference: int | None
    others: dict[int, Agreement]
    wers: tuple[float, ...]


def matrix(records: Sequence[Record]) -> Matrix | None:
    """Arrange the runs of one :func:`family`, the newest of each cell; None with nothing to compare."""
    found = list(by_cell(records).values())
    reference = reference_run(found)
    if reference is None or sum(map(comparable, found)) < 2:
        return None
    return Matrix(
        reference=reference,
        sizes=tuple(sorted({record.cell.batch_size for record in found})),
        optimizations=_optimizations(found),
        runs={(record.cell.batch_size, record.cell.optimization): record for record in found},
    )


def matrices(page: Sequence[Record], others: Iterable[Record]) -> list[Matrix]:
    """Return the matrices that the records of a page belong to, with all other records that fit in."""
    wanted = dict.fromkeys(family(record) for record in page if record.has_quality)
    groups: dict[tuple[object, ...], list[Record]] = {name: [] for name in wanted}
    for record in (*others, *page):
        if (name := family(record)) in groups:
            groups[name].append(record)
    made = (matrix(group) for group in groups.values())
    return [each for each in made if each]


def by_batch(records: Sequence[Record]) -> list[ByBatch]:
    """Compare the batch sizes of each optimization of one :func:`family`."""
    found = list(by_cell(records).values())
    made = []
    for name in _optimizations(found):
        own = [record for record in found if record.cell.optimization == name and comparable(record)]
        own.sort(key=lambda record: record.cell.batch_size)
        made.append(
            ByBatch(
                optimization=name,
                reference=own[0].cell.batch_size if own else None,
                others={record.cell.batch_size: agreement(own[0], record) for record in own[1:]},
                wers=tuple(record.wer for record in own if record.wer is not None),
            )
        )
    return made


def change(original: Record, own: Record, noise: Record | None) -> AnswerChange:
    """Compare an optimization with the original; ``noise``: the original at another batch size.

    Raises:
        ValueError: The records hold answers to different questions.
    """
    found = agreement(original, own) if original.has_quality and own.has_quality else None
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
    repeats = [
        other
        for other in by_cell(others).values()
        if comparable(other) and family(other) == family(original)
        and other.cell.optimization == original.cell.optimization
        and other.cell.batch_size != original.cell.batch_size
        and {a.sample_id for a in other.answers} == {a.sample_id for a in original.answers}
    ]  # fmt: skip
    return max(repeats, key=lambda other: len(differing(original, other)), default=None)


def changes(
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
    return {record.cell: change(original, record, noise) for record in measured}


def _by_sample(record: Record) -> dict[str, Answer]:
    found = {answer.sample_id: answer for answer in record.answers}
    if len(found) < len(record.answers):
        raise ValueError(f"Record {record.key} holds answers to one question twice.")
    return found


def _optimizations(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the names of the optimizations: precisions from the highest on, then the others by name."""
    names = {record.cell.optimization for record in records}
    return (*(name for name in PRECISION if name in names), *sorted(names.difference(PRECISION)))
