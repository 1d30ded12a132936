"""Cells measured with the bundled models: which are refused, and what their answers and FLOPs are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factory import cell

from vlmnb.errors import UserError
from vlmnb.flops import counters
from vlmnb.measure import cells, loading
from vlmnb.measure.batches import choose, prepare
from vlmnb.measure.flop_counting import count
from vlmnb.records import record_file
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec import planning

pytestmark = pytest.mark.slow


def measured(results: Path, axis: str, model: str, **given: object) -> list[Record]:
    parameters = {"model": model, "samples": 2, "max_new_tokens": 2, **given}
    return cells.measure_cells(planning.plan(axis, parameters).cells, results)


@pytest.mark.parametrize(
    ("model", "taken", "refused", "tokens", "reason"),
    [("llava-tiny", 64, 32, 64, "64 pixels"), ("qwen2.5-vl-tiny", 48, 100, 9, "nearest is 96")],
)
def test_an_image_size_the_model_does_not_take_or_would_round_is_not_applicable(
    model: str, taken: int, refused: int, tokens: int, reason: str, tmp_path: Path
) -> None:
    sizes = {"image_sizes": [refused, taken], "datasets": ["coco-mini"]}
    no, yes = measured(tmp_path, "image_size", model, **sizes)
    assert no.status == "not_applicable"
    assert reason in no.reason
    assert yes.status == "ok", yes.reason
    assert {answer.image_tokens for answer in yes.answers} == {tokens}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_device_is_unsupported_with_a_reason(tmp_path: Path) -> None:
    gpu, cpu = measured(tmp_path, "device", "llava-tiny", length="natural")
    assert (gpu.status, cpu.status) == ("unsupported", "ok")
    assert "CUDA" in gpu.reason


def test_a_picture_of_more_tokens_than_the_context_is_measured_and_noted(tmp_path: Path) -> None:
    sizes = {"image_sizes": [64, 448], "datasets": ["textvqa-mini"], "samples": 1, "batch_size": 1}
    small, large = measured(tmp_path, "image_size", "smolvlm-tiny", **sizes)
    assert (small.status, large.status, small.notes) == ("ok", "ok", ())
    assert "context of 1024 tokens" in large.notes[0]


def test_fixed_length_generates_exactly_as_many_tokens_without_wer(tmp_path: Path) -> None:
    fixed = {"batch_sizes": [2], "max_new_tokens": 7, "length": "fixed"}
    (made,) = measured(tmp_path, "batch_size", "llava-tiny", **fixed)
    assert {answer.output_tokens for answer in made.answers} == {7}
    assert made.wer is None


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny"])
def test_flops_of_a_batch_are_those_of_its_padded_prompts(model: str) -> None:
    parameters = {"model": model, "samples": 3, "batch_sizes": [3], "dataset": "scienceqa-mini",
                  "device": "cpu", "length": "natural"}  # fmt: skip
    (cell,) = planning.plan("batch_size", parameters).cells
    resolved = resolve_cell(cell)
    loaded = loading.load(loading.configuration(resolved))
    (batch,) = prepare(cell, loaded, *choose(resolved))
    assert len({prompt.text_tokens for prompt in batch.prompts}) > 1, "the prompts differ in length"
    whole = counters.count_forward(loaded.model, dict(batch.inputs))
    assert count(resolved, loaded, batch, {}).torch == whole.torch
    assert count(resolved, loaded, batch, {}).fvcore == whole.fvcore


def test_more_samples_than_the_data_set_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 300 samples"):
        measured(tmp_path, "batch_size", "llava-tiny", samples=301, batch_sizes=[1])
    assert list(record_file.all_paths(tmp_path)) == []


@pytest.mark.parametrize(
    ("model", "given", "word"),
    [
        ("llava-tiny", {"batch_size": 2}, "batch"),
        ("fuyu-tiny", {}, "images"),
        ("llava-tiny", {"measure": "layers"}, "layers"),
        ("llava-tiny", {"measure": "reuse", "questions": 2, "reuse": "prefix"}, "reuse"),
    ],
)
def test_what_llama_cpp_cannot_run_is_unsupported_before_a_model_loads(
    model: str, given: dict[str, object], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load", lambda wanted: pytest.fail("loaded"))
    wanted = cell(
        **{"model": model, "optimization": "llama.cpp-Q8_0", "batch_size": 1, "samples": 2, **given}
    )
    (record,) = cells.measure_cells([wanted], tmp_path)
    assert record.status == "unsupported"
    assert word in record.reason
