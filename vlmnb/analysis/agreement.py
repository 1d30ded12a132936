"""Whether answers stay what they were: agreement with a reference run, by batch size and precision.

Padding and other kernels round differently, and where two tokens are nearly as likely, the answer flips.
How often that happens is a property of a setting as much as its latency is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vlmnb.data import catalogue
from vlmnb.quality import scores
from vlmnb.records.answer import Answer
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import DTYPES
from vlmnb.types import Frozen
from vlmnb.views.axis_table import STATUS_WORDS, Field, Table, percent_span

PRECISION = ("fp32", "fp16", "bf16")
"""From the most digits to the fewest: 24, 11 and 8 bits of significand."""

NORMAL_QUANTILE = 1.959963985
"""97.5 % quantile of the standard normal distribution."""


class Agreement(Frozen):
    """Answers of a run against those of a reference run to the same questions.

    Attributes:
        identical: Answers that are the same, character by character.
        total: Questions that both answered.
        low: Lower end of the 95 % interval of the share of identical answers.
        high: Upper end of it.
        wer: Word error rate of the answers, those of the reference run being the references; None where
            all of these are empty.
        wer_ends: Its 95 % bootstrap interval over questions.
        gained: Answers whose score is higher than in the reference run; None where there are no scores.
        lost: Answers whose score is lower.
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
        """Identical answers as a fraction of all."""
        return self.identical / self.total


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
    low, high = wilson(identical, len(pairs))
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


def wilson(successes: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion, which has a width also where all or none succeed.

    Wilson's score interval (Journal of the American Statistical Association 22, 1927, 209-212).
    """
    z2 = NORMAL_QUANTILE**2
    share = successes / total
    center = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    # At the ends the exact value is 0 or 1; rounding must not leave the share outside its interval.
    return min(max(center - reach, 0.0), share), max(min(center + reach, 1.0), share)


def reference_run(records: Iterable[Record]) -> Record | None:
    """The run the others are held against: smallest batch, then eager attention, then highest precision."""
    comparable = [record for record in records if record.status == "ok" and record.has_quality]
    return min(comparable, key=lambda r: _distance(r.cell), default=None)


def family(record: Record) -> tuple[object, ...]:
    """What runs share whose answers ought to be the same: everything but batch size and precision."""
    free = {"batch_size", "dtype", "optimization"}
    asked = tuple(value for name, value in record.cell.model_dump().items() if name not in free)
    return (record.source, record.hardware, *asked)


def flip_matrix(records: Sequence[Record]) -> Table | None:
    """Identical answers by batch size and precision, as a table; None where there is nothing to compare.

    Args:
        records: Records of one :func:`family`; the newest of each cell counts.

    Returns:
        Rows by batch size, columns by optimization, precisions first. Each field gives the share of
        answers that are those of the reference run, with its 95 % interval. A combination that has no
        record is ``-``, and the caption says so.
    """
    found = list(by_cell(records).values())
    reference = reference_run(found)
    if reference is None or sum(bool(record.has_quality) for record in found) < 2:
        return None
    sizes = sorted({record.cell.batch_size for record in found})
    names = sorted({record.cell.optimization for record in found}, key=_column)
    at = {(record.cell.batch_size, record.cell.optimization): record for record in found}
    rows = [
        (Field(str(size)), *(_flips(reference, at.get((size, name))) for name in names)) for size in sizes
    ]
    missing = sum((size, name) not in at for size in sizes for name in names)
    return Table(_caption(reference, missing, len(sizes) * len(names)), ("Batch size", *names), tuple(rows))


def matrices(page: Sequence[Record], others: Iterable[Record]) -> list[Table]:
    """The flip matrices that the records of a page belong to, filled with whatever else is on record."""
    wanted = dict.fromkeys(family(record) for record in page if record.has_quality)
    groups: dict[tuple[object, ...], list[Record]] = {name: [] for name in wanted}
    for record in (*others, *page):
        if (name := family(record)) in groups:
            groups[name].append(record)
    made = (flip_matrix(group) for group in groups.values())
    return [table for table in made if table]


def text(records: Sequence[Record]) -> str:
    """Markdown list: for each precision, whether answers and errors depend on the batch size.

    Args:
        records: Records of one :func:`family`.
    """
    found = list(by_cell(records).values())
    lines = []
    for name in sorted({record.cell.optimization for record in found}, key=_column):
        own = [r for r in found if r.cell.optimization == name]
        alone = reference_run(own)
        others = sorted((r for r in own if r.has_quality and r is not alone), key=lambda r: r.cell.batch_size)
        if alone is None or not others:
            lines.append(f"- {name}: fewer than two batch sizes could be measured.")
            continue
        same = [agreement(alone, other) for other in others]
        sizes = ", ".join(str(other.cell.batch_size) for other in others)
        counts = ", ".join(str(each.identical) for each in same)
        total = same[0].total
        kept = f"{counts} of {total} are" if min(e.identical for e in same) < total else f"all {total} are"
        wers = [record.wer for record in (alone, *others) if record.wer is not None]
        wer = f"{min(wers):.3f}" + (f" to {max(wers):.3f}" if max(wers) > min(wers) else " at every size")
        low = min(each.low for each in same)
        told = (
            "answers depend on the batch size"
            if min(each.identical for each in same) < total
            else f"no answer of {total} depends on the batch size (of other questions, up to "
            f"{100 * (1 - low):.2g} % still might)"
        )
        base = alone.cell.batch_size
        lines.append(f"- {name}: {told}. At batch {sizes}, {kept} those of batch {base}; WER is {wer}.")
    return "\n".join(lines) or "- No cell of this page could be measured on this machine."


def _by_sample(record: Record) -> dict[str, Answer]:
    found = {answer.sample_id: answer for answer in record.answers}
    if len(found) < len(record.answers):
        raise ValueError(f"Record {record.key} holds answers to one question twice.")
    return found


def _distance(cell: Cell) -> tuple[int, bool, int]:
    return (
        cell.batch_size,
        cell.optimization not in DTYPES,
        PRECISION.index(cell.dtype),
    )


def _column(optimization: str) -> tuple[bool, int, str]:
    known = optimization in PRECISION
    return not known, PRECISION.index(optimization) if known else 0, optimization


def _flips(reference: Record, record: Record | None) -> Field:
    if record is None:
        return Field("-", "not measured")
    if record.status != "ok" or not record.has_quality:
        return Field("-", f"{STATUS_WORDS.get(record.status, record.status)}: {record.reason}", record.key)
    try:
        found = agreement(reference, record)
    except ValueError as error:
        return Field("-", str(error), record.key)
    if record.key == reference.key:
        return Field("reference", f"{found.total} answers", record.key, words=True)
    share, span = percent_span(found.share, found.low, found.high)
    told = [f"{found.total - found.identical} of {found.total} answers differ"]
    told += [f"WER between the answers {found.wer:.3f}"] if found.wer is not None else []
    if found.gained is not None:
        told += [f"score higher in {found.gained}, lower in {found.lost}"]
    return Field(f"{share} %", "; ".join(told), record.key, span=span)


def _caption(reference: Record, missing: int, total: int) -> str:
    cell = reference.cell
    words = (
        f"Answers identical to those of the reference run, on {catalogue.get(cell.dataset).title}, with 95 % "
        f"intervals. Reference: batch {cell.batch_size}, {cell.dtype}, {_kernel(cell)}"
    )
    words += "" if cell.batch_size == 1 else " (no run at batch 1 is on record)"
    words += f". Partial: {total - missing} of {total} combinations are on record." if missing else "."
    return words


def _kernel(cell: Cell) -> str:
    return "eager attention" if cell.optimization in DTYPES else cell.optimization
