"""The reports' models without their weights: geometry, stand-in processors, random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from factory import cell
from PIL import Image
from small_models import REAL, small_config

from vlmnb import models
from vlmnb.data.catalogue import Sample
from vlmnb.data.prompts import short_answer_prompt
from vlmnb.measure import encoding, loading
from vlmnb.measure.batches import choose, prepare
from vlmnb.measure.cells import measure_cells
from vlmnb.models import geometry, stand_in
from vlmnb.models.entry import ModelEntry
from vlmnb.models.families import llava
from vlmnb.records.resolved import Resolved, resolve_cell
from vlmnb.spec import planning
from vlmnb.spec.cell import Cell

BILLIONS = {"llava-1.5-7b": 7.06, "qwen2.5-vl-3b": 3.75, "fuyu-8b": 9.41}
"""Parameters of the published checkpoints, rounded as on their pages."""


def test_the_registry_has_the_reports_models_in_the_reports_order() -> None:
    assert tuple(models.registry())[:3] == REAL
    assert models.default().bundled


@pytest.mark.parametrize("name", REAL)
def test_entry_and_geometry_are_those_of_the_report_and_of_the_checkpoint(name: str) -> None:
    entry = models.get(name)
    assert len(entry.revision) == 40
    assert (entry.base_image_size, entry.seq_lens, entry.base_dtype) == (224, (200, 100, 50), "bf16")
    with torch.device("meta"):
        model = models.family_of(entry).model_class()(geometry.config(entry))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(BILLIONS[name], abs=0.006)
    assert entry.source in geometry.source(entry)
    assert entry.revision in geometry.source(entry)


@pytest.mark.parametrize("name", REAL)
def test_a_checkpoint_is_told_by_its_geometry_and_not_by_its_name(name: str) -> None:
    own = geometry.config(models.get(name))
    own.dtype = "float32"
    assert geometry.differences(models.get(name), geometry.of(json.loads(own.to_json_string()))) == ""
    told = geometry.differences(models.get(name), small_config(name))
    wide = own.text_config
    assert f"text_config.hidden_size 64 for {wide.hidden_size}" in told
    assert f"text_config.num_hidden_layers 2 for {wide.num_hidden_layers}" in told
    assert f"text_config.vocab_size 1000 for {wide.vocab_size}" in told
    assert ("vision_config.hidden_size" in told) == hasattr(own, "vision_config")


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("llava-1.5-7b", {224: 576, 336: 576}),
        ("qwen2.5-vl-3b", {224: 64, 336: 144, 448: 256}),
        ("fuyu-8b", {224: 8 * 9, 336: 12 * 13, 448: 15 * 16}),
    ],
)
def test_a_stand_in_gives_the_image_tokens_of_the_geometry_and_the_text_tokens_asked_for(
    name: str, tokens: dict[int, int]
) -> None:
    family, config = models.family_of(models.get(name)), geometry.config(models.get(name))
    processor = stand_in.build(family, config)
    image = Image.new("RGB", (300, 400), "red")
    texts = [short_answer_prompt("what does the sign say? " * times) for times in (1, 60)]
    for size, expected in tokens.items():
        assert family.image_tokens(config, size) == expected
        for budget in (200, 50):
            prompts = [encoding.fit(processor, text, budget) for text in texts]
            samples = [Sample("0", (image.resize((size, size)),), text, ("a",)) for text in texts]
            batch = encoding.encode(family, processor, samples, prompts, size)
            assert encoding.image_tokens(batch, prompts) == [expected] * 2
            assert [prompt.text_tokens for prompt in prompts] == [budget] * 2
            assert batch["input_ids"].max() < config.text_config.vocab_size
    image_id = getattr(config, "image_token_id", None) or config.image_token_index
    assert image_id in batch["input_ids"]
    with pytest.raises(encoding.NotEnoughTokens):
        encoding.fit(processor, texts[0], 3)


def random_cell(name: str, dtype: str = "bf16", **changes: Any) -> Cell:
    size = {"samples": 2, "image_size": 224, "seq_len": 60, "max_new_tokens": 3}
    return cell(model=name, weights="random", dtype=dtype, optimization=dtype, **size, **changes)


def thin(entry: ModelEntry) -> Any:
    """A thin model with the real vocabulary, image tokens and special tokens."""
    config, small = geometry.of(geometry.document(entry)), small_config(entry.name)
    for field in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        setattr(config.text_config, field, getattr(small.text_config, field))
    for field in ("num_key_value_heads", "head_dim", "layer_types", "rope_parameters"):
        if getattr(config.text_config, field, None):
            setattr(config.text_config, field, getattr(small.text_config, field))
    if hasattr(config, "vision_config"):
        config.vision_config = small.vision_config
    return config


configuration = loading.configuration


def thinned(resolved: Resolved) -> loading.Configuration:
    """Return which model object a cell needs, of the thin geometry."""
    return replace(configuration(resolved), config=thin(resolved.entry).to_dict())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("name", REAL)
def test_random_weights_are_measured_without_quality(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "configuration", thinned)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked = random_cell(name, dtype)
    (found,) = measure_cells([asked], tmp_path / "results")
    assert (found.status, found.reason) == ("ok", "")
    assert (found.wer, found.accuracy, found.provenance.processor) == (None, None, "stand-in")
    assert {(a.text_tokens, a.output_tokens) for a in found.answers} == {(60, 3)}
    resolved = resolve_cell(asked)
    loaded = loading.load(loading.configuration(resolved))
    batch = prepare(asked, loaded, *choose(resolved))[0]
    with torch.no_grad():
        assert loaded.model(**batch.inputs).logits.isfinite().all()


@pytest.mark.slow
def test_random_weights_are_seeded_tied_and_in_the_cells_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "configuration", thinned)

    def built(seed: int) -> Any:
        asked = random_cell("qwen2.5-vl-3b", "fp16", seed=seed)
        return loading.load(loading.configuration(resolve_cell(asked))).model

    first, same, other = built(0), built(0), built(1)
    weights = [dict(model.named_parameters()) for model in (first, same, other)]
    assert {p.dtype for p in weights[0].values()} == {torch.float16}
    assert all(torch.equal(p, weights[1][name]) for name, p in weights[0].items())
    head = "model.language_model.layers.0.mlp.gate_proj.weight"
    assert not torch.equal(weights[0][head], weights[2][head])
    assert first.get_output_embeddings().weight is first.get_input_embeddings().weight
    fresh = type(first)(thin(models.get("qwen2.5-vl-3b")))
    for (name, made), (_, wanted) in zip(first.named_buffers(), fresh.named_buffers(), strict=True):
        assert made.dtype == wanted.dtype, name
        assert torch.equal(made, wanted), name


@pytest.mark.slow
def test_building_takes_the_memory_of_the_weights_and_no_more() -> None:
    code = """
import resource, torch, transformers
from accelerate import init_empty_weights
from vlmnb import models
from vlmnb.measure import random_weights
from vlmnb.models import geometry
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
config = geometry.config(models.get("llava-1.5-7b"))
config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers = 1, 2
config.text_config.vocab_size, config.text_config.intermediate_size = 2048, 8192
cls = transformers.LlavaForConditionalGeneration
before = peak()
model = random_weights.build(cls, config, dtype=torch.bfloat16, device="cpu", seed=0)
weights = 2 * sum(p.numel() for p in model.parameters())
print((peak() - before) / weights)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.05


@pytest.mark.slow
def test_other_image_sizes_of_llava_are_an_explicit_choice(tmp_path: Path) -> None:
    asked = {"model": "llava-tiny", "weights": "random", "samples": 2, "batch_size": 2, "max_new_tokens": 2}
    asked |= {"datasets": ["textvqa-mini"], "image_sizes": [32, 64, 100], "device": "cpu"}
    fixed = measure_cells(planning.plan("image_size", asked).cells, tmp_path)
    assert [r.status for r in fixed] == ["not_applicable", "ok", "not_applicable"]
    free = measure_cells(planning.plan("image_size", asked | {"interpolate": True}).cells, tmp_path)
    assert [r.status for r in free] == ["ok", "ok", "not_applicable"]
    assert free[0].answers[0].image_tokens == (32 // 8) ** 2
    assert free[1].key == fixed[1].key
    assert "nearest is 96" in free[2].reason or "nearest is 104" in free[2].reason


def test_llava_takes_the_size_of_the_cell_and_with_interpolated_positions_whole_patches_of_it() -> None:
    sizing = llava.AnySize(14)
    assert [sizing.image_side(None, side) for side in (224, 230, 5)] == [224, 224, 14]
    assert set(sizing.sized(448)["crop_size"].values()) == {448}
