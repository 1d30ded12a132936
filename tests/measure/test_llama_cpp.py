"""llama.cpp as the engine, on the bundled models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factory import cell

from vlmnb import models
from vlmnb.measure import loading, random_weights
from vlmnb.measure.cells import measure_cells
from vlmnb.measure.llama_cpp import Engine
from vlmnb.models import geometry, stand_in
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve

pytest.importorskip("cyllama", reason="needs llama.cpp: make test-llama-cpp")
pytestmark = pytest.mark.slow


def measured(folder: Path, model: str, *names: str, **fields: object) -> list[Record]:
    common = {"model": model, "dataset": "textvqa-mini", "samples": 24, "batch_size": 1, **fields}
    return measure_cells([cell(**common, optimization=name) for name in names], folder)


@pytest.mark.parametrize(("model", "same"), [("llava-tiny", 0.75), ("qwen2.5-vl-tiny", 0.25)])
def test_answers_are_those_of_transformers_but_for_what_llama_cpp_leaves_out(
    tmp_path: Path, model: str, same: float
) -> None:
    original, engine, small = measured(tmp_path, model, "fp32", "llama.cpp-F16", "llama.cpp-Q4_0")
    assert [one.status for one in (original, engine, small)] == ["ok"] * 3, engine.reason
    pairs = list(zip(original.answers, engine.answers, strict=True))
    assert sum(a.answer == b.answer for a, b in pairs) >= same * len(pairs)
    assert [(a.prompt, a.text_tokens, a.image_tokens) for a, _ in pairs] == [
        (b.prompt, b.text_tokens, b.image_tokens) for _, b in pairs
    ]
    assert all(b.score is not None for _, b in pairs)
    assert small.memory.weights_bytes < engine.memory.weights_bytes
    assert {"F16", "F32"} == set(engine.memory.weights_by_type)
    assert engine.probe is None
    assert any("logits" in note for note in engine.notes)
    timing = engine.timing
    parts = zip(timing.vision_s, timing.prefill_s, timing.decode_s, strict=True)
    assert [sum(part) for part in parts] == pytest.approx(timing.latencies_s)
    assert min(timing.vision_s) > 0


def test_types_that_the_quantizer_chose_itself_are_said(tmp_path: Path) -> None:
    (made,) = measured(tmp_path, "llava-tiny", "llama.cpp-Q6_K", samples=2)
    assert "Q6_K" not in made.memory.weights_by_type
    assert any("44 as Q8_0" in note for note in made.notes)


def test_k_kinds_are_stored_as_such_at_the_width_of_a_full_size_model() -> None:
    entry = models.get("qwen2.5-vl-3b")
    family, config = models.family_of(entry), geometry.config(entry)
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers, vision.depth, vision.fullatt_block_indexes = 1, 4, [3]
    text.layer_types = text.layer_types[:1]
    text.vocab_size, text.bos_token_id, text.eos_token_id = 1024, 1000, 1002
    config.vision_start_token_id, config.vision_end_token_id = 1003, 1004
    config.image_token_id, config.video_token_id = 1005, 1006
    built = random_weights.build(
        family.model_class(config), config, dtype=torch.float32, device="cpu", seed=0
    )
    matrices = sum(
        p.numel() for n, p in built.named_parameters() if "language_model.layers" in n and p.dim() > 1
    )
    made = Engine(family, built, stand_in.build(family, config), "llama.cpp-Q4_K_M", built.named_parameters())
    assert {"Q4_K", "Q6_K"} <= set(made.weights_by_type), "the kind, and what llama.cpp mixes with it"
    bits = 8 * (made.weights_by_type["Q4_K"] + made.weights_by_type["Q6_K"]) / matrices
    assert 4.5 < bits < 6.6


def test_fixed_length_generates_every_token(tmp_path: Path) -> None:
    (made,) = measured(tmp_path, "llava-tiny", "llama.cpp-Q8_0", samples=2, length="fixed", max_new_tokens=9)
    assert [answer.output_tokens for answer in made.answers] == [9, 9] or made.timing.decode_steps == (8, 8)


def test_fuyu_is_unsupported_with_the_reason(tmp_path: Path) -> None:
    (made,) = measured(tmp_path, "fuyu-tiny", "llama.cpp-Q8_0", samples=2)
    assert made.status == "unsupported"
    assert "llama.cpp" in made.reason


def test_random_weights_in_16_bits_are_written_in_16_bits_and_no_model_is_kept(tmp_path: Path) -> None:
    fields = {"weights": "random", "dtype": "fp16", "optimization": "fp16+llama.cpp-F16"}
    resolved = resolve([cell(model="llava-tiny", **fields)], tmp_path)
    loaded = loading.load(loading.configuration(next(iter(resolved.values()))))
    sizes = loaded.engine.weights_by_type
    assert sizes["F32"] < 0.02 * sizes["F16"], "the vision side too"
    assert sum(p.untyped_storage().nbytes() for p in set(loaded.model.parameters())) < 1000
