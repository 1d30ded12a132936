from __future__ import annotations

import math
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
import reported
from factory import absent, answers, but, cell, changed, record

from vlmnb import models
from vlmnb.analysis.base_configuration import BaseResult
from vlmnb.meters.readings import EnergyReading
from vlmnb.records import export_columns
from vlmnb.records import record as records
from vlmnb.records.parts import FailedSample
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell
from vlmnb.views import (
    axis_figure,
    axis_table,
    comparison_tables,
    detail_table,
    fields,
    findings,
    footnotes,
    marks,
    pareto_figure,
    roofline,
    templates,
)
from vlmnb.views.table import Field, Table, priced, render

MODEL = models.get("llava-tiny")


def texts(table: Table) -> list[list[str]]:
    return [[field.text for field in row] for row in table.rows]


def details(found: Record) -> dict[str, Field]:
    """The fields of a record in the table of details, by heading."""
    table = detail_table.detail_table("seq_len", [found.cell], [found])
    return dict(zip(table.columns, table.rows[0], strict=True))


def answered(of: Cell | None = None, **changes: Any) -> Record:
    """A record whose four answers, the first of them wrong, have some fields changed."""
    return record(of, answers=tuple(but(answer, **changes) for answer in answers(4, 1)))


def test_the_batch_table_shows_what_the_records_say() -> None:
    cells = [cell(batch_size=1), cell(batch_size=2)]
    found = [record(cells[0], latencies=(0.2,) * 8), record(cells[1], latencies=(0.3,) * 8)]
    table = axis_table.axis_table("batch_size", cells, found)
    assert table.columns == ("Batch size", *axis_table.HEADS)
    assert texts(table) == [
        ["1", "0.2000", "≈ 1.00", "1.000 M", "0.250", "0.01000 (5 %)"],
        ["2", "0.3000", "≈ 0.500", "1.000 M", "0.250", "0.01000 (3 %)"],
    ]


def test_a_cell_without_a_figure_is_a_dash_with_its_reason_beneath() -> None:
    cells = [cell(device="cuda", dtype="fp16", optimization="fp16"), cell()]
    found = [absent(cells[0], "unsupported", "this machine has no CUDA device"), record(cells[1])]
    table = axis_table.axis_table("device", cells, found)
    assert texts(table)[0] == ["GPU", "-", "-", "-", "-", "-"]
    assert "no CUDA device" in table.rows[0][1].title
    assert "*unsupported*: this machine has no CUDA device" in footnotes.reasons(found)
    assert "modelled" in footnotes.reasons(found)


def test_percent_columns_are_of_the_first_row_of_their_own_column() -> None:
    cells = [cell(optimization=name) for name in ("fp32", "sdpa", "compile")]
    timed = [record(of, latencies=(taken,) * 6) for of, taken in zip(cells, (0.4, 0.3), strict=False)]
    found = [*timed, absent(cells[2], "failed", "broke")]
    rows = texts(axis_table.axis_table("optimization", cells, found))
    assert [row[2] for row in rows] == ["100.0", "75.0", "-"]
    assert [row[4] for row in rows] == ["100.0", "100.0", "-"]


def test_a_share_of_modelled_joules_is_marked_as_the_joules_are() -> None:
    cells = [cell(optimization="fp32"), cell(optimization="sdpa")]
    modelled = [record(each) for each in cells]
    counted = EnergyReading(source="cpu", method="rapl", energy_j=4.0, detail="test")
    read = [but(each, energy=(counted,)) for each in modelled]
    for found, shown in (
        (modelled, ["≈ 100.0", "≈ 100.0"]), (read, ["100.0", "100.0"]),
        ([modelled[0], read[1]], ["≈ 100.0", "≈ 50.0"]),
    ):  # fmt: skip
        assert [row[6].text for row in axis_table.axis_table("optimization", cells, found).rows] == shown


def test_tables_over_data_sets_keep_each_figure_in_its_column() -> None:
    cells = [cell(seq_len=s, dataset=d) for s in (200, 50) for d in ("coco-mini", "textvqa-mini")]
    found = [record(c, answers=answers(4, i), latencies=(0.1 * (i + 1),) * 6) for i, c in enumerate(cells)]
    table = axis_table.axis_table("seq_len", cells, found)
    assert table.columns[1:] == (
        "COCO mini WER", "COCO mini latency, s", "TextVQA mini WER", "TextVQA mini latency, s",
        "COCO mini preprocessing, s", "TextVQA mini preprocessing, s",
    )  # fmt: skip
    assert texts(table) == [
        ["200", "0.000", "0.1000", "0.250", "0.2000", "0.01000 (9 %)", "0.01000 (5 %)"],
        ["50", "0.500", "0.3000", "0.750", "0.4000", "0.01000 (3 %)", "0.01000 (2 %)"],
    ]


def test_text_from_a_model_cannot_become_markup() -> None:
    evil = absent(cell(), "failed", "<script>alert(1)</script> | *x* " + "y" * 10_000)
    note = footnotes.reasons([evil])
    assert "<script>" not in note
    assert len(note) < 600
    shown = render(axis_table.axis_table("batch_size", [evil.cell], [evil]))
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(shown)
    assert "script" not in tags


def test_captions_have_columns_of_their_own_in_the_details() -> None:
    at = details(record(cell(dataset="coco-mini")))
    assert at["CIDEr [95 %]"].text.startswith("0.000")
    assert at["WER, normalized [95 %]"].text == at["WER [95 %]"].text
    assert "CIDEr [95 %]" not in details(record())


def test_answers_that_say_nothing_are_noted_and_in_no_figure_of_the_comparison() -> None:
    silent = answered(answer="")
    for found, empty in ((silent, True), (record(), False)):
        assert (marks.DEGENERATE.strip() in footnotes.notes([found])) == empty
        result = BaseResult(MODEL, {"textvqa-mini": found})
        assert (result.plotted("textvqa-mini") is None) == empty
        why = "Not in the figure: LLaVA tiny on TextVQA mini (4 of 4 answers are empty"
        assert any(line.startswith(why) for line in pareto_figure.left_out([result])) == empty


def test_a_word_error_rate_above_one_is_explained_with_the_accuracy() -> None:
    wrong = answered(word_errors=3, score=0.0)
    assert wrong.wer == 3
    note = footnotes.reasons([wrong])
    assert "WER above 1" in note
    assert "accuracy there: 0.000 (" in note
    assert "WER above 1" not in footnotes.reasons([record()])


def test_only_option_questions_have_an_official_accuracy_of_their_own() -> None:
    def shown(dataset: str) -> dict[str, Field]:
        told = zip(answers(4, 0), ("B", "B)", "(b)", "B. y"), strict=True)
        said = [but(answer, answer=text, references=("B",), choices=("x", "y")) for answer, text in told]
        return details(record(cell(dataset=dataset), answers=tuple(said)))

    own = shown("scienceqa-mini")
    assert (own["Accuracy [95 %]"].text, own["Accuracy, official [95 %]"].text) == ("1.000", "0.500")
    assert "Accuracy, official [95 %]" not in shown("textvqa-mini")


def test_a_missing_score_says_why() -> None:
    unscored = answered(word_errors=None, reference_words=None, score=None, note="no words in it")
    shown = details(unscored)
    for head in ("WER [95 %]", "Accuracy [95 %]"):
        assert shown[head].text == "-"
        assert "no words in it" in shown[head].title
    assert shown["Latency, s per batch"].text != "-"
    assert "no words in it" in footnotes.notes([unscored])


def test_notes_and_failed_samples_of_a_record_are_shown() -> None:
    failed = FailedSample(row=7, id="q9", reason="its picture is cut short")
    shown = footnotes.notes([record(failed_samples=(failed,), notes=("half the weights are unused",))])
    for words in ("half the weights are unused", "row 7", "q9", "its picture is cut short"):
        assert words in shown


@pytest.mark.parametrize("axis", ["device", "batch_size", "image_size", "seq_len", "optimization"])
def test_every_axis_has_a_plot_and_a_caption_with_units_and_n(axis: str) -> None:
    values = {"device": ["cuda", "cpu"], "optimization": ["fp32", "sdpa"]}.get(axis, [32, 64])
    cells = [cell(**{axis: value}) for value in values]
    found = [record(c, latencies=(0.2,) * 6) for c in cells]
    figure = axis_figure.axis_plot(axis, cells, found)
    assert figure.axes[0].get_ylabel() == "Latency, s per batch"
    if axis == "batch_size":
        assert figure.axes[1].get_ylabel() == "Energy, J per sample\n(≈ modelled)"
    caption = findings.caption(axis, cells, found)
    assert "n = 6" in caption
    assert "seconds per batch" in caption


def test_the_newest_record_of_a_cell_is_the_one_shown() -> None:
    new = changed(record(answers=answers(4, 4)), "provenance", started_at="2026-02-01T00:00:00+00:00")
    assert records.by_cell([new, record()])[new.cell].wer == 1.0


def test_one_reason_is_one_note_that_names_only_what_differs() -> None:
    cells = [cell(image_size=s, dataset=d) for s in (32, 96) for d in ("coco-mini", "textvqa-mini")]
    note = footnotes.reasons([absent(c, "not_applicable", "fixed size") for c in cells])
    assert note == "- `-` *not applicable*: fixed size (COCO mini, TextVQA mini; image size 32, 96)"


def test_axis_pages_and_comparison_speak_the_same_units() -> None:
    shown = details(record())
    assert (shown["Peak memory"].text, shown["Accuracy [95 %]"].text) == ("2.097 MB", "0.750")


def test_what_1000_images_take_is_ready_for_the_prices_of_the_reader() -> None:
    one = record()
    hours, *ends = map(float, fields.latency(one).amount.removeprefix("hire ").split())
    assert hours == pytest.approx(1000 * one.latency.median / one.cell.batch_size / 3600, rel=1e-5)
    assert ends[0] <= hours <= ends[1]
    kwh = float(fields.energy(one).amount.removeprefix("tariff "))
    assert kwh == pytest.approx(1000 * one.energy_j_per_sample / 3.6e6, rel=1e-5)
    assert fields.ms_per_image(one).amount == fields.latency(one).amount
    assert priced("TextVQA latency, s") == "TextVQA machine, $ per 1,000 images"
    assert priced("Time per image compared with the first row") == ""


def test_answers_of_natural_and_of_fixed_length_never_stand_in_one_table() -> None:
    cells = [cell(batch_size=size, length=length) for size in (1, 2) for length in ("natural", "fixed")]
    made = detail_table.detail_tables("batch_size", cells, [record(each) for each in cells])
    assert [table.caption.partition(",")[0] for table in made] == [
        "Every cell of natural answer length", "Every cell of fixed answer length"
    ]  # fmt: skip
    assert [any("WER" in head or "Accuracy" in head for head in table.columns) for table in made] == [
        True,
        False,
    ]
    keys = [{field.key for row in table.rows for field in row if field.key} for table in made]
    assert keys == [
        {record(each).key for each in cells if each.length == length} for length in ("natural", "fixed")
    ]


@pytest.mark.parametrize("dataset", ["coco-mini", "textvqa-mini", "scienceqa-mini"])
@pytest.mark.parametrize("said", ["...", "", "  ", "\u0301", "\u00bf?"])
@pytest.mark.parametrize("references", [(), ("",), ("...", "!"), ("a dog runs", "...")])
def test_answers_and_references_without_words_break_no_page(
    dataset: str, said: str, references: tuple[str, ...]
) -> None:
    found = answered(cell(dataset=dataset), answer=said, references=references)
    base = (BaseResult(MODEL, {dataset: found}),)
    assert details(found)
    assert comparison_tables.quality_table(base).rows
    assert export_columns.row(found)["key"] == found.key


def test_a_caption_shows_at_most_40_words_and_folds_the_rest() -> None:
    long = f"One table. {'word ' * 25}here; {'word ' * 25}there. End."
    shown, more = templates.brief(long)
    assert len(shown.split()) <= 40
    assert (shown[-6:], more[:4], more[-4:]) == (" here.", "Word", "End.")
    assert templates.brief("Short; and sweet") == ("Short; and sweet", "")
    html = render(Table(long, ("A",), ((Field("b"),),)))
    assert "<details><summary>More</summary>Word" in html
    assert '<th scope="row">b</th>' in html


def test_a_line_above_a_table_says_what_all_its_cells_share_and_one_below_what_marks_mean() -> None:
    line = footnotes.setup([record(cell(batch_size=size)) for size in (1, 2)])
    assert "LLaVA tiny on test-machine, CPU, fp32, image 64 px, prompt of at most 200 tokens" in line
    assert "batch" not in line
    assert footnotes.setup([]) == ""
    single = footnotes.setup([record(cell(samples=1, max_new_tokens=1, seq_len=1))])
    assert ("1 sample," in single, single.count("1 token"), "1 tokens" in single) == (True, 2, False)
    _, reported_rows = reported.shown("fuyu-8b", "batch_size")
    assert "samples" not in footnotes.setup(reported_rows), "no report states its samples"
    legend = marks.legend(f'<td class="vlmnb-missing">-</td><td>3{marks.DEGENERATE}</td>')
    assert ("`∅`" in legend, "`-`" in legend, "`†`" in legend) == (True, True, False)


@pytest.mark.parametrize("joules", [math.nan, math.inf])
def test_what_is_no_finite_number_is_a_dash_and_in_no_figure(joules: float) -> None:
    cells = [cell(batch_size=1), cell(batch_size=2)]
    reading = EnergyReading.model_construct(source="cpu", method="model", energy_j=joules, detail="x")
    found = [record(cells[0]), but(record(cells[1]), energy=(reading,))]
    (_, row) = axis_table.axis_table("batch_size", cells, found).rows
    assert (row[2].text, row[2].title) == ("-", "no finite number")
    assert "nan" not in details(found[1])["Energy, J per sample"].text
    drawn = axis_figure.axis_plot("batch_size", cells, found)
    assert not any("Energy" in panel.get_ylabel() for panel in drawn.axes), "one bar says nothing"


def test_weights_of_more_than_one_type_are_shown_by_type() -> None:
    held = SimpleNamespace(weights_bytes=1500, weights_by_type={"int8": 1000, "float32": 500})
    found = but(record(), memory=held)
    (row,) = roofline.memory_table([found.cell], [found]).rows
    assert (row[1].text, row[1].span) == ("1.500 kB", "(int8 1.00 kB, float32 500 B)")


@pytest.mark.parametrize("axis", ["batch_size", "optimization"])
def test_points_stand_at_their_values_with_their_own_intervals(axis: str) -> None:
    values = {"batch_size": [1, 4, 64], "optimization": ["fp32", "sdpa", "bf16"]}[axis]
    cells = [cell(**{axis: value}, dataset=d) for value in values for d in ("coco-mini", "textvqa-mini")]
    found = [
        record(one, latencies=tuple(0.2 + 0.01 * i for i in range(8 + n))) for n, one in enumerate(cells)
    ]
    panel = axis_figure.axis_plot(axis, cells, found).axes[0]
    ends = {tuple(y for _, y in line) for bars in panel.collections for line in bars.get_segments()}
    assert ends == {(one.latency.low, one.latency.high) for one in found if one.latency}
    numeric = axis == "batch_size"
    assert list(panel.get_xticks()) == (values if numeric else [0, 1, 2])
    if numeric:
        drawn = [line for line in panel.lines if len(line.get_xdata()) == 3]
        assert [list(line.get_xdata()) for line in drawn if line.get_linestyle() != "None"] == [values] * 2
    assert len(panel.get_legend().get_texts()) == 2


def test_a_note_says_which_of_the_cells_that_differ_in_their_reuse_alone_it_is_about() -> None:
    encoder, prefix = (cell(measure="reuse", questions=2, reuse=kept) for kept in ("encoder", "prefix"))
    assert footnotes.where([encoder], [encoder, prefix]) == "kept: encoder"
    assert footnotes.where([encoder, prefix], [encoder, prefix]) == "all cells"
