"""Compute scores of answers a second time, without the code and the libraries that score them.

Only of texts that need no rule for punctuation; the others have None.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import mean

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
PLAIN, CAPTION = re.compile(r"[^\W_]+(?: [^\W_]+)*\.?"), re.compile(r"[^\W_]+(?:[,:]? [^\W_]+)*\.?")
"""Words of letters and digits with a blank between them, and a full stop; in a caption other marks too."""

Grams = Counter[tuple[str, ...]]


def sample(
    dataset: str, references: Sequence[str], answer: str, choices: Sequence[str] | None
) -> float | None:
    """Return the score of an answer by the rule of its data set; None where that takes more than this."""
    kind = dataset.removesuffix("-mini")
    if kind == "textvqa":
        return soft(references, answer)
    letter = option(answer, choices or ()) if kind == "scienceqa" else ""
    return float(letter == references[0].strip().upper()) if letter else None


def soft(references: Sequence[str], answer: str) -> float | None:
    """Return VQA's accuracy: the mean, over references left out, of a third of the matches, at most 1."""
    if len(references) < 2 or not all(map(PLAIN.fullmatch, (answer, *references))):
        return None
    wanted, *others = (_vqa_words(text) for text in (answer, *references))
    matches, count = others.count(wanted), len(others)
    with_one_less = matches * min((matches - 1) / 3, 1)
    return (with_one_less + (count - matches) * min(matches / 3, 1)) / count


def _vqa_words(text: str) -> list[str]:
    words = ("zero" if word == "none" else word for word in re.findall(r"[^\W_]+", text.lower()))
    numbered = (str(NUMBERS.index(word)) if word in NUMBERS else word for word in words)
    return [word for word in numbered if word not in ("a", "an", "the")]


def option(answer: str, choices: Sequence[str]) -> str:
    """Return the letter that LLaVA's script reads in an answer, or an empty text."""
    text, said = answer.strip(), re.findall(r"The answer is ([A-Z]).", answer.strip())
    letter = text[:1] if len(text) == 1 or text[1:3] == ". " else "".join(said) if len(said) == 1 else ""
    return letter if letter in tuple("ABCDE"[: len(choices)]) else ""


def captions(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float] | None:
    """Return BLEU-4 and CIDEr-D of a corpus; None for a single sample or texts that are not plain."""
    texts = [*answers, *(text for several in references for text in several)]
    if len(answers) < 2 or not all(map(CAPTION.fullmatch, texts)):
        return None
    own = [_grams(answer) for answer in answers]
    theirs = [[_grams(text) for text in several] for several in references]
    return {"bleu": _bleu(own, theirs), "cider": _cider(own, theirs)}


def _grams(text: str) -> list[Grams]:
    """Return how often each run of one to four words occurs, by length."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for n in range(1, 5)]


def _bleu(own: Sequence[list[Grams]], theirs: Sequence[Sequence[list[Grams]]]) -> float:
    precisions, lengths = [], [one[0].total() for one in own]
    for n in range(4):
        known = [Counter[tuple[str, ...]]() for _ in own]
        for at, several in enumerate(theirs):
            for reference in several:
                known[at] |= reference[n]
        found = sum((one[n] & most).total() for one, most in zip(own, known, strict=True))
        precisions.append(found / max(1, sum(one[n].total() for one in own)))
    closest = [
        min((each[0].total() for each in several), key=lambda words: (abs(words - length), words))
        for several, length in zip(theirs, lengths, strict=True)
    ]
    if not min(precisions):
        return 0.0
    return exp(mean(map(log, precisions)) + min(0.0, 1 - sum(closest) / sum(lengths)))


def _cider(own: Sequence[list[Grams]], theirs: Sequence[Sequence[list[Grams]]]) -> float:
    documents: Grams = Counter()
    for several in theirs:
        documents.update({gram for reference in several for grams in reference for gram in grams})

    def weighed(grams: Grams) -> dict[tuple[str, ...], float]:
        rare = {gram: log(len(theirs)) - log(max(1, documents[gram])) for gram in grams}
        return {gram: count * rare[gram] for gram, count in grams.items()}

    def alike(one: Grams, other: Grams) -> float:
        mine, yours = weighed(one), weighed(other)
        product = sum(min(mine[gram], yours[gram]) * yours[gram] for gram in mine.keys() & yours.keys())
        sizes = [sqrt(sum(value**2 for value in weights.values())) for weights in (mine, yours)]
        return product / (sizes[0] * sizes[1]) if all(sizes) else 0.0

    def score(one: list[Grams], reference: list[Grams]) -> float:
        apart = one[1].total() - reference[1].total()
        same = mean(alike(a, b) for a, b in zip(one, reference, strict=True))
        return 10 * same * exp(-(apart**2) / 72)

    return mean(mean(score(one, each) for each in several) for one, several in zip(own, theirs, strict=True))
