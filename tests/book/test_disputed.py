"""What the audit found stands where the figures are: a box on a report's page, and a mark at each figure."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import bookmaking
import pytest
import reported as reports
from factory import cell, timed

from vlmnb import models
from vlmnb.analysis import base_configuration
from vlmnb.book import collect, disputed, explorer
from vlmnb.book.content import Content, Page
from vlmnb.book.pages import audit, axis, comparison, first, model, run
from vlmnb.records import record_file
from vlmnb.records.record import Record
from vlmnb.spec.planning import Run
from vlmnb.views import axis_figure, findings, footnotes, marks, templates

QWEN = "qwen2.5-vl-3b"


@pytest.fixture(scope="module")
def reported() -> list[Record]:
    return [r for r in record_file.read_all(bookmaking.PROJECT / "results")[0] if r.source == "reports"]


def test_a_page_of_a_report_lists_the_findings_about_its_own_figures(reported: list[Record]) -> None:
    found = audit.findings(reported, "reports")
    own = tuple(record for record in reported if record.cell.model == QWEN)
    page = Page(QWEN, "optimization", "", {"source": "reports"}, own)
    box = run.disputed(disputed.lines(found, page))
    rules = {found[line.number - 1].rule for line in disputed.lines(found, page)}
    assert {"flops-of-the-geometry", "percent-of-its-base", "optimization-is-faster"} <= rules
    assert "power-follows-the-work" not in rules, "that is of the page of devices"
    assert run.disputed([]).strip() == ""
    assert box.count("#finding-") == len(disputed.lines(found, page))
    checked = audit.page(reported, "reports")
    for number in range(1, len(found) + 1):
        assert checked.count(f'id="finding-{number}"') == checked.count(f'"#finding-{number}"') == 1
    headings = [line.removeprefix("### ") for line in checked.splitlines() if line.startswith("### ")]
    said = [templates.plain(disputed.halves(finding)[0]) for finding in found]
    assert headings == said, "a heading states the finding"


def test_a_page_of_records_that_name_an_earlier_transcript_has_no_link_to_it(reported: list[Record]) -> None:
    own = next(one for one in reported if one.cell.model == QWEN and one.reported)
    assert own.reported
    figures = tuple(figure.model_copy(update={"file": "002"}) for figure in own.reported.figures)
    older = own.model_copy(update={"reported": own.reported.model_copy(update={"figures": figures})})
    page = Page(QWEN, "optimization", "", {"source": "reports"}, (older,))
    assert "downloads/reports" not in run.opening(page, [older])


def test_a_disputed_figure_is_marked_and_no_other() -> None:
    table = '<td title="as printed: 001, Tests, &#39;fp16&#39;, FLOPS" data-key="a">96.3 T</td>'
    assert 'class="vlmnb-disputed"' in disputed.marked(table, {"001, Tests, 'fp16', FLOPS"})
    assert disputed.marked(table, {"001, Tests, fp16, FLOPS"}) == table


@pytest.fixture(scope="module")
def content(reported: list[Record]) -> Content:
    models = dict.fromkeys(record.cell.model for record in reported)
    pages = tuple(
        Page(
            name,
            of,
            "",
            {"source": "reports", "model": name},
            tuple(r for r in reported if r.cell.model == name),
        )
        for name in models
        for of in ("batch_size", "optimization", "device", "seq_len")
    )
    return Content(tuple(reported), pages, disputed=tuple(audit.findings(reported, "reports")))


def test_a_gain_is_doubted_on_the_first_page_if_the_answers_changed_with_it(content: Content) -> None:
    page, _ = first.page(content)
    gains = next(line for line in page.splitlines() if "Batching pays" in line)
    settings = next(line for line in page.splitlines() if "no optimization saves" in line)
    for line, doubted, sure in (
        (gains, "89 % less with Qwen2.5-VL 3B ⚠", "71 % less time than alone with LLaVA-1.5 7B,"),
        (settings, "+39 % (Qwen2.5-VL 3B ⚠)", "-1 % (Fuyu 8B)"),
    ):
        assert (doubted in line, sure in line, line.count("⚠:")) == (True, True, 1)
        numbers = [int(found) for found in re.findall(r"#finding-(\d+)", line)]
        assert disputed.OTHER_ANSWERS in {content.disputed[number - 1].rule for number in numbers}
    assert "+22 % (LLaVA-1.5 7B ⚠)" in settings, "the setting that is said to be faster takes longer"
    assert "more than 7.1 % of the time" in settings, (
        "1.668 s of 1.795 s are 7.08 % less, which is more than 7 %"
    )


def test_the_first_page_says_who_is_cheapest_in_joules_as_the_reports_print_them(content: Content) -> None:
    page, _ = first.page(content)
    costs = next(line for line in page.splitlines() if "needs the least time" in line)
    assert "Fuyu 8B needs the least time and energy" in costs
    assert "Qwen2.5-VL 3B needs 89.4 ms ⚠ and 16 J ⚠; LLaVA-1.5 7B needs 102 ms and 50 J" in costs
    doubt, lengths = (content.disputed[int(n) - 1] for n in re.findall(r"#finding-(\d+)", costs))
    assert doubt.level != "note"
    assert lengths.rule == comparison.LENGTH
    assert "1.39, 4.44 ⚠ and 13.9 Wh" in costs, "what follows from a disputed figure is disputed"
    assert "6.61 ⚠, 11.1 ⚠ and 8.18 ⚠" in costs


def test_each_finding_of_the_first_page_leads_to_the_figures_it_is_about(content: Content) -> None:
    random: dict[str, Any] = {"weights": "random", "length": "fixed", "batch_size": 1, "samples": 1}
    own = tuple(
        timed((seconds,), of=cell(model=name, **random), key=key)
        for name, seconds, key in (("fuyu-8b", 34.0, "a" * 16), ("qwen2.5-vl-3b", 17.0, "b" * 16))
    )
    small = tuple(timed(of=cell(model=name, batch_size=16)) for name in ("llava-tiny", "fuyu-tiny"))
    page, _ = first.page(dataclasses.replace(content, records=(*content.records, *own, *small)))
    numbered = [line for line in page.splitlines() if re.match(r"\d\. ", line)]
    assert len(numbered) == 5
    assert all("generated/" in line or 'href="explore.html#' in line for line in numbered)
    assert f'href="explore.html#record={"b" * 16}&amp;record={"a" * 16}"' in numbered[3]


def test_the_records_of_a_report_have_no_column_for_a_date(content: Content) -> None:
    page = next(page for page in content.pages if page.axis == "batch_size")
    assert "records</summary>" in run.closing(page)
    assert "Measured at" not in run.closing(page)


def test_the_page_of_an_axis_marks_disputed_figures_and_lists_the_findings(content: Content) -> None:
    page, _ = axis.page(content, "device")
    rows = [row for row in re.findall(r"<tr>.*?</tr>", page) if ">CPU<" in row]
    energy = [row.split("<td")[4] for row in rows]
    assert len(energy) == 3
    assert all("⚠" in field for field in energy), "114.8 W times the latency"
    assert "114.8 W" in page.partition("<table")[0]
    assert "FLOPs of" not in page.partition("<table")[0], "the page shows none"
    assert "## In the reports" in page, "of both devices"
    ratios = [
        row.split("<td")[-1] for row in re.findall(r"<tr>.*?</tr>", axis.page(content, "batch_size")[0])
    ]
    assert [
        ("⚠" in ratio, ratio.partition(">")[2].partition(" times")[0]) for ratio in ratios if "0.11" in ratio
    ] == [(True, "0.11")]


def test_a_ratio_of_disputed_figures_is_marked_on_the_page_of_an_axis(content: Content) -> None:
    for of, said, sure in (
        ("seq_len", "on ScienceQA it takes 11 % less time ⚠", "on TextVQA it takes 12 % less time."),
        ("optimization", "LLaVA-1.5 7B takes 22 % longer ⚠", "Fuyu 8B takes 1 % less time."),
    ):
        page, _ = axis.page(content, of)
        assert (said in page, sure in page) == (True, True)
        assert set(re.findall(r">[\d.]+ times( ⚠)?<", page)) == {" ⚠", ""}


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("device", "a batch takes 5.43 times as long ⚠."), ("batch_size", "an image takes 89 % less time ⚠;"),
        ("optimization", "a batch takes 39 % longer ⚠;"),
    ],
)  # fmt: skip
def test_a_sentence_of_a_reports_page_has_the_mark_of_its_figures(
    content: Content, of: str, said: str
) -> None:
    page = next(page for page in content.pages if (page.model, page.axis) == (QWEN, of))
    cells = Run(model=QWEN, axis=of, parameters=page.parameters).plan.cells
    text = findings.text(of, cells, page.records)
    assert "⚠" not in text
    cell = bookmaking.code("experiment.show_findings(plan, records)") | {
        "outputs": [bookmaking.markdown(text)]
    }
    files, _ = collect.processed(page, {"cells": [cell], "metadata": {}}, page.records, content.disputed)
    made = json.loads(files[f"{page.path}.ipynb"])
    assert any(said in cell["source"] for cell in made["cells"])


def test_the_points_of_the_comparison_have_the_marks_of_its_tables(content: Content) -> None:
    (section,) = (one for one in comparison.sections(content) if "GPU" in str(one["title"]))
    points = str(section["figure"]).partition("<table")[2]
    assert re.findall(r">([\d.]+) ⚠<", points) == ["89.4", "16"]


def test_explore_knows_the_disputed_figures(content: Content) -> None:
    found = disputed.figures(content.disputed, content.records)
    points = {one["key"]: one for one in explorer.data(content.records, (), found)["points"]}
    assert {(key, of) for key, one in points.items() for of in one.get("disputed", ())} == found
    quantities = explorer.CONTENT["quantities"]
    assert {of for one in quantities.values() for of in one.get("of", ())} >= {
        of for _, of in found if not of.endswith("_percent")
    }


def test_a_figure_that_is_disputed_in_one_table_or_in_the_log_is_so_on_every_page(content: Content) -> None:
    for of, doubted in (("batch_size", ("89.4", "11.2", "4.44")), ("optimization", ("87.4", "11.4"))):
        page, _ = axis.page(content, of)
        shown = re.findall(r">([^<>]*)(?=</td>|</a></td>)", page)
        assert [f"{number} ⚠" in shown for number in doubted] == [True] * len(doubted)
        assert not {"- ⚠", " ⚠", "⚠"} & set(shown), "what is not printed is not disputed"
    printed = "report on Qwen2.5-VL 3B, Image Size Tests, 224, ScienceQA"
    own = [record for record in content.records if record.cell.model == QWEN]
    assert printed in disputed.places(content.disputed, own) - disputed.places(content.disputed)
    sizes = Page(QWEN, "image_size", "", {"source": "reports"}, tuple(own))
    found = [content.disputed[line.number - 1].rule for line in disputed.lines(content.disputed, sizes)]
    assert not [rule for rule in found if "flops" in rule], "the log has none there"
    boxes = [disputed.lines(content.disputed, page) for page in content.pages if page.model == QWEN]
    log = next(n for n, found in enumerate(content.disputed, 1) if "heading of the raw log" in found.meaning)
    of = [page.axis for page in content.pages if page.model == QWEN]
    listed = {axis: log in {line.number for line in box} for axis, box in zip(of, boxes, strict=True)}
    assert listed == {"batch_size": True, "optimization": False, "device": True, "seq_len": True}


def test_figures_of_two_data_sets_at_one_place_of_the_log_are_told_apart(content: Content) -> None:
    """The log's rows hold several data sets, so that a place alone names no figure."""
    own = {record.key: record.cell for record in content.records if record.cell.model == QWEN}
    found = disputed.figures(content.disputed, content.records)
    times = {own[key].dataset for key, of in found if key in own and of == "latency_s"}
    assert times == {"textvqa", "scienceqa"}, "none is about a time on COCO"
    page = next(page for page in content.pages if (page.model, page.axis) == (QWEN, "batch_size"))
    shown = {
        record.key
        for record in page.records
        if record.reported and any(figure.axis == "batch_size" for figure in record.reported.figures)
    }
    for line in disputed.lines(content.disputed, page):
        assert {where.key for where in content.disputed[line.number - 1].records} & shown


def test_the_points_of_a_reports_figure_have_no_blank_column() -> None:
    plan, shown = reports.shown(QWEN, "batch_size")
    made = axis_figure.points("batch_size", plan.cells, shown)
    assert {"Latency, s per batch", "Record"} < set(made.columns)
    assert "FLOPs per batch" not in made.columns, "the report prints none there"
    assert all(any(row[at].text for row in made.rows) for at in range(len(made.columns)))


def test_findings_call_models_data_sets_and_rules_by_their_titles(content: Content) -> None:
    names = {record.cell.model for record in content.records}
    for finding in content.disputed:
        said = f"{finding.meaning} {finding.unknown}"
        assert not [name for name in (*names, "textvqa", "flops-of-the-batch-named") if name in said]
    assert any("“FLOPs of the batch named”" in finding.meaning for finding in content.disputed)
    clauses = [disputed.sentence(finding) for finding in content.disputed]
    assert len(set(clauses)) == len(clauses)


def test_tables_across_models_and_of_a_model_mark_disputed_figures(content: Content) -> None:
    (found,) = (each for each in comparison.sections(content) if "GPU" in str(each["title"]))
    costs = {row[0].text: [field.text for field in row] for row in found["cost"].rows}
    doubts = disputed.figures(content.disputed, content.records)
    for result in base_configuration.base_results(content.records).values():
        for each in result:
            if each.speed.cell.device != "cuda":
                continue
            for column, quantity in ((1, "latency_s"), (2, "energy_j_per_sample")):
                marked = costs[each.model.title][column].endswith(marks.DISPUTED)
                assert marked == ((each.speed.key, quantity) in doubts)
    assert found["disputed"]
    assert marks.DISPUTED in "".join(costs[models.registry()[QWEN].title])
    chapter = model.page(content, QWEN)
    assert "reports-checked.md" in chapter
    assert marks.DISPUTED in chapter
    assert f"-{marks.DISPUTED}" not in comparison.page(content), "no number, nothing to dispute"


def test_the_points_of_the_first_figure_mark_disputed_figures(content: Content) -> None:
    points = first.page(content)[0].partition("Every point of this figure")[2]
    rows = re.findall(r"<tr>.*?</tr>", points)
    (own,) = (row for row in rows if models.registry()[QWEN].title in row and ">16<" in row)
    assert own.count(marks.DISPUTED.strip()) == 2


def test_a_remark_among_several_models_names_its_own(content: Content) -> None:
    own = {name: [r for r in content.records if r.cell.model == name] for name in ("llava-1.5-7b", QWEN)}
    alone = {name: footnotes.reasons(records) for name, records in own.items()}
    both = footnotes.reasons([record for records in own.values() for record in records])
    for name, notes in alone.items():
        title = models.registry()[name].title
        remarks = [remark.text for one in own[name] if one.reported for remark in one.reported.remarks]
        assert remarks
        assert f"- {title}: " not in notes
        assert both.count(f"- {title}: ") == len(set(remarks))
