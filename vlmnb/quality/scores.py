"""Metrics computed from stored answers when a record is read, each with its bootstrap interval."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from vlmnb.quality import captions
from vlmnb.quality.metrics import Choices, official_option, word_errors
from vlmnb.stats import intervals
from vlmnb.stats.intervals import Interval

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DASH = re.compile(r"(?<=\w)-|-(?!\.?\d)|[/\u2010-\u2015]")
_OF_NUMBER = re.compile(r"(?<=\d)[^\w\s](?=\d)|(?<!\w)-?\.?(?=\d)|(?<=\d)%")
"""Marks that are part of a number: between digits, a minus or a point in front, per cent behind."""


Pairs = tuple[tuple[str, str], ...]
References = tuple[tuple[str, ...], ...]


def of(
    dataset: str,
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    choices: Sequence[Choices] | None = None,
) -> dict[str, Interval]:
    """Return the metrics of a data set that are computed from its answers.

    They are ``wer_normalized``, ``cider`` and ``bleu`` for captions, and ``accuracy_official`` for ScienceQA
    by LLaVA's own rule. Samples whose references have no words are left out of the caption metrics. The
    metrics are kept by the content of the answers, so that asking again, for another table, costs nothing.

    Args:
        dataset: Name of the data set.
        answers: One answer per sample.
        references: Accepted answers of each sample; word errors are counted against the first.
        choices: The choices of each sample, where it has any.
    """
    found: dict[str, Interval] = {}
    asked = [(several, answer) for several, answer in zip(references, answers, strict=True) if several]
    normalized = _wer_normalized(tuple((several[0], answer) for several, answer in asked))
    if normalized is not None:
        found["wer_normalized"] = normalized
    if captions.is_captioning(dataset):
        found |= _caption_scores(tuple(answers), tuple(map(tuple, references)))
    if dataset.startswith("scienceqa") and choices and asked:
        named = [official_option(*pair) for pair in zip(answers, choices, strict=True)]
        right = [float(name in own[:1]) for name, own in zip(named, references, strict=True)]
        found["accuracy_official"] = intervals.ratio(right, [1.0] * len(right))
    return found


def normalized(text: str) -> str:
    """Return a text as normalized word error rate compares it: lower case, no punctuation, single blanks.

    What is part of a number stays, commas of thousands apart: 3.5, .5, -5 and 5% are not 35 or 5. Characters
    without width go.

    >>> normalized("A red-and-blue  SIGN: 'Stop!' 1,000 or 3.5 at -5 %.")
    'a red and blue sign stop 1000 or 3.5 at -5%'
    """
    text = re.sub(r"(?<=\d)\s+%", "%", _THOUSANDS.sub("", text.lower().replace("\u2212", "-")))
    text = _DASH.sub(" ", text)
    marks = {place for found in _OF_NUMBER.finditer(text) for place in range(*found.span())}
    kept = (
        mark
        for place, mark in enumerate(text)
        if place in marks or unicodedata.category(mark)[0] not in "PC" or mark.isspace()
    )
    return " ".join("".join(kept).split())


def corpus_wer(pairs: Pairs) -> Interval | None:
    """Return the word error rate of (reference, answer) pairs; None if no reference has a word."""
    errors, words = zip(*(word_errors(*pair) for pair in pairs), strict=True) if pairs else ((), ())
    return intervals.ratio(errors, words) if sum(words) else None


@functools.lru_cache(maxsize=1024)
def _wer_normalized(pairs: Pairs) -> Interval | None:
    return corpus_wer(tuple((normalized(reference), normalized(answer)) for reference, answer in pairs))


@functools.lru_cache(maxsize=1024)
def _caption_scores(answers: tuple[str, ...], references: References) -> dict[str, Interval]:
    pairs = zip(answers, references, strict=True)
    kept = [pair for pair in pairs if any(map(captions.tokens, pair[1]))]
    # The document frequencies of a single sample weigh every word 0: that CIDEr says nothing.
    if len(kept) < 2:
        return {}
    each = captions.score(*zip(*kept, strict=True))
    times = np.vstack([np.ones((1, len(kept))), intervals.resampled(len(kept))])
    found = {}
    for name, metric in (("cider", captions.mean_cider), ("bleu", captions.bleu)):
        value, *others = metric(each, times)
        low, high = np.quantile(others, [0.025, 0.975])
        found[name] = Interval(value=float(value), low=float(low), high=float(high))
    return found
