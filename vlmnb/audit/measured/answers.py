"""Rules over stored answers: what they score, how long they are, and that a question is one question."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.records.answer import Answer
from vlmnb.records.record import Record

SCORE = 1e-9
"""Difference of two scores that rounding of floats explains."""


def scores_are_of_the_answers(records: Sequence[Record]) -> Iterator[Finding]:
    """Stored scores are those of the stored answers, and every answer that can be scored is."""
    from vlmnb.quality import metrics

    for record in records:
        cell, given = record.cell, record.answers
        if not given:
            continue
        means_something = cell.weights == "pretrained" and cell.length == "natural"
        scored = [a for a in given if a.word_errors is not None]
        if len(scored) != (len(given) if means_something else 0):
            yield finding(
                "error",
                [record],
                {"Answers": str(len(given)), "Scored": str(len(scored))},
                "Answers are left unscored: the quality of this cell is missing, or of a part of it."
                if means_something
                else "Answers of random weights or of fixed length are scored, though they mean nothing.",
            )
            continue
        if not means_something or not all(a.references for a in given):
            continue
        try:
            again = metrics.accuracy(
                cell.dataset,
                [a.references for a in given],
                [a.answer for a in given],
                [a.choices for a in given],
            )
        except ValueError:  # a data set of other code, or references that its rule cannot use
            continue
        expected: Sequence[float | None] = again if again is not None else [None] * len(given)
        wrong = [(a, own) for a, own in zip(given, expected, strict=True) if not _same(a.score, own)]
        if wrong:
            first, own = wrong[0]
            yield finding(
                "error",
                [record],
                {
                    "Answers": f"{len(wrong)} of {len(given)}",
                    "Sample": first.sample_id,
                    "Stored": "none" if first.score is None else f"{first.score:.4g}",
                    "Recomputed": "none" if own is None else f"{own:.4g}",
                },
                "Stored scores are not those of the stored answers: the accuracy is of something else.",
                "Whether answers or scores were changed, or scored by another rule, cannot be told.",
            )


def fixed_answers_have_one_length(records: Sequence[Record]) -> Iterator[Finding]:
    """Answers of fixed length have exactly the tokens that the cell asks for."""
    for record in records:
        cell = record.cell
        wrong = [a for a in record.answers if a.output_tokens != cell.max_new_tokens]
        if cell.length == "fixed" and wrong:
            yield finding(
                "error",
                [record],
                {
                    "Answers": f"{len(wrong)} of {len(record.answers)}",
                    "Tokens": str(wrong[0].output_tokens),
                    "Asked for": str(cell.max_new_tokens),
                },
                "Answers of fixed length have another length: times and joules per token are of another "
                "number.",
                "Which of the two numbers was generated cannot be told.",
            )


def a_question_is_one_question(records: Sequence[Record]) -> Iterator[Finding]:
    """A sample has the same references everywhere, and for one model and prompt budget the same prompt."""
    seen: dict[Hashable, tuple[Record, Hashable]] = {}
    told: set[tuple[str, str]] = set()
    for record in records:
        for answer in record.answers:
            for kind, key, value in _of_sample(record, answer):
                first, same = seen.setdefault(key, (record, value))
                pair = (first.key, record.key)
                if same != value and pair not in told:
                    told.add(pair)
                    yield finding(
                        "error",
                        [first, record],
                        {"Sample": answer.sample_id, "Differs in": kind},
                        f"One sample of one data set has two {kind} in two records: scores, or the work of a "
                        "prompt, are of different questions.",
                        "Which of them is that of the data set the records do not say.",
                    )


def _of_sample(record: Record, answer: Answer) -> Iterator[tuple[str, Hashable, Hashable]]:
    cell, was = record.cell, record.provenance
    sample = (cell.dataset, was.data, answer.sample_id, was.code)  # other code may ask otherwise
    yield "lists of references or choices", sample, (answer.references, answer.choices)
    packages = tuple(sorted(was.packages.items()))
    prompt = (*sample, cell.model, was.weights, was.processor, cell.seq_len, packages)
    yield "prompts or counts of tokens", prompt, (answer.prompt, answer.text_tokens)


def _same(stored: float | None, own: float | None) -> bool:
    if stored is None or own is None:
        return stored is own
    return math.isclose(stored, own, abs_tol=SCORE)


RULES = rules(
    "measured", (scores_are_of_the_answers, fixed_answers_have_one_length, a_question_is_one_question)
)
