"""The page on the reuse of a picture: costs, when keeping pays, and why a way is missing."""

from __future__ import annotations

import pytest
from background import MARKED, disturbed
from factory import absent, but
from reusing import reused

from vlmnb.analysis import picture_reuse
from vlmnb.audit import registry
from vlmnb.meters.readings import EnergyReading
from vlmnb.views import footnotes, reuse_page


@pytest.mark.parametrize(
    ("keep_s", "plain_s", "kept_s", "questions"),
    [
        (3.0, 2.0, 1.0, 3), (0.5, 2.0, 1.0, 1), (3.5, 2.0, 1.0, 4), (0.5, 1.0, 1.0, None),
        (1.0, 1.0, 2.0, None),
    ],
)  # fmt: skip
def test_keeping_pays_from_the_question_that_wins_it_back(
    keep_s: float, plain_s: float, kept_s: float, questions: int | None
) -> None:
    record = reused(keep_s, plain_s, kept_s)
    assert record.reused
    found = picture_reuse.break_even(record)
    assert found
    assert found.questions == questions
    assert picture_reuse.costs_s(record, record.reused.kept) == (kept_s + keep_s / 2,) * 4
    assert not registry.run([record], "measured")
    row = [field.text for field in reuse_page.table([record], 0.02).rows[1]]
    shown = dict(zip(reuse_page.HEADS, row, strict=True))
    assert shown["Pays from, questions"] == str(questions or "-")
    assert shown["Same answers"] == "8 of 8"
    assert shown["% of plain"].startswith(f"{100 * (kept_s + keep_s / 2) / plain_s:.1f}")


def test_the_page_says_when_it_pays_and_why_a_way_is_missing() -> None:
    record = reused()
    gone = absent(but(record.cell, reuse="prefix"), "unsupported", "no such cache")
    said = reuse_page.text([record, gone], 0.02)
    assert "2.50 s instead of 2.00 s, 125 % of plain" in said
    assert "too few pictures" in said
    assert "no such cache" in said
    assert len(said.splitlines()) == 2
    assert [row[2].text for row in reuse_page.table([record, gone], 0.02).rows] == ["2.00", "2.50", "-"]
    assert [row[3].text for row in reuse_page.table([record, gone], 0.02).rows] == ["-", "2.00", "-"]
    assert len(reuse_page.points([record, gone]).rows) == 2
    assert reuse_page.figure([record, gone]).axes
    captions = (
        reuse_page.table([record], 0.02).caption,
        reuse_page.points([record]).caption,
        reuse_page.caption([record]),
    )
    assert all("88 % intervals" in caption for caption in captions), "of four pictures"


def test_no_number_of_questions_pays_where_the_cost_of_so_many_may_be_that_of_plain_ones() -> None:
    record = reused(0.2, 2.0, 1.0, pictures=6)
    assert record.reused
    kept = but(record.reused.kept, question_s=(1.0, 1.0, 4.0, 1.0) * 3)
    record = but(record, reused=but(record.reused, kept=kept))
    found = picture_reuse.break_even(record)
    assert found
    assert found.questions == 1, "by the medians"
    at = reuse_page.HEADS.index("Pays from, questions")
    (field,) = [row[at] for row in reuse_page.table([record], 0.02).rows[1:]]
    assert (field.text, "may be noise" in field.title) == ("-", True)
    busy = [row[at].text for row in reuse_page.table([disturbed(record)], 0.02).rows[1:]]
    assert busy == ["-"], "a mark is that of a number"


def test_a_saving_is_concluded_only_from_a_quiet_machine_and_beyond_the_noise_floor() -> None:
    record = reused(0.6, 2.0, 1.0, pictures=6)
    assert "65 % of plain (59 to 72, noise floor included). By the medians it pays from 1 question" in (
        reuse_page.text([record], 0.1)
    )
    said = reuse_page.text([record], 0.9)
    assert "may be noise" in said, "no measurable change is 25 % at most, as elsewhere"
    assert "pays" not in said
    said = reuse_page.text([disturbed(record)], 0.1)
    assert "†" in said
    assert "pays" not in said
    assert "%" not in said


def test_table_and_sentence_conclude_the_same_by_the_noise_floor() -> None:
    record = reused(0.6, 2.0, 1.0, pictures=6)
    heads = reuse_page.HEADS
    for floor, pays in ((0.1, "1"), (0.9, "-")):
        row = dict(zip(heads, reuse_page.table([record], floor).rows[1], strict=True))
        assert row["Pays from, questions"].text == pays
        share = row["% of plain"]
        assert share.span == f"[{100 * 0.65 / (1 + floor):.1f}, {100 * 0.65 * (1 + floor):.1f}]"
        assert ("pays from" in reuse_page.text([record], floor)) == (pays != "-")


def test_no_break_even_is_told_beyond_the_measured_number_unless_later_questions_are_cheaper() -> None:
    record = reused(3.0, 2.0, 1.0, pictures=6)
    at = reuse_page.HEADS.index("Pays from, questions")
    texts = [reuse_page.table([record], floor).rows[1][at].text for floor in (0.1, 1.1)]
    assert texts == ["3", "-"], "two questions a picture were measured"
    said = reuse_page.text([record], 0.1), reuse_page.text([record], 0.3)
    assert "pays from 3 questions" in said[0]
    assert "pays" not in said[1], "125 % of plain may be noise"


def test_what_a_busy_machine_measured_is_marked_everywhere() -> None:
    reading = EnergyReading(source="cpu", method="model", energy_j=6.0, detail="", samples=12)
    record = reused(0.2, 2.0, 1.0, pictures=6)
    assert record.reused
    asked = [but(each, energy=(reading,)) for each in (record.reused.plain, record.reused.kept)]
    record = but(record, reused=but(record.reused, plain=asked[0], kept=asked[1]))
    for one, marked in ((record, False), (disturbed(record), True)):
        rows = reuse_page.table([one], 0.1).rows
        numbers = [rows[1][at].text for at in (2, 3, 4, 5, 6)] + [rows[0][5].text]
        numbers += [row[2].text for row in reuse_page.points([one]).rows]
        assert [MARKED in text for text in numbers] == [marked] * 8
        assert (MARKED in footnotes.notes([one])) == marked
    assert "0.500" in rows[0][5].text
