"""Tables and figure of what optimizations save, keep and cost, made from records."""

from __future__ import annotations

import pytest
from background import disturbed
from factory import STEADY, absent, answers, but, cell
from savings import HALF, original, reduced

from vlmnb.analysis import worth
from vlmnb.records.parts import VisualTokens
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell
from vlmnb.stats.intervals import Interval
from vlmnb.views import token_figure, worth_table
from vlmnb.views.marks import MODELLED
from vlmnb.views.templates import say


def of_way(name: str, kept: int, factor: float = 0.9) -> Record:
    made = reduced(factor)
    seen = VisualTokens(kept=kept, of=64)
    key = f"{abs(hash(name)):016x}"[:16]
    return but(made, cell=cell(optimization=name, samples=made.cell.samples), visual_tokens=seen, key=key)


def rows(*records: Record) -> list[worth_table.Worth]:
    return worth_table.rows([record.cell for record in records], records, records, 0.0)


def test_a_row_has_what_was_saved_beside_the_most_it_could() -> None:
    found = rows(original(), of_way(HALF, 32))
    made = worth_table.table(found)
    at = {name: [row[i] for row in made.rows] for i, name in enumerate(made.columns)}
    assert [field.text for field in at["Image tokens"]] == ["64", "32 of 64"]
    assert [field.text for field in at["Keeps 99 %"]] == ["-", "may be noise"]
    assert at["Saved, s per batch"][0].text == "-"
    assert float(at["Saved, s per batch"][1].text) == pytest.approx(0.05, rel=0.2)
    assert float(at["At most, s"][1].text) == pytest.approx(0.177, rel=0.02)
    assert at["Saved, J per sample"][1].text.startswith(MODELLED)
    assert at["Saved, J per sample"][1].span, "so that more than the most is seen to be noise"
    assert at["At most, J"][1].text.startswith(MODELLED), "modelled joules are marked"
    assert all(field.span for field in at["s per right answer"])
    saved = at["Saved, s per batch"][1]
    said = worth_table.text(found, [HALF])
    assert f"`{HALF}` ⚑ saves 0.0506 s" in said
    assert "most of it in decoding" in said
    assert "⚑" not in worth_table.text(found)
    ends = [float(end) for end in saved.span.strip("[]").split(", ")]
    told = [float(end) for end in said.partition("(")[2].partition(")")[0].split(" to ")]
    assert told == pytest.approx(ends, rel=0.01), "the sentence states the interval of the table"


def test_of_a_disturbed_time_nothing_is_concluded() -> None:
    said = worth_table.text(rows(original(), disturbed(of_way(HALF, 32))))
    assert "not reliable" in said
    assert "saves" not in said
    assert "could save" not in said


def test_settings_with_the_same_answer_share_a_line() -> None:
    factors = (0.5, 2.0, 1.0, 1.01)
    made = [of_way(f"visual_tokens-{n + 1}-grid", 32, factor) for n, factor in enumerate(factors)]
    first = original()
    cells = [record.cell for record in (first, *made)]
    said = worth_table.text(worth_table.rows(cells, [first, *made], [], 0.1))
    lines = said.splitlines()
    assert [line.count("`") // 2 for line in lines] == [1, 1, 2, 4]
    assert "saves" in lines[0]
    assert "more than the" in lines[0], "it saves half of the time, and could save a third"
    assert "`visual_tokens-2-grid` (" in lines[1]
    assert lines[2].endswith("`visual_tokens-3-grid` and `visual_tokens-4-grid`.")


def test_a_cell_that_could_not_be_measured_is_a_dash_with_its_reason() -> None:
    none = absent(cell(optimization="visual_tokens-50%-attention"), "not_applicable", "no tower")
    made = worth_table.table(rows(original(), none))
    assert {field.text for field in made.rows[1][1:]} == {"-"}
    assert all("no tower" in field.title for field in made.rows[1][1:])


def test_each_way_is_a_line_that_ends_at_the_original() -> None:
    records = [
        original(),
        *(of_way(f"visual_tokens-{n}-{w}", n) for w in ("random", "grid") for n in (32, 16)),
    ]
    lines = token_figure.lines([record.cell for record in records], records)
    assert {way: [p.kept for p in line] for way, line in lines.items()} == {
        "random": [16, 32, 64], "grid": [16, 32, 64]
    }  # fmt: skip
    assert token_figure.beaten(lines) == {}, "the same answers are no better"
    assert len(token_figure.points(lines).rows) == 5, "the original once"
    told = len(records[0].answers)
    worse = [one._replace(record=but(one.record, answers=answers(told, told - 1))) for one in lines["random"]]
    better = {**lines, "random": worse}
    better["grid"] = [one for one in lines["grid"] if one.kept != 32]
    few = [one._replace(record=but(one.record, answers=answers(told, 6))) for one in lines["random"]]
    assert token_figure.beaten({**better, "random": few}) == {}, "five more right answers may be chance"
    few = [one._replace(record=but(one.record, answers=answers(told, 7))) for one in lines["random"]]
    assert token_figure.beaten({**better, "random": few}) == {"grid": [16]}, "question by question"
    assert token_figure.beaten(better) == {"grid": [16]}, "only the numbers that both kept"
    assert "grid (16)" in token_figure.caption(better)
    assert token_figure.figure(lines).axes[0].get_xlim()[0] == 0
    assert "No way to choose" in token_figure.caption(lines)
    assert "random" not in token_figure.caption({"random": lines["random"]}), "nothing to compare it with"


def test_without_a_reduction_there_is_no_line() -> None:
    cells: list[Cell] = [original().cell]
    assert token_figure.lines(cells, [original()]) == {}
    assert len(STEADY) == 12


def test_every_published_figure_has_a_source() -> None:
    tables = token_figure.published()
    assert len(tables) >= 5
    assert all("Source: " in table.caption for table in tables)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert token_figure.contradictions().count("\n- ") >= 2


@pytest.mark.parametrize(("spread", "widened"), [(0.0, False), (0.02, True)])
def test_an_interval_that_nothing_widens_is_not_called_widened(spread: float, widened: bool) -> None:
    gate = worth.Gate(kept=Interval(0.99, 0.9, 1.0), spread=spread, runs=1)
    said = say("worth", "caption", first=cell(), gate=gate, keeps=worth.KEEPS)
    assert ("widened" in said, "0.0 %" in said) == (widened, False)
