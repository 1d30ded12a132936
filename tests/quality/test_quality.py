"""Word error rates and official accuracies on cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vlmnb.quality import captions, metrics, scores


def test_wer_of_the_corpus_is_errors_over_words() -> None:
    references = ("a red circle", "blue", "two green squares here")
    pairs = tuple(zip(references, ("a red square", "blue blue blue", ""), strict=True))
    assert [metrics.word_errors(*pair) for pair in pairs] == [(1, 3), (2, 1), (4, 4)]
    found = scores.corpus_wer(pairs)
    assert found is not None
    assert found.value == 7 / 8


def test_word_errors_respect_case_and_punctuation() -> None:
    assert metrics.word_errors("B", "the answer is B of course") == (5, 1)
    assert metrics.word_errors("Red", "red") == metrics.word_errors("red", "red.") == (1, 1)
    assert metrics.word_errors(" ", "a b") == (2, 0)


@pytest.mark.parametrize("space", ["\n", "\t", "\u00a0", "\n\n", " \r\n", "\u2028", "\u3000"])
def test_white_space_of_any_kind_separates_words(space: str) -> None:
    assert metrics.word_errors("coca cola", f"coca{space}cola") == (0, 2)
    assert metrics.word_errors(f"coca{space}cola", "coca cola\n") == (0, 2)
    assert metrics.word_errors("stop", f"The sign{space}reads:\nSTOP\nALL WAY") == (6, 1)
    same = scores.corpus_wer((("stop all way", f"stop{space}all way"),))
    assert same is not None
    assert same.value == 0
    assert scores.of("textvqa", [f"STOP{space}ALL WAY"], [["stop all way"]])["wer_normalized"].value == 0


def test_composed_letters_are_decomposed_ones_and_look_alikes_are_not() -> None:
    composed, decomposed, cyrillic = "caf\u00e9", "cafe\u0301", "c\u0430f\u00e9"
    for answer, right in ((decomposed, 1), (cyrillic, 0)):
        assert metrics.word_errors(composed, answer) == (1 - right, 1)
        assert metrics.soft_accuracy([composed] * 10, answer) == right
        assert metrics.accuracy("easy-vqa", [composed], answer) == right
        assert metrics.option_letter(answer, ["tea", composed]) == ("B" if right else None)
        assert scores.of("textvqa", [answer], [[composed]])["wer_normalized"].value == 1 - right
        assert (captions.tokens(answer) == captions.tokens(composed)) == bool(right)


def official_vqa(references: list[str], answer: str) -> float:
    """The rule of the TextVQA challenge, written out step by step for texts without contractions."""

    def processed(text: str) -> str:
        text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
        text = text.replace("\n", " ").replace("\t", " ").strip()
        out = text
        for mark in ';/[]"{}()=+\\_-><@`,?!':
            out = out.replace(mark, "" if mark + " " in text or " " + mark in text else " ")
        stripped = "".join(c for i, c in enumerate(out) if c != "." or out[i + 1 : i + 2].isdigit())
        numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        words = []
        for word in stripped.lower().split():
            digit = "0" if word == "none" else str(numbers.index(word)) if word in numbers else word
            if digit not in ("a", "an", "the"):
                words.append(digit)
        return " ".join(words)

    expected, found = [processed(reference) for reference in references], processed(answer)
    shares = []
    for left_out in range(len(expected)):
        others = expected[:left_out] + expected[left_out + 1 :]
        shares.append(min(1.0, others.count(found) / 3))
    return sum(shares) / len(shares)


PIECES = [
    *["Stop", "stop", "the", "One", "1", "3.5", "e.g.", "-", "; ", "!", "(", ")", "?", ",", " "],
    " ",
    "\n",
    "'s",
]
VQA_TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


@given(st.lists(VQA_TEXT, min_size=10, max_size=10), VQA_TEXT)
def test_soft_accuracy_is_that_of_the_challenge(references: list[str], answer: str) -> None:
    for candidate in (answer, references[0]):
        assert metrics.soft_accuracy(references, candidate) == pytest.approx(
            official_vqa(references, candidate)
        )


@pytest.mark.parametrize(("matches", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_of_ten_references(matches: int, score: float) -> None:
    references = ["Stop"] * matches + ["something else"] * (10 - matches)
    assert metrics.accuracy("textvqa", references, "the stop!") == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Dog's bone!", "dog 's bone"),
        ("1,000", "1000"),
        ("3.5 L.", "3.5 l"),
        ("two-seater", "2 seater"),
        ("yes - no", "yes no"),
        ("Dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("well were its", "well were its"),
        ("none", "0"),
        ("somebody'd", "somebodyd"),
        ("." * 33, "."),
        ("an\napple\t", "apple"),
    ],
)
def test_answers_are_compared_in_normal_form(text: str, normal: str) -> None:
    assert metrics.normalize_answer(text) == normal


ANSWERS = yaml.safe_load(Path(__file__).with_name("option_letters.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("answer", "letter", "official"), ANSWERS)
def test_the_option_that_an_answer_names(answer: str, letter: str | None, official: str | None) -> None:
    choices = ["blue", "red", "green", "black"]
    assert (metrics.option_letter(answer, choices), metrics.official_option(answer, choices)) == (
        letter, official,
    )  # fmt: skip


@pytest.mark.parametrize("answer", ["I. think so", "I, too", "The answer I", "option I", "the answer is I"])
def test_the_pronoun_is_no_option_even_of_ten(answer: str) -> None:
    assert metrics.option_letter(answer, [str(i) for i in range(10)]) is None


def test_a_letter_beyond_the_choices_is_none() -> None:
    assert metrics.official_option("D", ["blue", "red", "green"]) is None
    assert metrics.option_letter("D", ["blue", "red", "green"]) is None


def test_the_official_rule_goes_before_the_text_of_a_choice() -> None:
    assert metrics.option_letter("A", ["C", "B", "A"]) == "A"
    assert metrics.option_letter("a", ["c", "b", "a"]) == "C"
    assert metrics.option_letter("red", ["red", "red"]) is None
    for answer in ("Yes.", "**Yes.**", "yes", "Sure! Yes.", "Yes! A"):
        assert metrics.option_letter(answer, ["yes", "no"]) == "A"
    assert metrics.option_letter("*Right*.", ["left", "right"]) == "B"


def test_accuracy_by_data_set() -> None:
    assert metrics.accuracy("scienceqa-mini", ["B"], "red", ["blue", "red"]) == 1
    assert metrics.accuracy("scienceqa-mini", ["A"], "B", ["one", "two"]) == 0
    assert metrics.accuracy("scienceqa", ["B"], "(B)") == metrics.accuracy("scienceqa", ["A"], "A. one") == 1
    assert metrics.accuracy("easy-vqa", ["yes"], " Yes\n") == 1
    assert metrics.accuracy("easy-vqa", ["teal"], "teal square") == 0
    assert metrics.accuracy("coco-mini", ["a dog"], "a dog") is None


def test_accuracy_refuses_unknown_data_sets_and_too_few_references() -> None:
    with pytest.raises(ValueError, match=r"known: coco, easy-vqa, .*textvqa"):
        metrics.accuracy("imagenet", ["a"], "a")
    for dataset, references in (("textvqa", ["a"]), ("textvqa", []), ("scienceqa", []), ("easy-vqa", [])):
        with pytest.raises(ValueError, match="reference"):
            metrics.accuracy(dataset, references, "a")
