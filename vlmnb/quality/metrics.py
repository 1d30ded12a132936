"""Score answers: word error rate, and the official accuracy of each data set that has one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from string import ascii_uppercase

import jiwer

from vlmnb.errors import nearest

Choices = Sequence[str] | None


def word_errors(reference: str, answer: str) -> tuple[int, int]:
    """Return the word errors of an answer, by jiwer, and the words of its reference.

    White space of any kind separates words. Case and punctuation count, as in the reports. An empty answer
    counts as the deletion of every reference word. A reference may have no words: then every word is wrong.
    """
    reference, answer = _spaced(reference), _spaced(answer)
    if not reference:
        return len(answer.split()), 0
    counted = jiwer.process_words(reference, answer)
    errors = counted.substitutions + counted.deletions + counted.insertions
    return errors, counted.hits + counted.substitutions + counted.deletions


def accuracy(dataset: str, references: Sequence[str], answer: str, choices: Choices = None) -> float | None:
    """Score an answer, from 0 to 1, by the official rule of its data set.

    * ScienceQA, and pairs of pictures: 1 if the answer names the option whose letter is the first reference.
    * TextVQA: soft accuracy over ten references, see :func:`soft_accuracy`.
    * easy-VQA: 1 if the answer is the reference, case and surrounding white space aside.
    * COCO: None. How good a caption is, is not a matter of right or wrong.

    Args:
        dataset: Name of the data set; a stand-in (``...-mini``) is scored like the original.
        references: Accepted answers.
        answer: The model's.
        choices: The choices in the order of their letters, where there are any.

    Raises:
        ValueError: The data set is unknown, or the references are too few for its rule.
    """
    base = dataset.removesuffix("-mini")
    if base not in _RULES:
        raise ValueError(f"There is no quality rule for data set {dataset!r}; {nearest(dataset, _RULES)}.")
    rule = _RULES[base]
    if rule and not references:
        raise ValueError("There are no references to compare the answer with.")
    return rule(references, answer, choices) if rule else None


def chance_level(choices: Iterable[Choices]) -> float | None:
    """Return the expected accuracy of a random choice: the mean of 1 / number of choices.

    None if a question has no choices.
    """
    counts = [len(offered or ()) for offered in choices]
    return sum(1 / count for count in counts) / len(counts) if counts and all(counts) else None


def chance_sentence(levels: Iterable[tuple[str, float | None]]) -> str:
    """Describe the level of each data set, from pairs of a title and a level; empty if none has one.

    Records of one data set can hold different questions, and so have different levels.
    """
    known: dict[str, list[float]] = {}
    for title, value in levels:
        if value is not None:
            known.setdefault(title, []).append(value)
    said = []
    for title, values in known.items():
        ends = dict.fromkeys(f"{value:.3f}" for value in (min(values), max(values)))
        said.append(f"{' to '.join(ends)} on {title}")
    return f"Picking one of the choices at random would score {', '.join(said)}." if said else ""


def option_letter(answer: str, choices: Choices = None) -> str | None:
    """Return the option that an answer names, as a capital letter; None if it names none, or none offered.

    The official rule comes first, see :func:`official_option`. Where it fails, the first of these counts:

    1. The exact text of one choice, alone, behind its letter (``B red``, ``b)red``) or as a statement
       (``The answer is red.``).
    2. A letter alone, with any marks: ``b``, ``(B)``, ``**B**``.
    3. The last statement: ``Answer: B``, ``the correct option is (b)``, ``answer: b``, ``**B** is correct``.
    4. A letter at the start, before a mark or a reason: ``B) red``, ``B, because it is red``.
    5. A letter that is picked: ``option B``, ``I choose B``, ``It's B``; no other may be picked as well.
    6. A letter alone as the last sentence, if no other stands alone before it: ``Let me think. B``.

    Emphasis, tags, opening words (``Sure!``, ``Correct:``) and what is said to be wrong (``not A``,
    ``option A is wrong``) are left out. In 3 to 5 ``I`` is the pronoun, and an ``a`` is a letter only as a
    capital, in brackets or at the end of its sentence.
    """
    official = official_option(answer, choices)
    if official:
        return official
    known = ascii_uppercase if choices is None else ascii_uppercase[: len(choices)]
    whole = (
        _EMPHASIS.sub("", _TAGGED.sub(r"\2", unicodedata.normalize("NFKC", answer))).strip().lstrip("-#> ")
    )
    text = whole.removeprefix(opening[0] if (opening := _OPENING.match(whole)) else "")
    named = zip(known, choices or (), strict=False)
    same = [
        letter
        for letter, choice in named
        if any(_names(letter, choice, said) for said in (answer, whole, text))
    ]
    if len(same) == 1:
        return same[0]
    text = _BRACKETED.sub(lambda found: f"{found[1].upper()})", text)
    text = _WRONG.sub("", text).strip()
    alone, stated, first = _LETTER_ALONE.fullmatch(text), _STATED.findall(text), _LETTER_FIRST.match(text)
    if alone:
        letters = {alone[1].upper()}
    elif stated:
        letters = {"".join(stated[-1]).upper()}
    elif first:
        letters = {first[1], *_LISTED.findall(text)}
    else:
        last = _LETTER_LAST.fullmatch(text)
        letters = set(map(str.upper, _PICKED.findall(text) or (last.groups() if last else ())))
    return letters.pop() if len(letters) == 1 and letters <= set(known) else None


def official_option(answer: str, choices: Choices = None) -> str | None:
    """Return the option that LLaVA's eval_science_qa.py reads in an answer; None where it reads ``FAILED``.

    It reads a capital letter from A to E alone, one followed by a full stop and a blank at the start, or the
    only ``The answer is X`` in a text, if at least one character follows.
    """
    text = answer.strip()
    known = "ABCDE" if choices is None else "ABCDE"[: len(choices)]
    if text[:1] in tuple("ABCDE") and text[1:3] in ("", ". "):
        letters = [text[0]]
    else:
        letters = re.findall(r"The answer is ([A-Z]).", text)
    return letters[0] if len(letters) == 1 and letters[0] in known else None


def soft_accuracy(references: Sequence[str], answer: str) -> float:
    """Return VQA's soft accuracy: agreement with the annotators, leaving out each of them in turn.

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
    """Return an answer in the form in which VQA and TextVQA compare answers.

    Lower case; without articles, most punctuation, and full stops outside numbers; number words as
    digits; missing apostrophes of contractions restored. The rule is that of the TextVQA challenge
    (``EvalAIAnswerProcessor`` in facebookresearch/mmf, after the evaluation script of VQA), its
    oddities included: punctuation between characters becomes a blank unless it also touches a blank, and
    the article "a" alone becomes nothing. Added is that composed and decomposed letters are equal.
    """
    text = re.sub(r"[,?]", "", unicodedata.normalize("NFC", text).lower()).replace("'s", " 's")
    text = " ".join(text.split())
    plain = text
    for mark in _PUNCTUATION:
        touches_blank = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if touches_blank else " ")
    plain = re.sub(r"\.(?!\d)", "", plain, count=_STOPS)
    words = (_NUMBERS.get(word, word) for word in plain.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def _spaced(text: str) -> str:
    """Return a text with composed letters and single blanks; jiwer takes no other space for one."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _plain(text: str) -> str:
    return _spaced(text).rstrip(".").lower()


def _names(letter: str, choice: str, answer: str) -> bool:
    """Return whether an answer is the text of a choice, alone, behind its letter or as a statement."""
    own, said = _plain(choice), _plain(answer)
    lettered = re.fullmatch(rf"\(?{letter.lower()}(\W*)(.+)", said)
    return (
        said == own
        or (
            lettered is not None
            and lettered[2] == own
            and (answer[:1].isupper() or lettered[1].strip() != "")
        )
        or re.search(rf"\banswer(?: is)?:? {re.escape(own)}(?:$|[.,;!]| because\b)", said) is not None
    )


def _option(references: Sequence[str], answer: str, choices: Choices) -> float:
    return float(option_letter(answer, choices) == references[0].strip().upper())


def _soft(references: Sequence[str], answer: str, choices: Choices) -> float:
    return soft_accuracy(references, answer)


def _exact(references: Sequence[str], answer: str, choices: Choices) -> float:
    return float(_spaced(answer).lower() == _spaced(references[0]).lower())


_RULES: dict[str, Callable[[Sequence[str], str, Choices], float] | None] = {
    "coco": None,
    "scienceqa": _option,
    "scienceqa-text": _option,
    "pairs": _option,
    "textvqa": _soft,
    "easy-vqa": _exact,
}

_EMPHASIS = re.compile(
    r"[*_`$\"\u201c\u201d]|\\(?:boxed|text)|(?<!\w)['\u2018\u2019](?=\w['\u2019])|(?<=\W\w)['\u2019]"
)
_OPENING = re.compile(
    r"(?i:(?:(?:sure|of course|certainly|absolutely|yes|okay|ok|correct|right|response|solution|result|final)"
    r"\s?[^\w\s([{<]+\s*)+)(?=[\w([{<])"
)
_TAGGED = re.compile(r"<(\w+)>(.*?)</\1>", re.DOTALL)
_BRACKETED = re.compile(r"(?:^|[(\[{])([A-Za-z])[)\]}]")
_WRONG = re.compile(
    r"(?i:(?:\bnot|\bcannot|n't)\s+(?:be\s+)?(?:option\s+|choice\s+)?)[A-Z]\b\)?"
    r"|(?i:\b(?:option|choice)\s+)?\b[A-Z](?:\b\)?|\)\s+\w+)\s+(?:is|was)(?:n't|\s+(?:not|wrong|incorrect|false))\b"
)
_LETTER_ALONE = re.compile(r"\W*([A-Za-z])\W*")
# Letters that are words are capitals or end a sentence: "the answer is a red block" names no option.
_LETTER = r"([A-HJ-Zb-hj-z]\b(?![-'.]\w)|(?i:[A-HJ-Z])(?=[.,;:)]+\s|[.)]*$|\s*\n))"
_STATED = re.compile(
    r"\b(?i:answer|assistant|letter|(?:correct|right|best) (?:option|choice|one))\b[^.:\n]{0,30}?"
    r"(?:\b(?i:is)\b|[:=])"
    rf"\W*(?i:(?:option|choice|letter)\W+)?{_LETTER}"
    r"|\b([A-HJ-Z])(?:\)?|\)\s+\w+)\s+is\s+(?:the\s+)?(?:correct|right|true|best|answer)\b"
)
_LETTER_FIRST = re.compile(
    r"([A-HJ-Z])(?:[).:,;\]]+(?=\s|$)(?!\s*(?:(?:and|or)\s+)?[A-Z]\b)|\s*[\n:]"
    r"|\s+(?:[-\u2013]|because|since|rather|instead)\s)"
)
_LETTER_LAST = re.compile(r"(?:(?!\b[A-HJ-Z]\b).)*[.!?\n]\W*([A-HJ-Z])\W*", re.DOTALL)
_LISTED = re.compile(r"(?<=[.;!?\n])\s*([A-HJ-Z])[):]")
_PICKED = re.compile(
    r"\b(?i:option|choice|answer|letter|choose|pick|select|say|it is|it's|go with|must be|be|but|so"
    rf"|therefore|thus|hence|leaves)\W+{_LETTER}"
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


_FULL = [stem + ending for ending, stems in _CONTRACTED.items() for stem in stems.split()]
_CONTRACTIONS = {
    form[:i] + form[i + 1 :]: form for form in _FULL for i, mark in enumerate(form) if mark == "'"
} | {"somebody'd": "somebodyd"}
"""Contractions by their spellings that lack one apostrophe; the official list turns the last one around."""
