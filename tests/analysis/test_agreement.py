"""Answers compared with those of the reference run: what is counted, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from factory import absent, answers, but, cell, record
from hypothesis import given
from hypothesis import strategies as st

from vlmnb.analysis import agreement
from vlmnb.records.parts import Answer
from vlmnb.records.record import Record
from vlmnb.stats import intervals
from vlmnb.views import answer_tables, findings


def said(*texts: str) -> tuple[Answer, ...]:
    """Answers of these texts; GOOD is right."""
    return tuple(
        but(answer, answer=text, score=float(text == "GOOD"))
        for answer, text in zip(answers(len(texts), 0), texts, strict=True)
    )


def run(batch_size: int, optimization: str, *texts: str, **changes: Any) -> Record:
    dtype = optimization if optimization in agreement.PRECISION else "fp32"
    of = cell(batch_size=batch_size, optimization=optimization, dtype=dtype, **changes)
    return record(of, answers=said(*texts), latencies=(0.2,) * 6)


def test_identical_answers_and_what_became_of_the_others() -> None:
    found = agreement.agreement(run(1, "fp32", "GOOD", "GOOD dog", "x", "y"),
                                run(4, "fp32", "GOOD", "GOOD", "x", "a b"))  # fmt: skip
    assert (found.identical, found.total, found.share) == (2, 4, 0.5)
    assert (found.gained, found.lost) == (1, 0)
    assert found.wer == pytest.approx((1 + 2) / 5)
    assert found.low < 0.5 < found.high


def test_empty_answers_of_the_reference_are_no_obstacle() -> None:
    assert agreement.agreement(run(1, "fp32", "", ""), run(4, "fp32", "", "x")).wer is None
    assert agreement.agreement(run(1, "fp32", "", "x"), run(4, "fp32", "y", "x")).wer == 1


def test_answers_without_scores_have_none_that_rose_or_fell() -> None:
    captions = run(1, "fp32", "a", "b")
    captions = but(captions, answers=tuple(but(answer, score=None) for answer in captions.answers))
    assert agreement.agreement(captions, captions).gained is None


def test_answers_are_paired_by_question_not_by_place() -> None:
    one, other = run(1, "fp32", "a", "b", "c"), run(4, "fp32", "a", "b", "c")
    assert agreement.agreement(one, but(other, answers=other.answers[::-1])).identical == 3


def test_other_questions_or_a_doubled_list_are_refused() -> None:
    with pytest.raises(ValueError, match="different questions"):
        agreement.agreement(run(1, "fp32", "a", "b"), run(4, "fp32", "a", "b", "c"))
    doubled = but(run(4, "fp32"), answers=said("a", "b") * 2)
    with pytest.raises(ValueError, match="twice"):
        agreement.agreement(run(1, "fp32", "a", "b"), doubled)


@given(st.integers(1, 500), st.data())
def test_the_interval_of_a_share_holds_it_and_never_vanishes(total: int, drawn: st.DataObject) -> None:
    some = drawn.draw(st.integers(0, total))
    low, high = intervals.wilson(some, total)
    assert 0 <= low <= some / total <= high <= 1
    assert high > low


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    for some, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert intervals.wilson(some, total) == pytest.approx((low, high), abs=1e-4)


def test_the_matrix_holds_every_run_against_batch_1_in_the_highest_precision() -> None:
    same = [run(size, name, "GOOD", "b") for size in (4, 1) for name in ("sdpa", "fp32")]
    found = [same[0], run(4, "bf16", "GOOD", "x"), run(1, "bf16", "z", "x"), *same[1:]]
    matrix = agreement.matrix(found)
    table = answer_tables.agreement_table(matrix)
    assert table.columns == ("Batch size", "fp32", "bf16", "sdpa")
    shown = [[field.text.split(" [")[0] for field in row] for row in table.rows]
    assert shown == [["1", "reference", "0.0 %", "100.0 %"], ["4", "100.0 %", "50.0 %", "100.0 %"]]
    assert "batch 1, fp32, eager" in table.caption
    assert "Partial" not in table.caption
    assert table.rows[1][2].key == found[1].key
    assert "1 of 2 answers differ" in table.rows[1][2].title
    assert "lower in 0" in table.rows[1][2].title


def test_a_partial_matrix_says_so_and_a_failed_cell_says_why() -> None:
    broken = absent(cell(batch_size=16, optimization="bf16", dtype="bf16"), "out_of_memory", "too large")
    matrix = agreement.matrix([run(4, "fp32", "a", "b"), run(16, "fp32", "a", "c"), broken])
    table = answer_tables.agreement_table(matrix)
    assert "Partial: 3 of 4" in table.caption
    assert "no run at batch 1" in table.caption
    assert [row[2].text for row in table.rows] == ["-", "-"]
    assert [row[2].title for row in table.rows] == ["not measured", "out of memory: too large"]


def test_nothing_to_compare_is_no_matrix() -> None:
    assert agreement.matrix([]) is None
    assert agreement.matrix([run(1, "fp32", "a")]) is None
    assert agreement.matrix([run(1, "fp32", "a", weights="random"), run(4, "fp32", "a")]) is None


def test_a_page_takes_cells_of_other_pages_along_but_no_other_questions() -> None:
    page = [run(4, "fp32", "a", "b"), run(4, "bf16", "a", "x")]
    others = [run(1, "fp32", "a", "b"), run(1, "fp32", "q", "r", dataset="coco-mini"),
              run(1, "fp32", "a", "b", image_size=32)]  # fmt: skip
    (matrix,) = agreement.matrices(page, others)
    assert matrix.sizes == (1, 4)
    assert matrix.reference == others[0]


def test_the_batch_page_says_how_many_answers_stayed() -> None:
    found = [run(1, "fp32", "GOOD", "b", "c"), run(4, "fp32", "GOOD", "x", "c")]
    assert "2 of 3 answers are the same" in findings.text("batch_size", [r.cell for r in found], found)


def test_a_batch_size_that_no_batch_had_is_compared_with_none() -> None:
    short = run(16, "fp32", "GOOD", "b")
    short = but(short, timing=but(short.timing, batch_samples=(2,) * 6))
    found = [run(1, "fp32", "GOOD", "x"), run(2, "fp32", "GOOD", "x"), short]
    (by_batch,) = agreement.by_batch(found)
    assert list(by_batch.others) == [2]
    assert agreement.noise_of(found[0], found) is found[1]
    table = answer_tables.agreement_table(agreement.matrix(found))
    assert table.rows[2][1].text == "-"
    assert "fewer samples" in table.rows[2][1].title
    assert agreement.matrix([found[0], short]) is None
