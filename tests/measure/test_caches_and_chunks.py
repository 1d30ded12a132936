"""Keys and values in 8 bits, prompts read in chunks, and long cells: bytes, phases, runs and loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as trees

from vlmnb import models
from vlmnb.audit import registry
from vlmnb.measure import flop_counting, generation, loading, protocol, random_weights
from vlmnb.measure.batches import choose, prepare
from vlmnb.measure.cells import measure_cells
from vlmnb.measure.generation import Generator
from vlmnb.measure.loading import ModelSlot, configuration
from vlmnb.models import geometry
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec import optimizations, planning
from vlmnb.spec.optimizations import Setting

pytestmark = pytest.mark.slow


def plan(model: str, *names: str, **given: Any) -> planning.Plan:
    asked = {"model": model, "samples": 4, "batch_size": 2, "length": "natural", "device": "cpu", **given}
    return planning.plan("optimization", asked | {"dataset": "easy-vqa", "optimizations": list(names)})


def measured(folder: Path, model: str, *names: str, **given: Any) -> list[Record]:
    return measure_cells(plan(model, *names, **given).cells, folder)


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny"])
def test_a_cache_in_8_bits_has_the_bytes_that_it_holds(model: str, tmp_path: Path) -> None:
    plain, small = measured(tmp_path, model, "fp32", "fp8_cache")
    assert (plain.status, small.status) == ("ok", "ok"), small.reason
    before, after = plain.memory, small.memory
    assert before
    assert after
    assert before.cache_by_type == {"float32": before.cache_bytes}
    assert set(after.cache_by_type) == {"float8_e4m3fn", "float32"}
    assert sum(after.cache_by_type.values()) == after.cache_bytes
    if [a.output_tokens for a in plain.answers] == [a.output_tokens for a in small.answers]:
        assert before.cache_bytes == 4 * after.cache_by_type["float8_e4m3fn"]
    assert small.flops == plain.flops
    assert small.timing
    assert small.timing.decode_steps
    assert not [one for one in registry.run([plain, small], "measured") if one.level == "error"]

    (cell,) = plan(model, "fp8_cache", length="fixed", max_new_tokens=4, samples=2).cells
    resolved = resolve_cell(cell)
    loaded = ModelSlot().get(configuration(resolved))
    (batch,) = prepare(cell, loaded, *choose(resolved))
    generate = Generator.of(resolved, loaded, [batch.inputs])
    with torch.inference_mode():
        made = generate._generate(batch.inputs, **generate.limits, return_dict_in_generate=True)
    (memory,) = (record.memory for record in measure_cells([cell], tmp_path))
    assert memory
    leaves = trees.tree_leaves([vars(layer) for layer in made.past_key_values.layers])
    held = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    assert sum(leaf.nbytes for leaf in held) == memory.cache_bytes


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny"])
def test_a_prompt_read_in_chunks_gives_the_same_answers_and_phases_that_add_up(
    model: str, tmp_path: Path
) -> None:
    names = (
        "fp32",
        "prefill_chunks-32",
        "fp8_cache+prefill_chunks-32",
        "prefill_chunks-32+visual_tokens-50%-grid",
    )
    plain, chunks, small, fewer = measured(tmp_path, model, *names)
    assert [one.status for one in (plain, chunks, small, fewer)] == ["ok"] * 4
    assert [a.answer for a in chunks.answers] == [a.answer for a in plain.answers]
    assert chunks.flops == plain.flops
    for one in (plain, chunks, small, fewer):
        timing = one.timing
        assert timing
        parts = zip(timing.vision_s, timing.prefill_s, timing.decode_s, strict=True)
        assert [sum(part) for part in parts] == pytest.approx(timing.latencies_s, abs=1e-3)
        batches = [one.answers[i : i + 2] for i in (0, 2)]
        steps = [max(a.output_tokens for a in batch) - 1 for batch in batches]
        assert timing.decode_steps == tuple(steps) * timing.passes
    assert not [one for one in registry.run([plain, chunks], "measured") if one.level == "error"]


def test_where_the_library_cannot_read_in_chunks_its_words_are_the_reason(tmp_path: Path) -> None:
    (made,) = measured(tmp_path, "fuyu-tiny", "prefill_chunks-32")
    assert made.status == "unsupported"
    assert made.reason.startswith("transformers ")
    assert made.reason.endswith(": KeyError: 'pooler_output'")


def test_the_flops_of_a_quantized_model_are_counted_without_loading_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flop_counting.paths, "counted_flops", lambda: tmp_path / "none")
    loads, load = [], loading.load
    monkeypatch.setattr(loading, "load", lambda wanted: loads.append(wanted) or load(wanted))
    (small,) = measured(tmp_path / "one", "llava-tiny", "torchao-int8")
    assert len(loads) == 1
    (plain,) = measured(tmp_path / "other", "llava-tiny", "fp32")
    assert small.flops
    assert small.flops == plain.flops
    assert small.flops.fvcore == plain.flops.torch


def test_a_model_without_values_takes_no_memory() -> None:
    (cell,) = plan("llava-tiny", "bf16").cells
    loaded = ModelSlot().get(configuration(resolve_cell(cell)))
    storages = {p.untyped_storage().data_ptr(): p for p in loading.outline(loaded).model.parameters()}
    (only,) = storages.values()
    assert only.untyped_storage().nbytes() == 2


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny"])
def test_random_weights_one_at_a_time_are_those_of_the_model_that_is_built(model: str) -> None:
    entry = models.get(model)
    family, config = models.family_of(entry), geometry.config(entry)
    how: dict[str, Any] = {"dtype": torch.bfloat16, "device": "cpu"}
    built = random_weights.build(family.model_class(config), config, **how, seed=3)
    empty = random_weights.outline(family.model_class(config), config, **how)
    values = dict(random_weights.values(empty, **how, seed=3))
    assert values.keys() == dict(built.named_parameters()).keys()
    assert all(torch.equal(values[name], weight) for name, weight in built.named_parameters())


@pytest.mark.parametrize("name", ["fp32", "static_cache", "prefill_chunks-32", "visual_tokens-16-grid"])
def test_the_logits_are_those_of_the_warm_up_and_a_long_cell_generates_twice(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    generate = generation.Generator._generate

    def counted(self: Generator, batch: Any, **arguments: Any) -> Any:
        calls.append(1)
        return generate(self, batch, **arguments)

    monkeypatch.setattr(generation.Generator, "_generate", counted)
    monkeypatch.setattr(protocol, "WINDOW_S", 0.0)
    asked = {"samples": 1, "batch_size": 1, "length": "fixed", "max_new_tokens": 4}
    (short,) = measured(tmp_path / "short", "llava-tiny", name, **asked)
    assert short.timing
    assert len(calls) == short.timing.warmup_batches + short.timing.passes
    calls.clear()
    with monkeypatch.context() as ended:
        ended.setattr(generation.Generator, "_ends", lambda self: range(10**6))
        (apart,) = measured(tmp_path / "apart", "llava-tiny", name, **asked)
    assert apart.timing
    assert len(calls) == apart.timing.warmup_batches + apart.timing.passes + 1, "a run of its own"
    assert apart.probe == short.probe
    calls.clear()
    monkeypatch.setattr(protocol, "LONG_S", 0.0)
    (long,) = measured(tmp_path / "long", "llava-tiny", name, **asked)
    assert long.timing
    assert (len(calls), long.timing.passes, long.timing.warmup_batches) == (2, 1, 1)
    assert long.probe
    assert long.probe == short.probe


def test_a_setting_without_a_cache_gives_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Setting(
        name="no_cache", kind="decoding", description="", arguments=lambda model: {"use_cache": False}
    )
    monkeypatch.setitem(optimizations.settings(), own.name, own)
    plain, without = measured(tmp_path, "llava-tiny", "fp32", "no_cache", max_new_tokens=3)
    assert (plain.status, without.status) == ("ok", "ok"), without.reason
    assert [answer.answer for answer in plain.answers] == [answer.answer for answer in without.answers]
    assert plain.probe
    assert without.probe
    assert (bool(plain.probe.cache_tokens), without.probe.cache_tokens) == (True, None)
    assert without.notes == plain.notes
    assert not [one for one in registry.run([plain, without], "measured") if one.level == "error"]
