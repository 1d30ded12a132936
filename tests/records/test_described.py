"""Exports in the words of other tools: Croissant and the evaluation results of the Hub's cards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from factory import answers, cell, record
from preparing import prepared
from reusing import reused

from vlmnb.records import described, export, record_file
from vlmnb.records.export_columns import EXPORT_COLUMNS


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A record with quality and one of random weights."""
    for of in (cell(batch_size=2), cell(batch_size=4, weights="random")):
        record_file.write(
            record(of, answers=answers(4, 1), key=f"{of.batch_size}" * 16), tmp_path / "results"
        )
    return tmp_path / "results"


@pytest.mark.filterwarnings("ignore:DataFrame is highly fragmented")  # within mlcroissant
def test_croissant_is_valid_and_reads_every_column_back(results: Path, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    output = tmp_path / "records.json"
    assert export.export_records(results, output, "croissant") == (2, [])
    found = mlcroissant.Dataset(str(output))
    assert not found.metadata.issues.errors
    rows = list(found.records("records"))
    assert [set(row) for row in rows] == [{f"records/{name}" for name in EXPORT_COLUMNS}] * 2
    assert {row["records/batch_size"] for row in rows} == {2, 4}
    assert all(isinstance(row["records/latency_s"], float) for row in rows)


def test_the_hub_gets_the_quality_of_trained_weights_alone(results: Path, tmp_path: Path) -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    output = tmp_path / "cards.yaml"
    count, _ = export.export_records(results, output, "model-index")
    (card,) = yaml.safe_load_all(output.read_text(encoding="utf-8"))
    model, found = model_index_to_eval_results(card["model-index"])
    assert (model, len(found)) == ("llava-tiny", count)
    assert {(one.metric_type, one.metric_value) for one in found} == {("wer", 0.25), ("accuracy", 0.75)}
    assert {one.dataset_config for one in found} == {"2" * 16}


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_reused_pictures_and_prepared_batches_have_their_columns(kind: str, tmp_path: Path) -> None:
    made = {"1" * 16: reused(3.0, 2.0, 1.0), "2" * 16: prepared(4, 16.0, 3.0)}
    for key, one in made.items():
        record_file.write(one.model_copy(update={"key": key}), tmp_path / "results")
    output = tmp_path / f"records.{kind}"
    assert export.export_records(tmp_path / "results", output, kind) == (2, [])
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[kind]
    rows = read(output, dtype={"key": str}) if kind != "parquet" else read(output)
    first, second = (rows[rows["key"] == key].iloc[0] for key in made)
    assert (first["reuse"], first["questions"], first["reuse_kept_bytes"]) == ("encoder", 2, 1000)
    assert [first[f"reuse_{n}_s"] for n in ("keep", "question_plain", "question_kept")] == [3.0, 2.0, 1.0]
    assert [second[f"prepare_{n}_s"] for n in ("pil_1", "pil_2", "model", "decode")] == [2.0, 1.0, 3.0, 0.1]
    assert second["prepare_pil_1_j_per_sample"] == 0.25
    for row, column in (
        (first, "prepare_pil_1_s"),
        (second, "questions"),
        (second, "prepare_torchvision_1_s"),
    ):
        assert pd.isna(row[column])


def test_every_column_has_a_meaning_and_ends_of_intervals_have_their_unit() -> None:
    columns = {one.name: one for one in described.dictionary()}
    assert list(columns) == list(EXPORT_COLUMNS)
    assert all(one.meaning for one in columns.values())
    assert columns["latency_low_s"].unit == columns["latency_s"].unit == "s"
    assert "latency_s" in columns["latency_low_s"].meaning
    assert columns["peak_bytes"].unit == "bytes"
    assert (columns["samples_per_s"].unit, columns["output_tokens_per_s_low"].unit) == ("1/s", "tokens/s")
    assert columns["energy_j_per_sample"].unit == "J"


def test_ends_of_intervals_over_batches_do_not_claim_95_percent() -> None:
    assert "latency_confidence" in described._meaning("latency_low_s")
    assert "latency_confidence" in described._meaning("samples_per_s_high")
    assert "95 %" in described._meaning("wer_low")
