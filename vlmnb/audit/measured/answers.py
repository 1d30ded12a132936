"""Check stored answers: their scores, their length, and that a sample is one question everywhere."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Hashable, Iterator, Sequence

from vlmnb.audit.rule import WHICH, Finding, contradiction, error, record_rule, rule, warning
from vlmnb.records.answer import Answer
from vlmnb.records.record import Record

SCORE = 1e-9
"""Difference of two scores that rounding of floats explains."""


@record_rule
def word_errors_are_of_the_answers(record: Record) -> Iterator[Finding]:
    """Stored word errors are those of the stored answers, and scores lie between 0 and 1."""
    scored = [a for a in record.answers if a.word_errors is not None and a.references]
    again = [_word_errors(a.references[0], a.answer) for a in scored]
    pairs = zip(scored, again, strict=True)
    wrong = [(a, own) for a, own in pairs if own != (a.word_errors, a.reference_words)]
    if wrong:
        first, (errors, words) = wrong[0]
        yield error(
            {
                "Answers": f"{len(wrong)} of {len(scored)}",
                "Sample": first.sample_id,
                "Stored": f"{first.word_errors} errors of {first.reference_words} words",
                "Recomputed": f"{errors} of {words}",
            },
            "Stored word errors are not those of the stored answers: the WER is wrong.",
            f"Answers or errors were changed afterwards. {WHICH}",
        )
    outside = [a.score for a in record.answers if a.score is not None and not 0 <= a.score <= 1]
    if outside:
        yield error(
            {"Answers": str(len(outside)), "Score": f"{outside[0]:g}"},
            "A score lies outside 0 to 1: the mean is no accuracy.",
            "What the score measures is unknown. Delete the record and measure the cell again.",
        )


@record_rule
def scores_are_of_the_answers(record: Record) -> Iterator[Finding]:
    """Stored scores are those of the stored answers, and every answer that can be scored is."""
    from vlmnb.quality import metrics

    cell, given = record.cell, record.answers
    if not given:
        return
    meaningful = cell.weights == "pretrained" and cell.length == "natural"
    scored = [a for a in given if a.word_errors is not None]
    unscored = [a for a in given if a.word_errors is None and not a.note]
    if unscored if meaningful else scored:
        yield error(
            {"Answers": str(len(given)), "Scored": str(len(scored))},
            "Some answers have no score: the quality of this cell is incomplete."
            if meaningful
            else "Answers of random weights or of fixed length have scores, though they mean nothing.",
            "Delete the record and measure the cell again.",
        )
        return
    given = tuple(a for a in given if a.references and not (a.note and a.score is None))
    if not meaningful or not given:
        return
    try:
        again = metrics.accuracy(
            cell.dataset, [a.references for a in given], [a.answer for a in given], [a.choices for a in given]
        )
    except ValueError:  # a data set of other code, or references that its rule cannot use
        return
    expected: Sequence[float | None] = again if again is not None else [None] * len(given)
    wrong = [(a, own) for a, own in zip(given, expected, strict=True) if not _same(a.score, own)]
    if wrong:
        first, own = wrong[0]
        yield error(
            {
                "Answers": f"{len(wrong)} of {len(given)}",
                "Sample": first.sample_id,
                "Stored": "none" if first.score is None else f"{first.score:.4g}",
                "Recomputed": "none" if own is None else f"{own:.4g}",
            },
            "Stored scores are not those of the stored answers: the accuracy is wrong.",
            f"Answers or scores were changed, or scored by another rule. {WHICH}",
        )


@record_rule
def fixed_answers_have_one_length(record: Record) -> Iterator[Finding]:
    """Answers of fixed length have exactly the tokens that the cell asks for."""
    cell = record.cell
    wrong = [a for a in record.answers if a.output_tokens != cell.max_new_tokens]
    if cell.length == "fixed" and wrong:
        yield contradiction(
            {
                "Answers": f"{len(wrong)} of {len(record.answers)}",
                "Tokens": str(wrong[0].output_tokens),
                "Asked for": str(cell.max_new_tokens),
            },
            "Answers of fixed length have another length: times and joules per token are wrong.",
        )


@record_rule
def tokens_within_limits(record: Record) -> Iterator[Finding]:
    """Prompts keep to the prompt length and answers to the longest answer."""
    cell = record.cell
    long = [
        a for a in record.answers if a.text_tokens > cell.seq_len or a.output_tokens > cell.max_new_tokens
    ]
    if long:
        worst = max(long, key=lambda answer: answer.text_tokens)
        yield error(
            {
                "Answers": f"{len(long)} of {len(record.answers)}",
                "Prompt": f"{worst.text_tokens} tokens",
                "Prompt length": str(cell.seq_len),
                "Answer": f"{worst.output_tokens} tokens",
                "Longest answer": str(cell.max_new_tokens),
            },
            "Prompts or answers are longer than the cell allows: the figures belong to another cell.",
            "Delete the record and measure the cell again.",
        )


@rule("measured")
def a_question_is_one_question(records: Sequence[Record]) -> Iterator[Finding]:
    """A sample has the same references everywhere, and for one model and prompt length the same prompt."""
    seen: dict[Hashable, tuple[Record, Hashable]] = {}
    reported: set[tuple[str, str]] = set()
    for record in records:
        for answer in record.answers:
            for kind, key, value in _of_sample(record, answer):
                first, same = seen.setdefault(key, (record, value))
                pair = (first.key, record.key)
                if same != value and pair not in reported:
                    reported.add(pair)
                    yield error(
                        {"Sample": answer.sample_id, "Differs in": kind},
                        f"One sample of one data set has two {kind} in two records: their scores, or the "
                        "work of a prompt, belong to different questions.",
                        "Compare both with the data set, delete the wrong record and measure its cell again.",
                        about=[first, record],
                    )


@record_rule
def answers_say_something(record: Record) -> Iterator[Finding]:
    """Most answers have a text that is not one word or phrase repeated up to the limit."""
    if record.degenerate:
        yield warning(
            {"Answers": record.degenerate},
            "Time and energy of this cell are not those of a model that answers.",
            "Weights, tokenizer or end token may be wrong. Read the answers before using the figures.",
        )


@functools.cache
def _word_errors(reference: str, answer: str) -> tuple[int, int]:
    """Return Levenshtein's distance in words and the words of the reference, without the code that scores."""
    wanted, given = (re.findall(r"\S+", unicodedata.normalize("NFC", text)) for text in (reference, answer))
    line = list(range(len(given) + 1))
    for i, word in enumerate(wanted, 1):
        above, line = line, [i]
        for j, other in enumerate(given, 1):
            line.append(min(above[j] + 1, line[-1] + 1, above[j - 1] + (word != other)))
    return line[-1], len(wanted)


def _of_sample(record: Record, answer: Answer) -> Iterator[tuple[str, Hashable, Hashable]]:
    """Yield what must be equal: its name, where it must be equal, and its value."""
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
