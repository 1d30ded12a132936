"""Word error rates and official accuracies on cases worked out by hand."""

from __future__ import annotations

import pytest

from vlmnb import quality


def test_wer_of_the_corpus_is_errors_over_words() -> None:
    found = quality.wer(
        ["a red circle", "blue", "two green squares here"], ["a red square", "blue blue blue", ""]
    )
    assert found.errors == (1, 2, 4)
    assert found.reference_words == (3, 1, 4)
    assert found.wer == 7 / 8


def test_wer_exceeds_one_and_respects_case_and_punctuation() -> None:
    assert quality.wer(["B"], ["the answer is B of course"]).wer == 5
    assert quality.wer(["Red", "red"], ["red", "red."]).errors == (1, 1)


def test_wer_refuses_what_is_undefined() -> None:
    with pytest.raises(ValueError, match="sample 1"):
        quality.wer(["a", "  "], ["a", "b"])
    with pytest.raises(ValueError, match="2 references but 1"):
        quality.wer(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="no references"):
        quality.wer([], [])


@pytest.mark.parametrize(("matches", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_of_ten_references(matches: int, score: float) -> None:
    references = ["Stop"] * matches + ["something else"] * (10 - matches)
    found = quality.accuracy("textvqa", [references], ["the stop!"])
    assert found == pytest.approx((score,))


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
        ("an\napple\t", "apple"),
    ],
)
def test_answers_are_compared_in_normal_form(text: str, normal: str) -> None:
    assert quality.normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        (" (b) ", "B"),
        ("B. red", "B"),
        ("B) red", "B"),
        ("B: red", "B"),
        ("The answer is B", "B"),
        ("the answer is (c).", "C"),
        ("Answer: D", "D"),
        ("red", "B"),
        ("Red.", "B"),
        ("a", "A"),
        ("E", None),
        ("A cat sits here", None),
        ("the answer is a red block", None),
        ("I think red", None),
        ("", None),
    ],
)
def test_option_letter(answer: str, letter: str | None) -> None:
    assert quality.option_letter(answer, ["blue", "red", "green", "black"]) == letter


def test_the_text_of_a_choice_goes_before_letters() -> None:
    assert quality.option_letter("B", ["C", "B", "A"]) == "B"
    assert quality.option_letter("A", ["C", "B", "A"]) == "C"
    assert quality.option_letter("red", ["red", "red"]) is None


def test_accuracy_by_data_set() -> None:
    letters, choices = [["B"], ["A"]], [["blue", "red"], ["one", "two"]]
    assert quality.accuracy("scienceqa-mini", letters, ["red", "B"], choices) == (1, 0)
    assert quality.accuracy("scienceqa", letters, ["(B)", "A. one"]) == (1, 1)
    assert quality.accuracy("easy-vqa", [["yes"], ["teal"]], [" Yes\n", "teal square"]) == (1, 0)
    assert quality.accuracy("coco-mini", [["a dog"]], ["a dog"]) is None


def test_accuracy_refuses_unknown_data_sets_and_uneven_lists() -> None:
    with pytest.raises(ValueError, match="known: coco, easy-vqa, scienceqa, textvqa"):
        quality.accuracy("imagenet", [["a"]], ["a"])
    with pytest.raises(ValueError, match="1 references but 2"):
        quality.accuracy("textvqa", [["a"] * 10], ["a", "b"])
