"""What generated pages say of records: the comparison, its findings and tables, the machine."""

from __future__ import annotations

import bookmaking

from vlmnb.analysis import base_configuration
from vlmnb.book.content import Content
from vlmnb.book.pages import machine
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters.readings import MemoryUsage
from vlmnb.records import export_columns, record
from vlmnb.spec import planning
from vlmnb.views import comparison_tables, detail_table, html, pareto_figure, pareto_findings
from vlmnb.views.table import Field


def content(*models: str) -> Content:
    records = tuple(
        bookmaking.measured(cell)
        for model in models
        for cell in planning.plan("image_size", bookmaking.parameters(model)).cells
    )
    return Content(records)


def test_the_comparison_takes_base_records_only_and_keeps_machines_apart() -> None:
    own = content("llava-tiny", "fuyu-tiny").records
    other = tuple(
        r.model_copy(update={"hardware": "other", "key": "0" * 16})
        for r in own
        if r.cell.model == "fuyu-tiny"
    )
    groups = base_configuration.base_results([*own, *other])
    assert [(s.hardware, [e.model.name for e in entries]) for s, entries in groups.items()] == [
        ("test-cpu-2c", ["llava-tiny", "fuyu-tiny"]), ("other", ["fuyu-tiny"]),
    ]  # fmt: skip
    found = [record for entries in groups.values() for e in entries for record in e.records.values()]
    sizes = {record.cell.image_size for record in found}
    assert sizes == {64}


def test_of_two_base_records_the_one_with_more_samples_counts() -> None:
    base = next(r for r in content("fuyu-tiny").records if base_configuration.is_base(r))
    few = base.model_copy(
        update={
            "cell": base.cell.model_copy(update={"samples": 8}), "key": "1" * 16,
            "provenance": base.provenance.model_copy(update={"started_at": "2027-01-01T00:00:00+00:00"}),
        }
    )  # fmt: skip
    (entries,) = base_configuration.base_results([few, base]).values()
    assert entries[0].speed.cell.samples == 96


def test_the_findings_follow_the_numbers() -> None:
    (entries,) = base_configuration.base_results(content(*bookmaking.MODELS).records).values()
    told = " ".join(pareto_findings.findings(entries))
    assert "LLaVA tiny and Qwen2.5-VL tiny are on the Pareto front" in told
    assert "Fuyu tiny is beaten in both" in told
    drawn = pareto_figure.figure(entries)
    assert drawn.startswith(b"\x89PNG")
    assert drawn == pareto_figure.figure(entries)


def test_tokens_of_the_comparison_are_those_of_the_tables_of_details() -> None:
    plan = planning.plan("batch_size", bookmaking.parameters("llava-tiny", "batch_size"))
    base = bookmaking.measured(plan.of_length("natural")[-1])
    answers = [
        a.model_copy(update={"output_tokens": 3 + i % 3 * (i % 2)}) for i, a in enumerate(base.answers)
    ]
    made = base.model_copy(update={"answers": tuple(answers)})
    (entries,) = base_configuration.base_results([made]).values()
    shown = detail_table.detail_table("batch_size", [made.cell], [made])
    field = shown.rows[0][shown.columns.index("Output tokens")]
    table = comparison_tables.cost_table(entries)
    tokens = table.rows[0][table.columns.index("Answer tokens")]
    assert (tokens.text, tokens.title) == (field.text, field.title)
    assert "median of 96 answers, 3 to 5" in tokens.title
    assert "over 96 answers" in table.caption


def test_the_findings_of_disturbed_windows_say_so() -> None:
    own = content(*bookmaking.MODELS).records
    quiet = base_configuration.base_results(own)
    around = Conditions(start=DeviceState(), end=DeviceState(), other_load=0.5, contaminated=True)
    busy = [
        r.model_copy(update={"provenance": r.provenance.model_copy(update={"conditions": around})})
        if r.cell.model == "fuyu-tiny" else r for r in own
    ]  # fmt: skip
    said = " ".join(pareto_findings.findings(next(iter(base_configuration.base_results(busy).values()))))
    assert "other processes used the machine while Fuyu tiny was measured" in said
    assert "beaten" not in said
    drawn, _ = pareto_findings.figure_blocks((), *next(iter(quiet.items())))
    assert "differ by up to 20 % (an assumption" in drawn
    caption = pareto_findings.figure_caption(next(iter(quiet.values())))
    assert len(caption.split()) <= 60


def test_tables_mark_modelled_energy_and_say_why_a_number_is_missing() -> None:
    (entries,) = base_configuration.base_results(content("llava-tiny").records).values()
    assert "≈ 0.167" in html.render(comparison_tables.cost_table(entries))
    failed = entries[0].speed.model_copy(
        update={"status": "failed", "reason": 'a "quoted" <reason>', "timing": None}
    )
    (entries,) = base_configuration.base_results([failed]).values()
    page = html.render(comparison_tables.cost_table(entries))
    assert 'class="vlmnb-missing" title="failed: a &#34;quoted&#34; &lt;reason&gt;"' in page


def test_the_machine_page_says_whether_the_machine_is_virtual() -> None:
    made = bookmaking.measured(planning.plan("device", bookmaking.parameters("llava-tiny")).cells[-1])
    assert '<th scope="row">Virtualization</th><td class="text">not recorded' in machine.page(
        Content((made,))
    )
    told = {**made.provenance.machine, "virtualization": "virtual machine (KVM)"}
    newer = made.model_copy(update={"provenance": made.provenance.model_copy(update={"machine": told})})
    assert "virtual machine (KVM)" in machine.page(Content((made, newer)))


def test_an_accuracy_of_choices_stands_beside_what_guessing_would_score() -> None:
    plan = planning.plan("batch_size", bookmaking.parameters("llava-tiny", "batch_size"))
    of = plan.of_length("natural")[-1].model_copy(update={"dataset": "scienceqa-mini"})
    made = bookmaking.measured(of)
    counts = [2, 4] * (len(made.answers) // 2)
    asked = made.model_copy(
        update={
            "answers": tuple(
                answer.model_copy(update={"choices": tuple("abcd"[:count])})
                for answer, count in zip(made.answers, counts, strict=True)
            )
        }
    )
    said = "Picking one of the choices at random would score 0.375 on ScienceQA mini."
    (entries,) = base_configuration.base_results([asked]).values()
    for table in (
        comparison_tables.headline_table,
        comparison_tables.quality_table,
        comparison_tables.points_table,
    ):
        assert said in table(entries).caption
    shown = detail_table.detail_table("batch_size", [of], [asked])
    assert said in shown.caption
    assert "0.375" in shown.rows[0][shown.columns.index("Accuracy [95 %]")].title
    assert export_columns.row(asked)["accuracy_guessing"] == 0.375
    (open_ended,) = base_configuration.base_results([made]).values()
    assert "at random" not in comparison_tables.quality_table(open_ended).caption
    assert "at random" not in detail_table.detail_table("batch_size", [of], [made]).caption


def test_a_peak_over_the_baseline_is_of_a_gpu_alone_in_the_export_and_in_the_comparison() -> None:
    plan = planning.plan("batch_size", bookmaking.parameters("llava-tiny", "batch_size"))
    base = bookmaking.measured(plan.of_length("natural")[-1])
    held = {"peak_bytes": 600, "baseline_bytes": 500, "method": "m", "process_peak_bytes": 600,
            "process_baseline_bytes": 500}  # fmt: skip
    of_a_process = base.model_copy(update={"memory": MemoryUsage(**held)})
    of_a_gpu = base.model_copy(update={"memory": MemoryUsage(**held, reserved_peak_bytes=700)})
    row = export_columns.row(of_a_process)
    assert (row["peak_bytes_over_model"], row["process_peak_bytes_over_model"]) == (None, 100)
    assert export_columns.row(of_a_gpu)["peak_bytes_over_model"] == 100

    def above_baseline(one: record.Record) -> Field:
        (entries,) = base_configuration.base_results([one]).values()
        table = comparison_tables.cost_table(entries)
        return table.rows[0][table.columns.index("Above baseline")]

    assert above_baseline(of_a_process).text == "-"
    assert "keeps what it once took" in above_baseline(of_a_process).title
    assert above_baseline(of_a_gpu).text == "100 B"
