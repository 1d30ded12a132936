"""The transcribed reports become records and are rendered character by character."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import factory
import loaded
import pytest
import yaml
from reported import PROJECT, own, shown

from vlmnb import experiment
from vlmnb.analysis import base_configuration
from vlmnb.book import report_pages
from vlmnb.book.content import Content, Page
from vlmnb.book.pages import model as chapter
from vlmnb.book.pages import run, support
from vlmnb.device import machine
from vlmnb.device.state import Gpu
from vlmnb.errors import UserError
from vlmnb.records import export_columns, record_file, report_transcripts
from vlmnb.records.record import Record
from vlmnb.spec import optimizations, planning
from vlmnb.spec.sweep_file import load_sweep
from vlmnb.sweep import inventory, status
from vlmnb.views import (
    axis_figure,
    axis_table,
    comparison_tables,
    findings,
    footnotes,
    pareto_figure,
    report_tables,
)
from vlmnb.views.table import render

REPORT, LOG = "report on Qwen2.5-VL 3B", "raw log of Qwen2.5-VL 3B"

SOURCES = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((PROJECT / "reports").glob("*.yaml"))
}
REPORTS = ("llava-1.5-7b", "qwen2.5-vl-3b", "fuyu-8b")
SHEETS = [
    (source["model"], table)
    for source in SOURCES.values() if source["kind"] == "report"
    for table in source["tables"] if table["columns"]
]  # fmt: skip


def cells_of(table: str) -> list[list[str]]:
    """Return the texts of a table's cells, row by row."""
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    texts = (re.findall(r"<t[hd]\b.*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [[unescape(re.sub(r"<[^>]*>", "", text)) for text in row] for row in texts]


@pytest.fixture(scope="module")
def committed() -> list[Record]:
    found, problems = record_file.read_all(PROJECT / "results", hardware="reports")
    assert problems == []
    return found


def test_the_committed_records_are_those_of_the_transcription(
    committed: list[Record], tmp_path: Path
) -> None:
    report_transcripts.write(tmp_path)
    assert record_file.read_all(tmp_path) == (committed, [])


@pytest.mark.parametrize(("model", "sheet"), SHEETS)
def test_every_number_of_a_table_is_rendered_as_printed(model: str, sheet: dict[str, Any]) -> None:
    plan, found = shown(model, sheet["axis"])
    cells = [one.cell for one in found]
    head, *body = cells_of(render(axis_table.axis_table(plan.axis.name, cells, found)))
    assert len(head) == 1 + len(sheet["columns"])
    assert body == [[row["row"], *row["printed"]] for row in sheet["rows"]]


UNPRINTED = ("Latency, s per batch", "Energy, J per sample", "WER")
"""Figures whose unit no source prints."""


def test_every_figure_is_on_a_page_with_its_place() -> None:
    rendered = set()
    for model in REPORTS:
        for axis in report_pages.AXES:
            _, found = shown(model, axis)
            table = report_tables.figures(axis, [one.cell for one in found], found)
            for row in cells_of(render(table))[1:]:
                assert (row[2] in UNPRINTED) == row[4].endswith(", inferred")
                rendered.add((row[5], row[6], row[7], row[8], row[3], row[1]))
    titles = {"coco": "COCO", "scienceqa": "ScienceQA", "textvqa": "TextVQA"}
    transcribed = {
        (source["file"], sheet["heading"], row["row"], column["heading"], printed,
         titles[column.get("dataset") or row.get("dataset") or sheet["parameters"]["dataset"]])
        for source in SOURCES.values() for sheet in source["tables"] for row in sheet["rows"]
        for column, printed in zip(sheet["columns"], row["printed"], strict=False)
    }  # fmt: skip
    assert len(transcribed) > 250
    assert transcribed == rendered


@pytest.mark.parametrize(
    ("axis", "at", "logged", "panel"),
    [
        ("image_size", 3, ["15.72", "18.73", "23.96"], "Energy, J per sample"),
        ("batch_size", 1, ["28.22", "14.33", "12.1", "11.12"], "WER"),
        ("optimization", 1, ["31.9", "31.9", "56.94"], "WER"),
    ],
)
def test_figures_that_only_the_log_has_stand_in_a_table_and_a_plot(
    committed: list[Record], axis: str, at: int, logged: list[str], panel: str
) -> None:
    cells = planning.plan(axis, {"model": "qwen2.5-vl-3b", "source": "reports"}).cells
    table = report_tables.only_in_log(axis, cells, committed)
    assert [row[at].text for row in table.rows] == logged
    assert not report_tables.only_in_log("device", cells, committed).rows
    drawn = axis_figure.plot(axis, report_tables.in_log(axis, cells, committed))
    assert drawn
    assert [each.get_ylabel() for each in drawn.axes] == [panel]


def test_a_report_has_no_page_on_what_it_has_no_figure_of(committed: list[Record]) -> None:
    models = {record.cell.model for record in committed}
    without = [
        (model, axis) for model in models for axis in report_pages.AXES
        if not report_pages._has_numbers(axis, model, committed)
    ]  # fmt: skip
    assert without == [("llava-1.5-7b", "image_size")]


def test_what_runs_where_names_the_settings_of_the_reports(committed: list[Record]) -> None:
    page = support.page(Content(tuple(committed)))
    assert "Fuyu 8B: `fp16`, `compile`; blank in the report: `flash_attention_2`" in page
    assert "LLaVA-1.5 7B: `fp16`, `flash_attention_2`, `compile`\n" in page


def test_figures_are_those_of_the_sources() -> None:
    """These are typed in again: none of them comes from a file of this project."""
    _, device = shown("llava-1.5-7b", "device")
    assert [(r.latency_s, r.energy_j_per_sample, r.flops_per_batch) for r in
            (one.on("device") for one in device)] == [
        (0.349, 93.818, 11_030_000_000_000), (8.373, 961.269, 8_580_000_000_000)
    ]  # fmt: skip
    _, lengths = shown("qwen2.5-vl-3b", "seq_len")
    (blank,) = [one for one in lengths if one.status != "ok"]
    assert (blank.cell.dataset, blank.cell.seq_len, blank.status) == ("scienceqa", 50, "not_enough_tokens")
    _, sizes = shown("fuyu-8b", "image_size")
    assert {one.cell.dataset for one in sizes if one.status == "unstated"} == {"coco"}
    _, fixed = shown("llava-1.5-7b", "image_size")
    assert {(one.cell.image_size, one.status) for one in fixed} == {
        (336, "not_applicable"), (448, "not_applicable")
    }  # fmt: skip


def test_reported_cells_are_those_of_the_sweep(committed: list[Record]) -> None:
    sweep = load_sweep(PROJECT / "sweeps" / "reports.yaml")
    asked = {cell for run in planning.runs(sweep) for cell in planning.plan(run.axis, run.parameters).cells}
    assert {one.cell for one in committed} == asked


def test_the_reports_do_not_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"model": "fuyu-8b", "source": "reports"}
    here = [planning.plan(axis, given).cells for axis in report_pages.AXES]
    gpu = Gpu(name="X", uuid="x", memory_bytes=1, driver="1", power_limit_w=None)
    other = machine.describe().model_copy(update={"gpus": () if machine.describe().gpus else (gpu,)})
    monkeypatch.setattr(machine, "describe", lambda: other)
    assert [planning.plan(axis, given).cells for axis in report_pages.AXES] == here


def test_a_reports_figure_goes_before_the_logs_and_digits_count(committed: list[Record]) -> None:
    qwen = {(one.cell.batch_size, one.cell.dataset, one.cell.image_size, one.cell.seq_len,
             one.cell.optimization, one.cell.device): one for one in committed
            if one.cell.model == "qwen2.5-vl-3b"}  # fmt: skip
    one = qwen[1, "textvqa", 224, 200, "fp16", "cuda"]
    assert one.energy_j_per_sample == 129.212, "129 of the batch table has fewer digits, the log comes last"
    assert one.wer == 28.216279983520508, "only the log has it"
    assert qwen[16, "coco", 224, 200, "fp16", "cuda"].energy_j_per_sample == 15.396335527562258


def test_figures_of_one_cell_that_are_not_one_number_are_conflicts(committed: list[Record]) -> None:
    pairs = {
        (a.file, a.printed, b.file, b.printed)
        for one in committed if one.reported for a, b in one.reported.conflicts()
    }  # fmt: skip
    assert pairs == {
        (REPORT, "129.212", LOG, "129.9412200021744"), (REPORT, "96.3 T", LOG, "12.09 TFLOPS"),
    }  # fmt: skip


def test_both_pages_of_a_figure_that_is_printed_twice_say_so(committed: list[Record]) -> None:
    twice = [one for one in committed if one.reported and one.reported.doubles()]
    pairs = [(a.file, a.table, a.printed, b.table, b.printed) for r in twice for a, b in r.reported.doubles()]
    assert pairs == [("report on Fuyu 8B", "Device Tests", "0.077", "Batch Tests", "0.078")]
    for axis, here, there in (("device", "0.077", "0.078"), ("batch_size", "0.078", "0.077")):
        said = footnotes.reasons([twice[0].on(axis)])
        assert 0 < said.index(here) < said.index(there)
    assert not twice[0].on("seq_len").reported.remarks


def test_sentences_name_the_sources_by_what_they_are(committed: list[Record]) -> None:
    own = [one.reported for one in committed if one.reported]
    told = [remark.text for of in own for remark in of.remarks] + [
        figure.place for of in own for figure in of.figures
    ]
    assert [text for text in told if re.search(r"\b00\d\b", text)] == []


def test_the_log_block_of_another_model_is_filed_there_with_a_footnote(committed: list[Record]) -> None:
    (found,) = [
        one for one in committed
        if one.reported and any("GPU vs CPU" in f.table for f in one.reported.figures)
    ]  # fmt: skip
    assert (found.cell.model, found.cell.dataset) == ("llava-1.5-7b", "scienceqa")
    for model, axis in (("llava-1.5-7b", "optimization"), ("qwen2.5-vl-3b", "device")):
        _, own = shown(model, axis)
        assert "GPU vs CPU" in footnotes.reasons([one.on(axis) for one in own])
    _, own = shown("llava-1.5-7b", "optimization")
    told = footnotes.reasons([one.on("optimization") for one in own])
    assert "One block of the raw log" in told, "it follows nothing, so it names what it is of"


def test_a_page_without_a_figure_of_the_report_says_so(
    committed: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, found = shown("llava-1.5-7b", "image_size")
    table = axis_table.axis_table("image_size", [one.cell for one in found], found)
    assert "none of these figures" in table.caption
    assert "95 %" not in table.caption
    assert "All its tables are of 224 px" in footnotes.reasons([one.on("image_size") for one in found])
    experiment.show_details(plan, found)
    assert "HTML" not in capsys.readouterr().out, "no empty table"
    page = Page("llava-1.5-7b", "image_size", "", {"source": "reports"}, tuple(found))
    assert 'llava-1.5-7b.yaml">report on LLaVA-1.5 7B</a>' in run.opening(page, committed)


def test_a_chapter_counts_measured_cells_and_links_its_card_or_says_how_to_make_it(
    committed: list[Record],
) -> None:
    page = Page("fuyu-8b", "batch_size", "", {"source": "reports"}, ())
    card = Page("fuyu-8b", "card", "", {"source": "measured"}, ())
    _, found = shown("fuyu-8b", "batch_size")
    none, one = (
        "None of the tables has been measured here.\n",
        "measured here as a whole.\nOne cell was measured",
    )
    make, link = (
        "`vlmnb sweep sweeps/cards.yaml`, then `vlmnb book`",
        "[model card](/book/runs/fuyu-8b/card.ipynb)",
    )
    for records, pages, said in (
        (committed, (page,), {none, make}),
        ([*committed, own(found[0])], (page,), {f"{one}, on h200", make}),
        (committed, (page, card), {none, link}),
    ):
        told = re.sub(
            r"<a [^>]*#record=[^>]*>|</a>", "", chapter.page(Content(tuple(records), pages), "fuyu-8b")
        )
        assert all(words in told for words in said)
        assert ("cards.yaml" in told) is (make in said)
    two = [own(each) for each in found[:2]]
    told = chapter.page(Content((*committed, *two), (page,)), "fuyu-8b")
    address = "&".join(f"record={each.key}" for each in two)
    assert f'<a href="explore.html#{address}">2 cells were</a>' in unescape(told)


def test_a_reported_figure_gets_no_interval_anywhere(committed: list[Record]) -> None:
    one = next(r for r in committed if r.status == "ok" and r.energy_j_per_sample)
    row = export_columns.row(one)
    assert row["source"] == row["hardware"] == "reports"
    assert row["energy_method"] == "unstated"
    assert row["reported_in"].startswith("report on ")
    ends = ("_low", "_high", "_low_s", "_high_s", "_n")
    assert {row[name] for name in row if name.endswith(ends)} == {None}
    assert one.latency is None
    _, found = shown("fuyu-8b", "batch_size")
    told = findings.text("batch_size", [r.cell for r in found], found)
    assert "3.33 times" in told
    assert "(" not in told


def test_a_model_without_a_report_is_an_error_that_says_so(tmp_path: Path) -> None:
    plan = planning.plan("device", {"model": "fuyu-tiny", "source": "reports", "results": str(tmp_path)})
    with pytest.raises(UserError, match="no report on fuyu-tiny"):
        experiment.records(plan)
    with pytest.raises(UserError, match="source is measured or reports"):
        planning.plan("device", {"model": "fuyu-8b", "source": "report"})


def test_the_comparison_keeps_reports_apart_and_last(committed: list[Record]) -> None:
    base = planning.plan("seq_len", {"model": "fuyu-tiny", "device": "cpu"}).cells[0]
    groups = base_configuration.base_results([*committed, factory.record(base)])
    assert [setting.source for setting in groups] == ["measured", "reports"]
    setting, entries = list(groups.items())[1]
    assert "not measured here" in setting.title
    table = comparison_tables.cost_table(entries)
    assert "0.260" in [field.text for row in table.rows for field in row], "as printed, not 0.26"
    assert "no spread" in pareto_figure.caption(entries)
    assert pareto_figure.figure(entries).svg().startswith("<svg")


@pytest.mark.parametrize(
    ("device", "dtype", "said"), [("cpu", "fp16", "GPU only"), ("cuda", "fp32", "16-bit")]
)
def test_flash_attention_says_why_it_cannot_run(device: str, dtype: Any, said: str) -> None:
    assert said in optimizations.settings()["flash_attention_2"].obstacle(dtype, device)
    assert optimizations.obstacle(optimizations.parse("sdpa", dtype), device) == ""


def test_a_dry_run_finds_what_cannot_be_measured_without_a_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu = Gpu(name="X", uuid="x", memory_bytes=1, driver="1", power_limit_w=None)
    with_gpu = machine.describe().model_copy(update={"gpus": (gpu,)})
    monkeypatch.setattr(machine, "describe", lambda: with_gpu)
    runs = inventory.load(PROJECT / "sweeps" / "reports.yaml")
    told = status.known(inventory.jobs(runs, tmp_path, tmp_path))
    llava = [cell for cell in told if cell.model == "llava-1.5-7b"]
    assert {cell.image_size for cell in llava if told[cell]["status"] == "not_applicable"} == {448}
    (axis,) = (run for run in runs if run.name == "fuyu-8b/optimization")
    base = next(cell for cell in axis.plan.cells if cell.optimization == "fp16")
    assert told[base]["runs"] == ["fuyu-8b/image_size", "fuyu-8b/seq_len", "fuyu-8b/optimization"]


def test_a_dry_run_prints_the_same_as_json_and_text(tmp_path: Path) -> None:
    runs = inventory.load(PROJECT / "sweeps" / "reports.yaml")
    runs = [run for run in runs if run.name == "llava-1.5-7b/image_size"]
    jobs = inventory.jobs(runs, tmp_path / "results", tmp_path / "runs")
    found = status.report(jobs, [])
    assert [each["cell"] for each in found["cells_to_measure"]] == found["runs"][0]["to_measure"]
    closed = [each for each in found["cells_to_measure"] if each["status"]]
    assert {"not_applicable"} <= {each["status"] for each in closed}
    assert all(each["reason"] and each["runs"] == ["llava-1.5-7b/image_size"] for each in closed)
    said = status.lines(jobs, cells=True)
    assert any(f"; {len(closed)} of them cannot give a number" in line for line in said)
    assert any("not applicable, known in advance: " in line for line in said)


@pytest.mark.parametrize(("printed", "value"), [
    ("11.03 T", 11.03e12), ("617.84 GFLOPS", 617.84e9), ("-", None), ("null", None), ("7.8", 7.8),
])  # fmt: skip
def test_printed_figures_are_read_in_si_units(printed: str, value: float | None) -> None:
    assert report_transcripts.number(printed) == value


def test_anything_but_a_figure_is_an_error() -> None:
    with pytest.raises(UserError, match="1,5"):
        report_transcripts.number("1,5")


@pytest.mark.slow
def test_the_notebooks_of_a_report_are_executed_once(tmp_path: Path) -> None:
    found = record_file.read_all(PROJECT / "results", model="fuyu-8b", hardware="reports")[0]
    made, told = report_pages.execute(PROJECT / "results", tmp_path, found)
    assert told == []
    assert [path.stem for path in made] == list(report_pages.AXES)
    notebook = json.loads(made[1].read_text())
    kinds = [
        kind for cell in notebook["cells"] for out in cell.get("outputs", ()) for kind in out.get("data", ())
    ]
    assert {"image/png", "image/svg+xml"} & set(kinds) or "<svg" in made[1].read_text(), (
        "the plot over batch size that the report links"
    )
    assert "text/html" in kinds
    assert not [out for cell in notebook["cells"] for out in cell.get("outputs", ()) if "name" in out]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_pages, "executed", None)
        assert report_pages.execute(PROJECT / "results", tmp_path, found)[0] == made


def test_rendering_imports_nothing_that_measures() -> None:
    code = (
        "from vlmnb import experiment\n"
        "from vlmnb.views import report_tables, show\n"
        "from vlmnb.book import report_pages\n"
        "from vlmnb.records import report_transcripts\n"
        "from vlmnb.spec import planning\n"
        "plan = planning.plan('device', {'model': 'fuyu-8b', 'source': 'reports'})\n"
        "assert len(experiment.records(plan)) == 2"
    )
    measuring = ("torch", "transformers", "papermill", "vlmnb.measure.cells")
    assert loaded.by_code(code, cwd=PROJECT, among=measuring) == set()


def test_the_transcription_contains_no_path_of_a_workplace() -> None:
    text = "".join(path.read_text() for path in (PROJECT / "reports").iterdir())
    assert not re.search(r"/work|/home|/tmp|seeds", text)
