"""The record: its file, what its numbers are called, and its export."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factory import absent, answers, but, cell, changed, record

from vlmnb.errors import UserError
from vlmnb.meters.counters import calibration
from vlmnb.meters.energy import EnergyMeter
from vlmnb.meters.readings import EnergyReading, EnergyRefusal, ProbeLogits
from vlmnb.records import export_columns, record_file
from vlmnb.records.export import export_records
from vlmnb.records.parts import FailedSample, Provenance
from vlmnb.spec.cell import Cell
from vlmnb.views import fields, footnotes


def test_a_record_comes_back_as_it_was_written_from_its_own_place(tmp_path: Path) -> None:
    made = record()
    path = record_file.write(made, tmp_path)
    assert record_file.read(path) == made
    assert path == tmp_path / "test-machine" / "llava-tiny" / f"{made.key}.json"
    content = json.loads(path.read_text())
    assert content["schema_version"] == 1
    assert content["timing"]["latencies_s"] == [0.5, 0.4]
    assert content["answers"][0]["references"]
    assert {reading["method"] for reading in content["energy"]} == {"model"}
    with pytest.raises(ValueError, match="edited by hand"):
        record_file.read(path.rename(path.with_name("0123456789abcdef.json")))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("0.4", "0.1"),
        lambda text: text.replace('"status": "ok"', '"status": "failed"'),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace('"reason": ""', '"reason": " "'),
        lambda text: text.replace('"answer": "', '"answer": "\u00e9', 1),
        lambda text: text[:-20] + "0" * 16 + text[-4:],
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "digest"}),
    ],
)
def test_every_edit_of_a_file_shows(tmp_path: Path, edit: Callable[[str], str]) -> None:
    path = record_file.write(record(), tmp_path)
    assert edit(path.read_text()) != path.read_text()
    path.write_bytes(edit(path.read_text()).encode())
    with pytest.raises(ValueError, match="edited by hand"):
        record_file.read(path)


NAN, INFINITE = float("nan"), float("inf")


READING = EnergyReading(source="cpu", method="rapl", energy_j=8.0, detail="test", window_s=1.0)


@pytest.mark.parametrize(
    ("change", "place", "left"),
    [
        ({"probe": ProbeLogits(vocabulary=2, values=(1.0, NAN))}, "logits.values (nan)", {"probe": None}),
        ({"codecarbon": {"pue": INFINITE}}, "codecarbon.pue (inf)", {"codecarbon": {"pue": None}}),
        ({"energy": (but(READING, energy_j=NAN),)}, "energy.energy_j (nan)", {"energy": ()}),
        ({"energy": (but(READING, window_s=-INFINITE),)}, "energy.window_s (-inf)",
         {"energy": (but(READING, window_s=None),)}),
        ({"answers": (but(answers(1, 0)[0], score=NAN),)}, "answers.score (nan)",
         {"answers": (but(answers(1, 0)[0], score=None),)}),
        ({"provenance": Provenance(code="", other_load=NAN)}, "provenance.other_load (nan)",
         {"provenance": Provenance(code="")}),
    ],
)  # fmt: skip
def test_numbers_that_are_not_finite_are_left_out_and_named(
    tmp_path: Path, change: dict[str, Any], place: str, left: dict[str, Any]
) -> None:
    made = record_file.read(record_file.write(record().model_copy(update=change), tmp_path))
    assert place in made.notes[0]
    assert made == record(**left, notes=made.notes)
    exported = export_columns.row(made)
    assert place in exported["notes"]
    assert exported["latency_s"] == 0.45
    if made.energy == ():
        assert exported["energy_j_per_sample"] is None
        assert fields.energy(made).text == "-"
        assert place in fields.energy(made).title


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "is no record"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "update the project"),
        (lambda text: text.replace('"status": "ok"', '"status": "fine"'), "status"),
        (lambda text: "[]", "is no record"),
        (lambda text: "null", "is no record"),
        (lambda text: text.replace("0.4", "NaN"), "is no record"),
        (lambda text: text.replace('"machine": {}', '"machine": "laptop"'), "provenance.machine"),
        (lambda text: "{}", "is no record: it has no schema_version"),
        (lambda text: text.replace('"sample_id": "1"', '"sample_id": "0"'), "answer to a sample"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_what_to_do(tmp_path: Path, spoil, said: str) -> None:
    path = record_file.write(record(), tmp_path)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ValueError, match=said):
        record_file.read(path)
    found, problems = record_file.read_all(tmp_path)
    assert found == []
    assert problems[0].path == path


def test_figures_are_what_their_names_say() -> None:
    made = record(latencies=(0.5, 0.4))
    assert made.latency_s == pytest.approx(0.45)
    assert made.energy_j_per_sample == pytest.approx(8.0 / 4), "joules of the CPU alone, over four samples"
    assert made.wer == pytest.approx(0.25)
    assert made.accuracy == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("of", "latencies", "samples", "full"),
    [(cell(), (0.5, 0.4, 0.1), (2, 2, 1), 2), (cell(batch_size=16), (0.5,), (4,), 0)],
)
def test_a_short_batch_counts_for_answers_but_gives_no_number_per_batch(
    of: Cell, latencies: tuple[float, ...], samples: tuple[int, ...], full: int
) -> None:
    made = record(of, latencies=latencies, answers=answers(sum(samples), 1))
    made = changed(made, "timing", batch_samples=samples)
    assert len(made.full_batches_s) == full
    row = export_columns.row(made)
    assert {row[name] is None for name in ("latency_s", "energy_j_per_sample", "flops")} == {not full}
    assert made.energy_j_per_sample == (pytest.approx(8.0 / sum(samples)) if full else None)
    assert ("fewer samples than one batch" in footnotes.reasons([made])) is (not full)


@pytest.mark.parametrize("change", [{"weights": "random"}, {"length": "fixed"}])
def test_answers_that_mean_nothing_have_no_quality(change: dict[str, str]) -> None:
    row = export_columns.row(record(cell(**change)))
    assert (row["wer"], row["accuracy"]) == (None, None)


def test_rows_without_a_score_are_left_out_and_named() -> None:
    nothing = {"word_errors": None, "reference_words": None, "score": None, "note": "no reference"}
    given = answers(4, 1)
    row = export_columns.row(record(answers=(*given[:3], but(given[3], **nothing))))
    assert (row["wer"], row["accuracy"]) == pytest.approx((1 / 3, 2 / 3))
    assert "no reference" in row["quality_note"]
    assert "3" in row["quality_note"]
    none = record(answers=tuple(but(answer, **nothing) for answer in given))
    assert (none.wer, none.wer_interval, none.accuracy, none.scores) == (None, None, None, {})
    assert none.latency_s == record().latency_s
    assert "0, 1, 2, 3" in export_columns.row(none)["quality_note"]
    assert export_columns.row(record())["quality_note"] is None


def test_the_export_shows_notes_and_failed_samples() -> None:
    failed = FailedSample(row=7, id="q9", reason="its picture is cut short")
    row = export_columns.row(record(failed_samples=(failed,), notes=("half the weights are unused",)))
    assert row["failed_samples"] == 1
    assert row["notes"].startswith("half the weights")
    assert "q9" in row["notes"]
    assert {export_columns.row(record())[name] for name in ("failed_samples", "notes")} == {None}


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet"])
def test_the_export_has_one_row_per_record_and_the_promised_columns(tmp_path: Path, file_format: str) -> None:
    results = tmp_path / "results"
    record_file.write(record(), results)
    record_file.write(absent(cell(device="cuda", dtype="fp16"), "unsupported", 'no GPU, "none"'), results)
    output = tmp_path / f"table.{file_format}"
    assert export_records(results, output, file_format) == (2, [])
    reader = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[file_format]
    table = reader(output)
    promised = (
        "source, hardware, model, weights, dataset, samples, device, dtype, optimization, batch_size, "
        "image_size, seq_len, status, reason, wer, latency_s, energy_j_per_sample, energy_method, flops, "
        "peak_bytes, key"
    )
    assert list(table.columns)[: len(promised.split(", "))] == promised.split(", ")
    rows = table.set_index("status")
    assert rows.loc["ok", "wer"] == pytest.approx(0.25)
    assert rows.loc["ok", "latency_s"] == pytest.approx(0.45)
    assert pd.isna(rows.loc["unsupported", "latency_s"])
    assert rows.loc["unsupported", "reason"] == 'no GPU, "none"'


@pytest.mark.parametrize(("kind", "read"), [("parquet", pd.read_parquet), ("csv", pd.read_csv)])
def test_an_export_of_nothing_has_its_columns(tmp_path: Path, kind: str, read: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    assert export_records(tmp_path / "empty", tmp_path / "none", kind) == (0, [])
    assert list(read(tmp_path / "none").columns) == list(export_columns.EXPORT_COLUMNS)


def test_the_export_writes_numbers_as_the_records_have_them(tmp_path: Path) -> None:
    results = tmp_path / "results"
    made = [record(cell(batch_size=size)) for size in (1, 2)]
    wanted = {one.key: export_columns.row(one) for one in made}
    for one in made:
        record_file.write(one, results)
    export_records(results, tmp_path / "table.json", "json")
    assert {row["key"]: row for row in json.loads((tmp_path / "table.json").read_text())} == wanted
    export_records(results, tmp_path / "table.csv", "csv")
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as table:
        told = {row["key"]: row for row in csv.DictReader(table)}
    assert told == {
        key: {name: "" if value is None else str(value) for name, value in row.items()}
        for key, row in wanted.items()
    }


def test_codecarbons_own_table_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codecarbon.output_methods.emissions_data import EmissionsData
    from codecarbon.output_methods.file import FileOutput

    monkeypatch.setattr(calibration, "attached", lambda device: calibration.Attached())
    with EnergyMeter() as meter:
        pass
    results, output = tmp_path / "results", tmp_path / "emissions.csv"
    made = record(codecarbon=meter.emissions)
    record_file.write(made, results)
    record_file.write(record(cell(batch_size=1)), results)
    assert export_records(results, output, "codecarbon") == (1, [])
    FileOutput("theirs.csv", str(tmp_path)).out(EmissionsData(**meter.emissions), None)
    ours, theirs = pd.read_csv(output), pd.read_csv(tmp_path / "theirs.csv")
    assert list(ours.columns) == list(theirs.columns)
    assert ours.loc[0, "experiment_id"] == made.key
    assert ours.loc[0, "cpu_energy"] == theirs.loc[0, "cpu_energy"]


@pytest.mark.parametrize(
    ("results", "output", "kind", "said"),
    [
        ("results", "emissions.csv", "codecarbon", "has a row of codecarbon"),
        ("nowhere", "out.csv", "csv", "vlmnb sweep"),
        ("results", "mistyped/out.csv", "csv", r"there is no folder .*mistyped; make it first"),
    ],
)
def test_an_export_that_cannot_be_says_why_and_leaves_nothing(
    tmp_path: Path, results: str, output: str, kind: str, said: str
) -> None:
    record_file.write(record(), tmp_path / "results")
    with pytest.raises(UserError, match=said):
        export_records(tmp_path / results, tmp_path / output, kind)
    assert [each.name for each in tmp_path.iterdir()] == ["results"]


def test_a_refused_energy_says_why_beneath_the_table() -> None:
    refusal = EnergyRefusal(source="gpu", method="nvml_counter", reason="the work took 0.5 s")
    made = record(cell(device="cuda"), energy=(), energy_refused=(refusal,))
    assert "- `-` energy: the work took 0.5 s" in footnotes.reasons([made])


def test_a_quantile_is_exported_only_where_there_are_batches_enough() -> None:
    few = export_columns.row(record(latencies=(0.2, 0.3) * 17))
    assert few["latency_p90_s"] is few["latency_p90_low_s"] is None
    many = export_columns.row(record(latencies=tuple(0.001 * i for i in range(1, 61))))
    assert many["latency_p90_low_s"] <= many["latency_p90_s"] <= many["latency_p90_high_s"]
