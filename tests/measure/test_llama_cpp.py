"""llama.cpp as the engine, on the bundled models."""

from __future__ import annotations

from pathlib import Path

import pytest
from factory import cell

from vlmnb.measure.cells import measure_cells
from vlmnb.records.record import Record

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


def test_fixed_length_generates_every_token(tmp_path: Path) -> None:
    (made,) = measured(tmp_path, "llava-tiny", "llama.cpp-Q8_0", samples=2, length="fixed", max_new_tokens=9)
    assert [answer.output_tokens for answer in made.answers] == [9, 9] or made.timing.decode_steps == (8, 8)


def test_fuyu_is_unsupported_with_the_reason(tmp_path: Path) -> None:
    (made,) = measured(tmp_path, "fuyu-tiny", "llama.cpp-Q8_0", samples=2)
    assert made.status == "unsupported"
    assert "llama.cpp" in made.reason
