"""Scores of captions against several references: CIDEr and BLEU, by the scorers of the COCO evaluation."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

import numpy as np

from vlmnb.stats import intervals
from vlmnb.types import Frozen

LONGEST = 4
"""N-grams of one to four words count."""

SIGMA = 6.0
"""Width of CIDEr's penalty for another length than the reference's, in words (as in the COCO evaluation)."""

_SPLIT = (
    (re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b", re.I), r" \1"),
    (
        re.compile(r"\b(?:can(?=not\b)|(?:gon|wan)(?=na\b(?!-))|got(?=ta\b)|(?:gim|lem)(?=me\b))", re.I),
        r"\g<0> ",
    ),
    (re.compile(r"('t)(?=is\b|was\b)|\b(y')(?=all\b)", re.I), r"\g<0> "),
)
"""Words that the treebank counts as two."""

_TOKEN = re.compile(
    r"""
    n't\b | '(?:s|re|ve|ll|d|m)\b | '(?:n'|\d\ds\b|t(?=\s(?:is|was)\b)|em\b|cause\b|till?\b) | y'(?=\s)
    | (?:mrs?|ms|dr|prof|gen|rev|sgt|capt|lt|st|mt|jr|sr|bros|vs|etc|inc|ltd|corp|co|dept|ave|blvd|rd|ft
        |pp|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|ph\.d|gov|sen|rep
        |maj|col|hon|pres|adm|est|bldg|sq|asst|assoc|univ|intl|ca)\.(?!\w)
    | (?:no|fig)\.(?=\s*\d)
    | (?<![\w.])(?:[a-z]\.){2,}(?:[a-z]{1,2}\b)?(?:-\w+)* | \b[a-z]\.(?!\w)  # u.s., p.m., a. dog
    | </?[a-z][\w:.-]*\s*/?> | &\#\d+; | [<>]?[:;=][-o*']?[()\\{@|\[\]dpo](?![\w']) | \^_\^
    | (?-i:\b[A-Z]+(?:&[A-Z]+)+) | \bc\+\+ | \bc\#
    | https?://\S+
    | \d+(?::\d+)+                         # 5:30
    | (?<![\w.])\.\d+
    | \d[\d,]*\.\d+(?=[a-z])               # 1.5 m
    | (?<!\S)[-+]\d+(?:[.,:]\d+)* | (?-i:\b[A-Z]+\$)
    | [@#][a-z]\w*
    | (?:(?:[do]['\u2019]\w|\w+[aeiouy]['\u2019](?=[aeiou])|s'm|l'(?=[aeio])|c'm)\w+|n?e'er|li'l|nat'l)\b
    | \bol' | \u2019n\u2019 | y\u2019(?=all\b)  # the ones before are o'clock, ma'am
    | [^\W\xb2\xb3\xb9]+(?:(?:[-./@\u2010\u2011]|(?<=\d),(?=\d))\w+)*(?:\.(?=[,;:]))? | [\xb2\xb3\xb9]
    | [?!]{2,} | \*+ | [$&%#@+=<>^~|/\\()\[\]{}]
    | [\xa2\xa3\xa5\xa9\xae\xb0\xb1\xb4\xd7\xf7\u20ac\u2022\u2032\u2033\u2100-\u2bff]
    """,
    re.VERBOSE | re.I,
)
_SIGNS = {"\xbd": " 1/2 ", "\xbc": " 1/4 ", "\xbe": " 3/4 ", "\u2153": " 1/3 ", "\u2154": " 2/3 ", "\xad": ""}
_ENTITIES = {"&amp;": "&", "&lt;": "< ", "&gt;": " >", "&quot;": '"', "&apos;": "'", "&nbsp;": " "}
_CURLY = re.compile(r"(?<=n)\u2019(?=t\b)|\u2019(?=(?:s|re|ve|ll|d|m)\b)", re.I)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_WRITTEN = _BRACKETS | {"\xa2": "cents", "\xa3": "#", "\u20ac": "$"}
"""Brackets, and signs of money, as the treebank writes them."""


class CaptionScores(Frozen):
    """Scores of captions, and what bootstrapping them needs.

    Attributes:
        cider: CIDEr-D of each caption, from 0 to 10. Papers often print a hundred times it.
        matches: N-grams of each caption that a reference has, for n from 1 to 4.
        ngrams: N-grams of each caption.
        words: Words of each caption.
        reference_words: Words of the reference closest to it in length, the shorter of two.
    """

    cider: tuple[float, ...]
    matches: tuple[tuple[int, ...], ...]
    ngrams: tuple[tuple[int, ...], ...]
    words: tuple[int, ...]
    reference_words: tuple[int, ...]


def tokens(text: str) -> list[str]:
    """Split a caption into the words that the COCO evaluation counts, in lower case.

    That evaluation uses the Penn Treebank tokenizer of Stanford CoreNLP, a Java program, and then drops
    punctuation but no brackets, ``&`` or ``%``. Rarities such as telephone numbers are split otherwise here.
    """
    text = _CURLY.sub("'", unicodedata.normalize("NFC", text))
    for written, meant in (_SIGNS | _ENTITIES).items():
        text = text.replace(written, meant)
    for pattern, parts in _SPLIT:
        text = pattern.sub(parts, text)
    found = (_WRITTEN.get(token, token.lower()) for token in _TOKEN.findall(text))
    return ["".join(_BRACKETS.get(each, each) for each in token) for token in found]


@functools.lru_cache(maxsize=256)
def score(captions: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> CaptionScores:
    """Score captions by pycocoevalcap's scorers of CIDEr-D (arXiv:1411.5726) and BLEU.

    The document frequencies of CIDEr are those of the given references, each sample being a document. It
    follows that its values depend on which samples there are, and that it is 0 for a single one.

    Args:
        captions: One caption per sample.
        references: The references of each sample.

    Raises:
        ValueError: There are no captions, not as many lists of references, or a sample has none with a word.
    """
    if not captions or len(captions) != len(references):
        raise ValueError(f"There are {len(captions)} captions but {len(references)} lists of references.")
    for index, several in enumerate(references):
        if not any(tokens(reference) for reference in several):
            raise ValueError(f"Sample {index} has no reference with a word in it.")
    # Imported here, because it takes its time and only caption cells need it.
    from pycocoevalcap.bleu import bleu_scorer
    from pycocoevalcap.cider import cider_scorer

    words = [" ".join(tokens(caption)) for caption in captions]
    cider = cider_scorer.CiderScorer(n=LONGEST, sigma=SIGMA)
    counted = []
    for caption, (for_cider, for_bleu) in zip(words, _cooked(references), strict=True):
        cider.crefs.append(for_cider)
        cider.ctest.append(cider_scorer.cook_test(caption, LONGEST))
        counted.append(bleu_scorer.cook_test(caption, for_bleu, eff="closest", n=LONGEST))
    _, each = cider.compute_score()
    return CaptionScores(
        cider=tuple(float(value) for value in each),
        matches=tuple(tuple(one["correct"]) for one in counted),
        ngrams=tuple(tuple(one["guess"]) for one in counted),
        words=tuple(one["testlen"] for one in counted),
        reference_words=tuple(one["reflen"] for one in counted),
    )


@functools.lru_cache(maxsize=32)
def _cooked(references: tuple[tuple[str, ...], ...]) -> list[tuple[Any, Any]]:
    """Return the n-grams of the references as both scorers want them, one list for a data set."""
    from pycocoevalcap.bleu import bleu_scorer
    from pycocoevalcap.cider import cider_scorer

    split = [[" ".join(tokens(reference)) for reference in several] for several in references]
    return [(cider_scorer.cook_refs(r, LONGEST), bleu_scorer.cook_refs(r, n=LONGEST)) for r in split]


def bleu(scores: CaptionScores, times: intervals.Floats) -> intervals.Floats:
    """Return BLEU-4 of the corpus, from 0 to 1: no smoothing, closest reference length.

    Args:
        scores: Of each caption.
        times: How often each sample counts, of shape (resamples, samples).

    Returns:
        One value per row of ``times``.
    """
    matches, ngrams = (times @ np.array(part, dtype=np.float64) for part in (scores.matches, scores.ngrams))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(ngrams > 0, matches / ngrams, 0.0)
        mean = np.exp(np.log(precision).mean(axis=1))
        shortness = times @ np.array(scores.reference_words) / (times @ np.array(scores.words))
    penalty = np.exp(np.minimum(0.0, 1 - np.where(np.isfinite(shortness), shortness, np.inf)))
    result: intervals.Floats = mean * penalty
    return result


def mean_cider(scores: CaptionScores, times: intervals.Floats) -> intervals.Floats:
    """Return CIDEr-D of the corpus, the mean of its captions'; arguments and result as of :func:`bleu`."""
    result: intervals.Floats = times @ np.array(scores.cider) / times.sum(axis=1)
    return result


def is_captioning(dataset: str) -> bool:
    """Return whether answers of a data set, or of its stand-in, are captions."""
    return dataset.removesuffix("-mini") == "coco"
