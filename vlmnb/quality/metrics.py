"""Score answers: word error rate, and the official accuracy of each data set that has one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from string import ascii_uppercase

import jiwer
from pydantic import BaseModel, ConfigDict

from vlmnb.errors import nearest

Choices = Sequence[str] | None


class WordErrors(BaseModel):
    """Word errors of answers against their references.

    Attributes:
        wer: Word error rate of the corpus as a fraction: all substitutions, deletions and insertions over
            all reference words. It exceeds 1 where answers are much longer than their references.
        errors: Word errors of each sample.
        reference_words: Words of each reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wer: float
    errors: tuple[int, ...]
    reference_words: tuple[int, ...]


def wer(references: Sequence[str], answers: Sequence[str]) -> WordErrors:
    """Word error rate by jiwer, words being what white space separates.

    Nothing is normalized: case and punctuation count, as in the reports. An empty answer counts as the
    deletion of every reference word.

    Raises:
        ValueError: There are no references, not as many answers, or a reference has no words.
    """
    _same_length(references, answers)
    for index, reference in enumerate(references):
        if not reference.split():
            raise ValueError(f"The reference of sample {index} has no words; its error rate is undefined.")
    errors, words = [], []
    for reference, answer in zip(references, answers, strict=True):
        counted = jiwer.process_words(reference, answer)
        errors.append(counted.substitutions + counted.deletions + counted.insertions)
        words.append(counted.hits + counted.substitutions + counted.deletions)
    return WordErrors(wer=sum(errors) / sum(words), errors=tuple(errors), reference_words=tuple(words))


def accuracy(
    dataset: str,
    references: Sequence[Sequence[str]],
    answers: Sequence[str],
    choices: Sequence[Choices] | None = None,
) -> tuple[float, ...] | None:
    """Score of each answer, from 0 to 1, by the official rule of its data set.

    * ScienceQA: 1 if the answer names the option whose letter is the first reference.
    * TextVQA: soft accuracy over ten references, see :func:`soft_accuracy`.
    * easy-VQA: 1 if the answer is the reference, case and surrounding white space aside.
    * COCO: None. How good a caption is, is not a matter of right or wrong.

    Args:
        dataset: Name of the data set; a stand-in (``...-mini``) is scored like the original.
        references: Accepted answers of each sample.
        answers: One answer per sample.
        choices: The choices of each sample, in the order of their letters, where it has any.

    Raises:
        ValueError: The data set is unknown, or the sequences differ in length.
    """
    _same_length(references, answers)
    base = dataset.removesuffix("-mini")
    if base not in _RULES:
        raise ValueError(f"There is no quality rule for data set {dataset!r}; {nearest(dataset, _RULES)}.")
    rule = _RULES[base]
    if rule is None:
        return None
    listed = choices if choices is not None else [None] * len(references)
    _same_length(references, listed)
    return tuple(rule(r, a, c) for r, a, c in zip(references, answers, listed, strict=True))


def option_letter(answer: str, choices: Choices = None) -> str | None:
    """The option an answer names, as a capital letter; None if it names none, or none that exists.

    Understood are a letter alone or marked as one (``B``, ``b``, ``(B)``, ``B.``), a letter before its
    text (``B. red``, ``B) red``), ``The answer is B`` and its like, and the exact text of one choice.
    """
    text = answer.strip()
    if choices is not None:
        # The text of a choice comes first: the choice "a" of "vowels: a, e" is a text, not the letter A.
        same = [i for i, choice in enumerate(choices) if _plain(choice) == _plain(text)]
        if len(same) == 1:
            return ascii_uppercase[same[0]]
    found = _LETTER_ALONE.fullmatch(text) or _LETTER_FIRST.match(text) or _LETTER_TOLD.search(text)
    if found is None:
        return None
    letter = str(found[found.lastindex or 1]).upper()
    known = ascii_uppercase if choices is None else ascii_uppercase[: len(choices)]
    return letter if letter in known else None


def soft_accuracy(references: Sequence[str], answer: str) -> float:
    """VQA soft accuracy: agreement with the annotators, leaving out each of them in turn.

    For every reference left out, min(matches among the others / 3, 1); the mean of these. With ten
    references, 0, 1, 2, 3 and 4 or more matches give 0, 0.3, 0.6, 0.9 and 1 (https://visualqa.org/evaluation.html).
    """
    wanted = normalize_answer(answer)
    matches = [normalize_answer(reference) == wanted for reference in references]
    if len(matches) < 2:
        raise ValueError(f"Soft accuracy leaves one reference out, but there are only {len(matches)}.")
    total = sum(matches)
    return sum(min((total - own) / 3, 1.0) for own in matches) / len(matches)


def normalize_answer(text: str) -> str:
    """The answer in the form in which VQA and TextVQA compare answers.

    Lower case; without articles, most punctuation, and full stops outside numbers; number words as
    digits; missing apostrophes of contractions restored. The rule is that of the TextVQA challenge
    (``EvalAIAnswerProcessor`` in facebookresearch/mmf, after the evaluation script of VQA), its
    oddities included: punctuation between characters becomes a blank unless it also touches a blank.
    """
    text = re.sub(r"[,?]", "", text.lower()).replace("'s", " 's")
    text = " ".join(text.split())
    plain = text
    for mark in _PUNCTUATION:
        touches_blank = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if touches_blank else " ")
    plain = re.sub(r"\.(?!\d)", "", plain, count=_STOPS)
    words = (_NUMBERS.get(word, word) for word in plain.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def _plain(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _same_length(references: Sequence[object], others: Sequence[object]) -> None:
    if not references:
        raise ValueError("There are no references to compare answers with.")
    if len(references) != len(others):
        raise ValueError(f"There are {len(references)} references but {len(others)} answers or choices.")


def _option(references: Sequence[str], answer: str, choices: Choices) -> float:
    return float(option_letter(answer, choices) == references[0].strip().upper())


def _soft(references: Sequence[str], answer: str, choices: Choices) -> float:
    return soft_accuracy(references, answer)


def _exact(references: Sequence[str], answer: str, choices: Choices) -> float:
    return float(answer.strip().lower() == references[0].strip().lower())


_RULES: dict[str, Callable[[Sequence[str], str, Choices], float] | None] = {
    "coco": None,
    "scienceqa": _option,
    "textvqa": _soft,
    "easy-vqa": _exact,
}

_LETTER_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\].:]*")
_LETTER_FIRST = re.compile(r"[(\[]?([A-Z])(?:[).:\]]+(?=\s|$)|\s*[\n:])")
# A bare letter must be a capital here: "the answer is a red block" names no option.
_LETTER_TOLD = re.compile(
    r"\b(?i:answer|option|choice)\b(?i:\s+is)?\s*:?\s*(?i:option\s+)?(?:[(\[]([A-Za-z])[)\]]|([A-Z])\b(?!'))"
)

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_STOPS = int(re.UNICODE)
"""The official script hands over its flag where the number of replacements belongs: 32."""

_NUMBERS = dict(none="0", zero="0", one="1", two="2", three="3", four="4", five="5", six="6", seven="7",
                eight="8", nine="9", ten="10")  # fmt: skip

_CONTRACTED = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "n't've": "could had might should would",
    "'d": "he how it someone something there they where who you",
    "'d've": "he it she somebody someone something there they we who y'all you",
    "'ll": "how it somebody someone something they what who why y'all you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "'ve": "could might must not should they we what where who would you",
    "": "'twas ma'am o'clock 'ow's'at y'all",
}
"""Contractions by their ending. Those that are another word without apostrophe (``well``) are left out."""


def _contractions() -> dict[str, str]:
    """Every contraction by its spellings that lack one apostrophe."""
    full = [stem + ending for ending, stems in _CONTRACTED.items() for stem in stems.split()]
    forms = {form[:i] + form[i + 1 :]: form for form in full for i, mark in enumerate(form) if mark == "'"}
    # The official list turns this one around.
    return forms | {"somebody'd": "somebodyd"}


_CONTRACTIONS = _contractions()
