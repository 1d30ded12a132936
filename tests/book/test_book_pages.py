"""What generated pages show of records: the comparison, its findings and tables, the machine."""

from __future__ import annotations

import re

import bookmaking
import factory
import pytest
import yaml
from factory import but, changed

from vlmnb import models, paths
from vlmnb.analysis import base_configuration, repeatability, titles
from vlmnb.book import build, explorer
from vlmnb.book.content import Content, Page, bundled
from vlmnb.book.pages import audit, axis, comparison, finder, first, machine, model, support
from vlmnb.book.pages import tried as tried_page
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.fit import tried
from vlmnb.fit.tried import Tried
from vlmnb.meters.readings import MemoryUsage
from vlmnb.records import export_columns, record_file
from vlmnb.records.record import Record
from vlmnb.spec import planning
from vlmnb.stats import formatting
from vlmnb.views import comparison_tables, detail_table, pareto_figure
from vlmnb.views.table import Field, Table, render


@pytest.fixture
def base() -> Record:
    """A record of the base configuration."""
    plan = planning.plan("batch_size", bookmaking.parameters("llava-tiny", "batch_size"))
    return bookmaking.measured(plan.of_length("natural")[-1])


def field(table: Table, column: str) -> Field:
    return table.rows[0][table.columns.index(column)]


def test_the_comparison_takes_base_records_only_and_keeps_machines_apart() -> None:
    own = bookmaking.of_models("llava-tiny", "fuyu-tiny")
    other = [but(one, hardware="other", key="0" * 16) for one in own if one.cell.model == "fuyu-tiny"]
    groups = base_configuration.base_results([*own, *other])
    assert [(setup.hardware, [e.model.name for e in found]) for setup, found in groups.items()] == [
        ("test-cpu-2c", ["llava-tiny", "fuyu-tiny"]), ("other", ["fuyu-tiny"]),
    ]  # fmt: skip
    records = [record for found in groups.values() for each in found for record in each.records.values()]
    assert {record.cell.image_size for record in records} == {64}


def test_a_gpu_that_is_not_there_is_no_set_up() -> None:
    own = bookmaking.of_models("llava-tiny")
    gpu = [changed(one, "cell", device="cuda", dtype="fp16", optimization="fp16") for one in own]
    without = [but(one, status="unsupported", reason="this machine has no GPU", timing=None) for one in gpu]
    t4 = {**own[0].provenance.machine, "gpus": [{"name": "T4"}]}
    there = [changed(one, "provenance", machine=t4) for one in without]
    for records, devices in (without, []), (there, ["cuda"]), (gpu, ["cuda"]):
        shown = [*own, *records]
        assert ("on the GPU" in support.page(Content(tuple(shown)))) == bool(devices)
        assert any("on the GPU" in kind["title"] for kind in explorer.data(shown)["kinds"]) == bool(devices)
        named = [setup.device for setup in base_configuration.base_results([*own, *records])]
        assert named == ["cpu", *devices]


def test_models_that_are_not_in_the_registry_come_last_by_name() -> None:
    base, entry = (
        next(filter(base_configuration.is_base, bookmaking.of_models("fuyu-tiny"))),
        models.get("b/eye"),
    )
    given = {"image_size": entry.base_image_size, "optimization": entry.base_dtype}
    named = [changed(base, "cell", model=name, **given) for name in ("b/eye", "a/eye", "/somewhere/eye")]
    found = bookmaking.results(*named, base)
    assert [each.model.title for each in found] == ["Fuyu tiny", "/somewhere/eye", "a/eye", "b/eye"]
    assert len(comparison_tables.cost_table(found).rows) == 4


def test_families_that_were_tried_have_their_row_and_each_reason_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = Tried(
        transformers="5.1", torch="2.1", loads="ok", processor="EyeProcessor", batch="equal", flops=-0.5,
        image_tokens={"64x64": 16, "192x64": 48}, image_tokens_predicted="none",
        settings={"fp32": "ok", "sdpa": "no <kernel>", "bf16": "no <kernel>"},
    )  # fmt: skip
    found = {"eye": ran, "blind": Tried(loads="it has no *processor*"), "ear": Tried(failed="killed")}
    monkeypatch.setattr(tried, "families", lambda: found)
    page = tried_page.page()
    rows = re.findall(r'<tr><th scope="row"[^>]*>(.*?)</th>(.*?)</tr>', page)
    assert [name for name, _ in rows] == [f"<code>{name}</code>" for name in ("blind", "ear", "eye")]
    (blind, ear, eye) = (re.findall(r"<td[^>]*>(.*?)</td>", fields) for _, fields in rows)
    assert blind == ["-", "-", "not measured (1)", *["-"] * 4]
    assert ear == ["-", "-", "not measured (2)", *["-"] * 4]
    assert eye == ["equal", "-0.5 %", "sdpa (3), bf16 (3)", "16", "48", "none", "EyeProcessor"]
    assert rows[0][1].count('title="it has no *processor*"') == 7
    assert re.findall(r"^\d\. .*$", page, re.MULTILINE) == [
        r"1. it has no \*processor\*", "2. killed", r"3. no \<kernel\>"
    ]  # fmt: skip
    assert "transformers 5.1 and torch 2.1" in page


def test_the_families_that_are_committed_make_a_page() -> None:
    page = tried_page.page()
    assert all(f"<code>{name}</code>" in page for name in tried.families())
    assert not [line for line in page.splitlines() if " - *" in line or ").- *" in line], (
        "each column has a line"
    )


def test_of_two_base_records_the_one_with_more_samples_counts() -> None:
    base = next(record for record in bookmaking.of_models("fuyu-tiny") if base_configuration.is_base(record))
    few = but(changed(base, "cell", samples=8), key="1" * 16)
    newer = changed(few, "provenance", started_at="2027-01-01T00:00:00+00:00")
    assert bookmaking.results(newer, base)[0].speed.cell.samples == 96


def test_no_line_ends_between_a_number_and_its_unit_or_before_a_mark() -> None:
    page = (
        '<p title="3 s"> +22 % of 1.5 GB, ≈ 3 J † at batch 16, 3 ◇ samples </p>'
        "<pre>5 s</pre><style>9 %</style>"
    )
    mended = build.unbroken(page)
    assert mended.replace("\N{NO-BREAK SPACE}", " ") == page
    kept = [
        found.replace("\N{NO-BREAK SPACE}", " ")
        for found in re.findall(r"[^ ]+\N{NO-BREAK SPACE}[^ ]+", mended)
    ]
    assert kept == ["+22 %", "1.5 GB,", "≈ 3 J †", "batch 16,", "3 ◇"]
    assert build.unbroken(mended) == mended


def test_a_comparison_has_no_column_of_dashes_and_no_note_on_another_table() -> None:
    reported = [r for r in record_file.read_all(bookmaking.PROJECT / "results")[0] if r.source == "reports"]
    both = (bookmaking.of_models("llava-tiny"), reported)
    own, theirs = (comparison.sections(Content(tuple(found)))[0] for found in both)
    assert {"Activations", "Measured peak"}.isdisjoint(own["cost"].columns), "a CPU's are its libraries'"
    assert "on a CPU it is the whole process's" in own["cost"].caption
    assert {"Weights", "Keys and values"} <= set(own["cost"].columns)
    name, _, peak = comparison_tables.MEMORY[-1]
    on_gpu = changed(next(r for r in bookmaking.of_models("llava-tiny") if r.memory), "cell", device="cuda")
    assert (name, peak(on_gpu).text.endswith("B")) == ("Measured peak", True)
    assert "Eagle" not in theirs["notes"], "that is of the table of optimizations"
    assert "FLOPs: counted" in own["cost"].caption
    headline = comparison_tables.headline_table(bookmaking.results(*bookmaking.of_models("llava-tiny")))
    assert "FLOPs" not in headline.caption


def test_the_audit_of_our_records_names_the_model_and_folds_many_findings_of_a_rule(base: Record) -> None:
    wrong = [but(answer, answer="other", word_errors=1, score=0.0) for answer in base.answers]
    at_1 = changed(base, "cell", batch_size=1)
    names = ("sdpa", "bf16", "fp16", "bnb-4bit", "bnb-8bit")
    others = [but(changed(base, "cell", optimization=name), answers=tuple(wrong), key=str(at) * 16)
              for at, name in enumerate(names)]  # fmt: skip
    page = audit.page([base, but(at_1, key="f" * 16), *others], "measured")
    part = page.partition("### Rule: Optimization keeps the answers")[2].partition("###")[0]
    assert part.count("answers of LLaVA tiny on TextVQA mini") == len(names)
    assert part.count("Whether the new answers are worse") == 1, "once for all"
    assert f"<summary>{len(names)} findings: LLaVA tiny {len(names)}</summary>" in part


def test_the_finder_leads_to_what_fewer_bits_did_where_it_was_measured() -> None:
    page = Page("fuyu-8b", "optimization", "", {"source": "reports"}, ())
    found = [finder.page(Content((), pages), "") for pages in ((), (page,))]
    assert ["(axis-optimization.md)" in text for text in found] == [False, True]


def test_the_finder_explains_no_column_that_it_has_not() -> None:
    notes = finder.page(Content(), finder.memory()).partition("<caption>")[2].partition("</caption>")[0]
    assert "GiB" in notes
    assert "lower bound" not in notes


def test_the_findings_follow_the_numbers() -> None:
    found = bookmaking.results(*bookmaking.of_models(*bookmaking.MODELS))
    said = " ".join(pareto_figure.findings(found))
    assert "LLaVA tiny and Qwen2.5-VL tiny are on the Pareto front" in said
    assert "Fuyu tiny is beaten in both" in said
    drawn = pareto_figure.figure(found).svg()
    assert drawn.startswith("<svg")
    assert drawn == pareto_figure.figure(found).svg()


def test_the_comparison_and_the_details_show_the_same_tokens(base: Record) -> None:
    answers = tuple(but(a, output_tokens=3 + i % 3 * (i % 2)) for i, a in enumerate(base.answers))
    made = but(base, answers=answers)
    table = comparison_tables.cost_table(bookmaking.results(made))
    details = detail_table.detail_table("batch_size", [made.cell], [made])
    assert len(details.groups) == len(details.columns), "readers choose columns by group"
    first = [
        head
        for head, group in zip(details.columns, details.groups, strict=True)
        if group in details.groups[:3]
    ]
    assert 5 < len(first) < 11 < len(details.columns)
    detail = field(details, "Output tokens")
    tokens = field(table, "Answer tokens")
    assert (tokens.text, tokens.title) == (detail.text, detail.title)
    assert "median of 96 answers, 3 to 5" in tokens.title
    assert "over 96 answers" in table.caption


def test_the_findings_name_windows_with_background_load() -> None:
    own = bookmaking.of_models(*bookmaking.MODELS)
    loaded = Conditions(start=DeviceState(), end=DeviceState(), other_load=0.5, contaminated=True)
    busy = [changed(r, "provenance", conditions=loaded) if r.cell.model == "fuyu-tiny" else r for r in own]
    said = " ".join(pareto_figure.findings(bookmaking.results(*busy)))
    assert "Other processes used the machine while Fuyu tiny was measured" in said
    assert "beaten" not in said
    ((setup, quiet),) = base_configuration.base_results(own).items()
    assert "assumed to differ by less than 20 %" in pareto_figure.notice((), setup, quiet)
    assert pareto_figure.notice((), setup, quiet[:1]) == "", "nothing is compared"
    assert len(pareto_figure.caption(quiet).split()) <= 60


def test_tables_mark_modelled_energy_and_say_why_a_number_is_missing() -> None:
    found = bookmaking.results(*bookmaking.of_models("llava-tiny"))
    assert "≈ 0.167" in render(comparison_tables.cost_table(found))
    failed = but(found[0].speed, status="failed", reason='a "quoted" <reason>', timing=None)
    page = render(comparison_tables.cost_table(bookmaking.results(failed)))
    assert 'class="vlmnb-missing" title="failed: a &#34;quoted&#34; &lt;reason&gt;"' in page


def test_the_machine_page_says_whether_the_machine_is_virtual_and_how_threads_wait(base: Record) -> None:
    unknown = '<th scope="row">Virtualization</th><td class="text">not recorded'
    assert unknown in machine.page(Content((base,)))
    known = {**base.provenance.machine, "virtualization": "virtual machine (KVM)"}
    newer = changed(base, "provenance", machine=known, tuning={"OMP_WAIT_POLICY": "PASSIVE"})
    page = machine.page(Content((base, newer)))
    assert "virtual machine (KVM)" in page
    assert "OMP_WAIT_POLICY=PASSIVE" in page
    assert "Where the time of the cells went" not in page
    newer = changed(newer, "provenance", seconds=4.0, stages={"load": 1.0, "window": 2.0})
    page = machine.page(Content((base, newer)))
    assert re.search(r"timed windows</.*>2.0 s<.*>50 %<", page, re.DOTALL)


def test_the_machine_page_names_the_noise_floor_that_it_assumes(base: Record) -> None:
    floor = repeatability.noise_floor([base], [(base.hardware, base.cell.device)])
    assert not floor.measured
    assert machine.page(Content((base,))).count(f" {formatting.percent(floor.value)} %") == 1
    assert f"**{formatting.percent(floor.value)} %**" in machine.page(Content((base,)))


def test_an_accuracy_of_choices_is_shown_with_the_score_of_guessing(base: Record) -> None:
    cell = but(base.cell, dataset="scienceqa-mini")
    made = bookmaking.measured(cell)
    offered = (tuple("abcd"[: 2 + i % 2 * 2]) for i in range(len(made.answers)))
    asked = but(made, answers=tuple(but(a, choices=c) for a, c in zip(made.answers, offered, strict=True)))
    said = "Picking one of the choices at random would score 0.375 on ScienceQA mini."
    for table in ("headline_table", "quality_table", "points_table"):
        assert said in getattr(comparison_tables, table)(bookmaking.results(asked)).caption
    shown = detail_table.detail_table("batch_size", [cell], [asked])
    assert said in shown.caption
    assert "0.375" in field(shown, "Accuracy [95 %]").title
    assert export_columns.row(asked)["accuracy_guessing"] == 0.375
    assert "at random" not in comparison_tables.quality_table(bookmaking.results(made)).caption
    assert "at random" not in detail_table.detail_table("batch_size", [cell], [made]).caption


def test_only_a_gpu_has_a_peak_above_the_baseline(base: Record) -> None:
    held = {"peak_bytes": 600, "baseline_bytes": 500, "method": "m", "process_peak_bytes": 600,
            "process_baseline_bytes": 500}  # fmt: skip
    of_a_process = but(base, memory=MemoryUsage(**held))
    of_a_gpu = but(base, memory=MemoryUsage(**held, reserved_peak_bytes=700))
    row = export_columns.row(of_a_process)
    assert (row["peak_bytes_over_model"], row["process_peak_bytes_over_model"]) == (None, 100)
    assert export_columns.row(of_a_gpu)["peak_bytes_over_model"] == 100
    parts = {"weights_bytes": 300, "cache_bytes": 100}
    process, gpu = (
        comparison_tables.cost_table(bookmaking.results(changed(one, "memory", **parts)))
        for one in (of_a_process, changed(of_a_gpu, "cell", device="cuda", optimization="fp16", dtype="fp16"))
    )
    assert "Activations" not in process.columns, "the peak is that of the process with all its libraries"
    assert field(gpu, "Activations").text == "200 B", "peak without weights and cache"


def test_a_folder_is_called_by_the_end_of_its_path() -> None:
    entry = titles.entry_of("/home/me/checkpoints/my-vlm")
    assert entry is not None
    assert (entry.title, entry.name) == ("…/checkpoints/my-vlm", "/home/me/checkpoints/my-vlm")


def test_a_chapter_counts_what_is_recorded_but_on_no_page(base: Record) -> None:
    text = model.page(Content((base,)), base.cell.model)
    assert "1 cell of this model is recorded but on none" in text
    assert f"runs/{base.cell.model}/" in text
    of_it = Page(base.cell.model, "batch_size", "", {"model": base.cell.model}, (base,))
    assert "on none of its pages" not in model.page(Content((base,), (of_it,)), base.cell.model)


def test_a_figure_of_one_model_is_left_out() -> None:
    ((setup, alone),) = base_configuration.base_results(bookmaking.of_models("llava-tiny")).items()
    assert pareto_figure.blocks((), setup, alone) == ""
    assert "Latency and error" not in comparison.page(Content(tuple(bookmaking.of_models("llava-tiny"))))


def test_a_page_across_models_shows_cells_that_could_not_be_measured() -> None:
    own = bookmaking.of_models("llava-tiny")  # takes images of one size
    page = Page("llava-tiny", "image_size", "", bookmaking.parameters("llava-tiny", "image_size"), tuple(own))
    text, figures = axis.page(Content(tuple(own), (page,)), "image_size")
    assert figures == {}
    assert text.count("not applicable: the vision tower takes images of 64 pixels a side and no other") > 3
    assert "*not applicable*: the vision tower" in text
    assert "first row" not in text, "no row is compared with another"


def test_a_book_without_a_base_configuration_is_not_called_empty(base: Record) -> None:
    text, _ = first.page(Content((changed(base, "cell", batch_size=2),)))
    assert "Explore" in text or "explore" in text
    assert "Nothing has been measured" not in text
    assert "Nothing has been measured" in first.page(Content())[0]


def test_a_folder_of_the_reader_is_no_small_stand_in_and_no_full_size_model() -> None:
    folder = str(bookmaking.PROJECT / "models" / "llava-tiny")
    assert bundled("llava-tiny")
    assert not bundled(folder)
    pages = tuple(Page(name, "device", "", {}, ()) for name in ("llava-tiny", folder, "a/eye"))
    parts = yaml.safe_load(build.table_of_contents(Content(pages=pages)))["parts"]
    listed = {part["caption"]: [one["file"].rpartition("/")[2] for one in part["chapters"]] for part in parts}
    assert "Full-size models" not in listed
    assert listed["Small stand-ins, measured here"] == ["llava-tiny"]
    assert listed["Other models"] == [*map(paths.model_folder, (folder, "a/eye")), "tried"]


def test_what_runs_where_gives_each_reason_once_in_a_line_and_folds_the_words() -> None:
    names = ("early_exit", "early_exit", "visual_tokens-25%-random")
    cells = [
        factory.cell(optimization=name, model=of) for name, of in zip(names, bookmaking.MODELS, strict=True)
    ]
    words = [f"AttributeError: '{kind}Config' object has no attribute 'num_hidden_layers'" for kind in "AB"]
    found = [factory.absent(of, "unsupported", why) for of, why in zip(cells, words, strict=False)]
    random = factory.record(but(cells[2], weights="random"))
    page = support.page(Content((*found, random)))
    shown, _, folded = page.partition("<details>")
    assert "1 of 2 optimizations ran" in shown
    assert len(re.findall(r"^\d\. ", shown, re.MULTILINE)) == 1
    assert shown.count(">unsupported (1), batch 2<") == 2
    assert folded.count("num_hidden_layers") == 2
    assert "With random weights: Fuyu tiny." in folded
    assert "<code>visual_tokens-25%-random</code>" in folded.partition("## The optimizations")[2]


def test_a_chapter_links_the_weights_on_the_hub_and_says_what_becomes_of_a_size() -> None:
    page = model.page(Content((factory.record(factory.cell(model="llava-1.5-7b")),)), "llava-1.5-7b")
    assert 'href="https://huggingface.co/llava-hf/llava-1.5-7b-hf"' in page
    assert "base 224; its processor makes every image 336" in page


def test_a_page_across_models_marks_what_changes_answers() -> None:
    names = {"fp32": 0, "sdpa": 0, "visual_tokens-25%-random": 60}
    cells = {name: factory.cell(optimization=name, samples=96, batch_size=16) for name in names}
    own = [
        factory.record(of, answers=factory.answers(96, names[name]), latencies=(0.5,) * 6)
        for name, of in cells.items()
    ]
    alone = factory.record(
        but(own[0].cell, batch_size=1), answers=factory.answers(96, 0), latencies=(0.5,) * 96
    )
    given = {"model": "llava-tiny", "samples": 96, "dataset": "textvqa-mini", "optimizations": list(names)}
    page = Page("llava-tiny", "optimization", "", given, tuple(own))
    text, _ = axis.page(Content((*own, alone), (page,)), "optimization")
    assert [name for name in names if f"{name} ⚑<" in text] == ["visual_tokens-25%-random"]
    assert re.findall(r"^- \*\*(.*?)\*\*.*⚑\.$", text, re.MULTILINE) == ["visual_tokens-25%-random"]


def test_every_dash_of_the_finder_has_its_reason() -> None:
    dashes = re.findall(r"<td[^>]*>-</td>", finder.page(Content(), finder.memory()))
    assert len(dashes) > 200
    assert all(' title="' in dash for dash in dashes)
