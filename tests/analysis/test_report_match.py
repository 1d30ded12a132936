"""Own measurements beside the figures of the reports: which stand there, and what differs."""

from __future__ import annotations

from factory import but, changed, record
from reported import own, shown

from vlmnb.analysis import base_configuration
from vlmnb.records import export_columns
from vlmnb.views import footnotes, report_tables


def test_own_measurements_stand_beside_the_report_with_the_ratio_and_what_differs() -> None:
    plan, found = shown("fuyu-8b", "batch_size")
    mine = [
        own(found[0], dataset="textvqa-mini", length="fixed", max_new_tokens=16),
        own(found[1], batch_size=2),
        own(found[2], optimization="compile"),
    ]
    table = report_tables.table("batch_size", plan.cells, found, mine)
    assert [[field.text for field in row][:6] for row in table.rows] == [
        ["1", "TextVQA", "Latency, s per batch", "0.078", "0.5000", "6.41"],
        ["1", "TextVQA", "Energy, J per sample", "16.3", "10.7", "0.654"],
    ]
    assert table.rows[0][6].text == "h200"
    assert table.rows[0][7].text == (
        "random weights; questions of TextVQA mini; 96 samples for 300; answers of exactly 16 tokens"
    )


def test_of_several_own_measurements_the_nearest_stands_beside() -> None:
    plan, found = shown("fuyu-8b", "seq_len")
    textvqa = next(one for one in found if one.cell.dataset == "textvqa")
    near, far = own(textvqa), own(textvqa, dataset="scienceqa")
    table = report_tables.table("seq_len", plan.cells, [textvqa], [far, near])
    assert {row[7].text.split(";")[1].strip() for row in table.rows} == {"96 samples for 300"}
    assert {row[2].text for row in table.rows} == {"Latency, s per batch"}, "random weights have no quality"


def test_a_checkpoint_of_another_geometry_never_passes_for_the_reports_model() -> None:
    plan, found = shown("llava-1.5-7b", "batch_size")
    real = own(found[0], weights="pretrained", samples=300)
    told = {"weights": "local 0123456789abcdef", "geometry": "text_config.hidden_size 96 for 4096"}
    toy = changed(real, "provenance", **told)
    table = report_tables.table("batch_size", plan.cells, found[:1], [real, toy])
    latency = [[field.text for field in row] for row in table.rows if row[2].text.startswith("Latency")]
    assert [row[5] == "-" for row in sorted(latency, key=lambda row: row[7])] == [False, True], (
        "it takes no place from the model itself"
    )
    (row,) = (row for row in latency if row[5] == "-")
    assert "text_config.hidden_size 96 for 4096" in row[7]
    assert "a local folder" in row[7]
    assert "another model" in report_tables.notes(table)
    assert "hidden\\_size 96 for 4096" in footnotes.reasons([toy])
    assert footnotes.reasons([real]) == ""
    assert export_columns.row(toy)["other_geometry"] == told["geometry"]
    for one, said in ((real, False), (toy, True)):
        base = {"optimization": "fp16", "image_size": 224, "seq_len": 200, "length": "natural"}
        of_base = changed(one, "cell", **base, batch_size=base_configuration.BASE_BATCH_SIZE)
        (entries,) = base_configuration.base_results([of_base]).values()
        assert ("of another geometry" in entries[0].model.title) == said


def test_a_cpu_row_in_another_precision_is_compared_and_a_modelled_joule_is_not() -> None:
    plan, found = shown("llava-1.5-7b", "device")
    cell = but(found[1].cell, weights="random", dtype="bf16", optimization="bf16", samples=4)
    table = report_tables.table("device", plan.cells, found, [record(cell, latencies=(16.746,))])
    rows = {row[2].text: row for row in table.rows}
    assert rows["Latency, s per batch"][5].text == "2.00"
    assert "bf16 for fp16" in rows["Latency, s per batch"][7].text
    assert rows["Energy, J per sample"][4].text.startswith("≈")
    assert rows["Energy, J per sample"][5].text == "-"
    assert "modelled energy is not compared" in report_tables.notes(table)
