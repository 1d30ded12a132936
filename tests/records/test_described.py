"""Exports in the words of other tools: Croissant and the evaluation results of the Hub's cards."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from factory import answers, cell, record

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


def test_every_column_has_a_meaning_and_ends_of_intervals_have_their_unit() -> None:
    columns = {one.name: one for one in described.dictionary()}
    assert list(columns) == list(EXPORT_COLUMNS)
    assert all(one.meaning for one in columns.values())
    assert columns["latency_low_s"].unit == columns["latency_s"].unit == "s"
    assert "latency_s" in columns["latency_low_s"].meaning
    assert columns["peak_bytes"].unit == "bytes"
