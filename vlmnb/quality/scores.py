"""Metrics computed from stored answers when a record is read, each with its bootstrap interval."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jiwer
import numpy as np

from vlmnb.quality import captions
from vlmnb.stats import intervals
from vlmnb.types import Frozen

_PLAIN = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.SubstituteRegexes({r"[-/]": " "}),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
    ]
)


class Score(Frozen):
    """A metric of a cell with its 95 % bootstrap interval over samples."""

    value: float
    low: float
    high: float


Pairs = tuple[tuple[str, str], ...]
References = tuple[tuple[str, ...], ...]


def of(dataset: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Score]:
    """The metrics that apply to a data set: ``wer_normalized``, and for captions ``cider`` and ``bleu``.

    They are kept by the content of the answers, so that asking again, for another table, costs nothing.

    Args:
        dataset: Name of the data set; captions alone have CIDEr and BLEU.
        answers: One answer per sample.
        references: Accepted answers of each sample; word errors are counted against the first.
    """
    found: dict[str, Score] = {}
    if not answers:
        return found
    pairs = tuple((several[0], answer) for several, answer in zip(references, answers, strict=True))
    normalized = _wer_normalized(pairs)
    if normalized is not None:
        found["wer_normalized"] = normalized
    # The document frequencies of a single sample weigh every word 0: that CIDEr says nothing.
    if captions.is_captioning(dataset) and len(answers) > 1:
        found |= _caption_scores(tuple(answers), tuple(map(tuple, references)))
    return found


def normalized(text: str) -> str:
    """A text as normalized word error rate compares it: lower case, no punctuation, single blanks.

    >>> normalized("A red-and-blue  SIGN: 'Stop!'")
    'a red and blue sign stop'
    """
    return str(_PLAIN(text))


def word_errors(reference: str, answer: str) -> tuple[int, int]:
    """Word errors of an answer and words of its reference, which may have none: then every word is wrong."""
    if not reference.split():
        return len(answer.split()), 0
    counted = jiwer.process_words(reference, answer)
    errors = counted.substitutions + counted.deletions + counted.insertions
    return errors, counted.hits + counted.substitutions + counted.deletions


def corpus_wer(pairs: Pairs) -> Score | None:
    """Word error rate of (reference, answer) pairs as they stand; None where no reference has a word."""
    errors, words = zip(*(word_errors(*pair) for pair in pairs), strict=True)
    if sum(words) == 0:
        return None
    low, high = intervals.bootstrap_ratio(errors, words)
    return Score(value=sum(errors) / sum(words), low=low, high=high)


@functools.lru_cache(maxsize=1024)
def _wer_normalized(pairs: Pairs) -> Score | None:
    return corpus_wer(tuple((normalized(reference), normalized(answer)) for reference, answer in pairs))


@functools.lru_cache(maxsize=1024)
def _caption_scores(answers: tuple[str, ...], references: References) -> dict[str, Score]:
    each = captions.score(answers, references)
    times = intervals.resampled(len(answers))
    return {
        "cider": _bootstrapped(each, captions.mean_cider, times),
        "bleu": _bootstrapped(each, captions.bleu, times),
    }


def _bootstrapped(
    each: captions.CaptionScores,
    metric: Callable[[captions.CaptionScores, intervals.Floats | None], intervals.Floats],
    times: intervals.Floats,
) -> Score:
    low, high = np.quantile(metric(each, times), [0.025, 0.975])
    return Score(value=float(metric(each, None)[0]), low=float(low), high=float(high))
