"""Compute scores of answers a second time, without the code and the libraries that score them.

Only of texts that need no rule for punctuation; the others have None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
PLAIN = re.compile(r"[^\W_]+(?: [^\W_]+)*\.?")
"""Words of letters and digits with a blank between them, and a full stop."""


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
