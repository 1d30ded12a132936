"""Rules over the reports' word error rates."""

from __future__ import annotations

from auditing import findings, levels
from printing import printed

from vlmnb.audit.reports.wer import reference_words
from vlmnb.records.record import Record


def grid(*more: str) -> list[Record]:
    """Make figures of a log on the grid of 300 words, and others."""
    texts = ("31.899999618530273", "31.729999542236328", "30.753334045410156", *more)
    return [printed(wer=text, kind="log", seq_len=100 + i) for i, text in enumerate(texts)]


def test_the_reference_words_are_found_from_full_figures() -> None:
    assert reference_words(grid()) == {"textvqa": 300}
    assert reference_words(grid("31.123456954956055")) == {}


def test_a_wer_that_is_no_fraction_of_the_words() -> None:
    assert levels("wer-is-a-fraction-of-words", *grid("20.299")) == ["note"]
    assert levels("wer-is-a-fraction-of-words", *grid("20.298")) == ["error", "note"]


def test_a_wer_above_one_is_of_long_texts() -> None:
    (found,) = findings("wer-of-short-answers", *grid())
    assert found.level == "warning"
    assert found.figures["Words of a scored text, at least"] == "29.8 to 30.9"
    good = [
        printed(wer=text, model="fuyu-8b", seq_len=seq_len)
        for text, seq_len in (("0.100", 100), ("0.200", 101))
    ]
    (found,) = findings("wer-of-short-answers", *grid(), *good)
    assert {where.model for where in found.records} == {"llava-1.5-7b"}


def test_a_limit_that_cuts_nothing_and_yet_costs_time() -> None:
    full = printed(wer="3.351", latency_s="1.835", seq_len=200)
    good, odd = (printed(wer="3.348", latency_s=text, seq_len=100) for text in ("1.830", "1.582"))
    assert levels("limit-that-cuts-nothing-costs-nothing", full, good) == []
    (found,) = findings("limit-that-cuts-nothing-costs-nothing", full, odd)
    assert "third limit" in found.unknown
    for text, against in (("1.569", True), ("1.450", False)):
        third = printed(wer="3.348", latency_s=text, seq_len=50)
        *_, found = findings("limit-that-cuts-nothing-costs-nothing", full, odd, third)
        assert ("against" in found.unknown) == against
        assert found.figures["At 50 tokens"] == f"WER 3.348, {text} s"


def test_answers_that_change_with_a_limit_that_cuts_nothing() -> None:
    at = {limit: printed(wer="8.134", seq_len=limit) for limit in (50, 100, 200)}
    other, cut = printed(wer="8.181", seq_len=200), printed(wer="9.2", seq_len=50)
    rule = "answers-do-not-change-with-an-unused-limit"
    assert levels(rule, at[50], at[100], at[200]) == []
    assert levels(rule, cut, at[100], other) == []
    assert levels(rule, at[50], at[100], other) == ["note"]
