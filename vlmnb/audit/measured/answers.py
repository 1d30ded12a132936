"""Check stored answers: their scores, their length, and that a sample is one question everywhere."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from statistics import mean

from vlmnb.audit import independent_scores
from vlmnb.audit.rule import Draft, found, record_rule, rule
from vlmnb.records.parts import Answer
from vlmnb.records.record import Record

SCORE = 1e-9
"""Difference of two scores that rounding of floats explains."""

METRIC = 1e-6
"""The same of a metric over all answers."""


@record_rule
def word_errors_are_of_the_answers(record: Record) -> Iterator[Draft]:
    """Stored word errors are those of the stored answers, and scores lie between 0 and 1."""
    scored = [a for a in record.answers if a.word_errors is not None and a.references]
    again = [_word_errors(a.references[0], a.answer) for a in scored]
    pairs = zip(scored, again, strict=True)
    wrong = [(a, own) for a, own in pairs if own != (a.word_errors, a.reference_words)]
    for first, own in wrong[:1]:
        yield found("errors", counts=[len(wrong), len(scored)], answer=first, own=own)
    outside = [a.score for a in record.answers if a.score is not None and not 0 <= a.score <= 1]
    if outside:
        yield found("scores", outside=len(outside), score=outside[0])


@record_rule
def scores_are_of_the_answers(record: Record) -> Iterator[Draft]:
    """Stored scores are those of the stored answers, and every answer that can be scored is."""
    cell, given = record.cell, record.answers
    if not given:
        return
    meaningful = cell.weights == "pretrained" and cell.length == "natural"
    scored = [a for a in given if a.word_errors is not None]
    unscored = [a for a in given if a.word_errors is None and not a.note]
    if unscored if meaningful else scored:
        case = "incomplete" if meaningful else "without meaning"
        yield found(case, answers=len(given), scored=len(scored))
        return
    given = tuple(a for a in given if a.references and not (a.note and a.score is None))
    if not meaningful or not given:
        return
    try:
        expected = [_score(cell.dataset, a) for a in given]
    except ValueError:  # a data set of other code, or references that its rule cannot use
        return
    wrong = [(a, own) for a, own in zip(given, expected, strict=True) if not _same(a.score, own)]
    if wrong:
        first, own = wrong[0]
        stored, recomputed = ("none" if score is None else f"{score:.4g}" for score in (first.score, own))
        counts = [len(wrong), len(given)]
        yield found("others", counts=counts, answer=first, stored=stored, recomputed=recomputed)


@record_rule
def metrics_are_of_the_answers(record: Record) -> Iterator[Draft]:
    """BLEU, CIDEr and the official accuracy of ScienceQA are those of the answers, computed independently."""
    texts, references = [a.answer for a in record.answers], [a.references for a in record.answers]
    again = (
        (independent_scores.captions(texts, references) or {})
        if record.cell.dataset.startswith("coco")
        else {}
    )
    if record.cell.dataset.startswith("scienceqa") and all(
        a.choices and a.references for a in record.answers
    ):
        right = [
            independent_scores.option(a.answer, a.choices or ()) == a.references[0] for a in record.answers
        ]
        again["accuracy_official"] = mean(right or [0])
    for name, own in again.items():
        if name in record.scores and not math.isclose(record.scores[name].value, own, abs_tol=METRIC):
            yield found(name=name, shown=record.scores[name].value, own=own)


@record_rule
def fixed_answers_have_one_length(record: Record) -> Iterator[Draft]:
    """Answers of fixed length have exactly the tokens that the cell asks for."""
    cell = record.cell
    wrong = [a.output_tokens for a in record.answers if a.output_tokens != cell.max_new_tokens]
    if cell.length == "fixed" and wrong:
        yield found(wrong=len(wrong), answers=len(record.answers), tokens=wrong[0])


@record_rule
def tokens_within_limits(record: Record) -> Iterator[Draft]:
    """Prompts keep to the prompt length and answers to the longest answer."""
    cell = record.cell
    long = [
        a for a in record.answers if a.text_tokens > cell.seq_len or a.output_tokens > cell.max_new_tokens
    ]
    if long:
        worst = max(long, key=lambda answer: answer.text_tokens)
        yield found(long=len(long), answers=len(record.answers), worst=worst)


@rule("measured")
def a_question_is_one_question(records: Sequence[Record]) -> Iterator[Draft]:
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
                    yield found(about=[first, record], sample=answer.sample_id, kind=kind)


@record_rule
def answers_say_something(record: Record) -> Iterator[Draft]:
    """Most answers have a text that is not one word or phrase repeated up to the limit."""
    if record.degenerate:
        yield found()


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


def _score(dataset: str, answer: Answer) -> float | None:
    """Score an answer independently, or by the code that scores where the text is not simple enough."""
    from vlmnb.quality import metrics

    given = dataset, answer.references, answer.answer, answer.choices
    own = independent_scores.sample(*given)
    return metrics.accuracy(*given) if own is None else own


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
