"""Optimizations: what their names mean, what excludes what, and what is said before any model loads."""

from __future__ import annotations

import importlib.util
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from factory import cell
from hypothesis import given
from hypothesis import strategies as st

from vlmnb import models, paths
from vlmnb.cli import sweep_command
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.measure import loading
from vlmnb.measure.cells import measure_cells
from vlmnb.records import content_key
from vlmnb.records.record import Record
from vlmnb.records.resolved import blank_record, resolve_cell
from vlmnb.spec import optimizations, planning
from vlmnb.spec.sweep_file import load_sweep
from vlmnb.sweep.options import Asked
from vlmnb.views import fields, show

NAMES = sorted(optimizations.settings())
BASES = st.sampled_from(["fp32", "bf16", "fp16"])


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), BASES)
def test_a_name_has_one_spelling_or_is_refused_in_one_line(settings: list[str], base: Any) -> None:
    try:
        found = optimizations.parse("+".join(settings), base)
    except UserError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "\n" not in said
        assert "keep one" in said or "write " in said
        return
    kinds = [optimizations.settings()[name].kind for name in settings]
    assert len(set(kinds)) == len(kinds), "two settings of one kind are always refused"
    assert optimizations.parse(found.name, base) == found, "the spelling means what it stands for"
    assert optimizations.parse(found.name, found.dtype).model_copy(update={"name": found.name}) == found
    for order in permutations(settings):
        assert optimizations.parse("+".join(order), base) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fp32+flash_attention_2", "write fp16+flash_attention_2 or bf16+flash_attention_2"),
        ("fp16+torchao-int4", "write bf16+torchao-int4"),
        ("bnb-4bit+torchao-int8", "two quantizations"),
        ("sdpa+flash_attention_2", "two kinds of attention"),
        ("compile+prompt_lookup", "static_cache"),
        ("static_cache+prompt_lookup", "two ways of decoding"),
        ("fp8_cache+static_cache", "two ways of decoding"),
        ("fp8_cache+compile", "static_cache"),
        ("prefill_chunks-32+prefill_chunks-64", "two ways of reading the prompt"),
        ("prefill_chunks-0", "number of tokens"),
        ("prefill_chunks-half", "number of tokens"),
        ("llama.cpp-Q4_0+prefill_chunks-32", "outside torch"),
        ("llama.cpp-Q4_0+fp8_cache", "outside torch"),
        ("llama.cpp-Q4_0+visual_tokens-16-grid", "outside torch"),
        ("sdpa+sdpa", "two kinds of attention"),
        ("bnb-4bits", "bnb-4bit"),
        *((name, "a setting is missing beside a +") for name in ("bf16+", "+sdpa", "")),
    ],
)
def test_what_cannot_be_combined_is_refused_with_the_way_out(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("+", r"\+")):
        optimizations.parse(name, "fp32")


def test_blanks_around_a_setting_mean_nothing_and_an_empty_name_is_refused() -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "length": "natural"}
    spaced = ["fp32", " bf16 + sdpa", "prompt_lookup "]
    plain = ["fp32", "bf16+sdpa", "prompt_lookup"]
    plans = [planning.plan("optimization", asked | {"optimizations": names}) for names in (spaced, plain)]
    assert plans[0].cells == plans[1].cells
    for names in (["fp32", ""], ["fp32", " "]):
        with pytest.raises(UserError, match="optimizations holds an empty name"):
            planning.plan("optimization", asked | {"optimizations": names})


@pytest.mark.parametrize(
    ("name", "base", "spelled"),
    [
        ("flash_attention_2", "fp32", "bf16+flash_attention_2"),
        ("flash_attention_2", "fp16", "flash_attention_2"),
        ("torchao-int4", "fp16", "bf16+torchao-int4"),
        ("compile+static_cache", "fp32", "compile"),
    ],
)
def test_a_setting_brings_along_what_it_needs(name: str, base: Any, spelled: str) -> None:
    assert optimizations.parse(name, base).name == spelled


@pytest.mark.parametrize("model", sorted(models.registry()))
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_preset_holds_names_in_their_own_spelling(model: str, device: str) -> None:
    plan = planning.plan("optimization", {"model": model, "device": device, "length": "natural"})
    names = [cell.optimization for cell in plan.cells]
    if device == "cuda":
        assert names[:3] == ["fp16", "compile", "flash_attention_2"], "the reports' rows in their order"
    else:
        assert names[1] == "compile"
        assert names[2].endswith("flash_attention_2")
    shown = {part for name in names for part in name.split("+")}
    assert shown >= set(optimizations.settings()) - {"eager"}, "every setting there is"


def test_the_quickstart_tries_every_setting_and_what_another_page_leaves_out_is_known() -> None:
    sweep = load_sweep(paths.root() / "sweeps" / "quickstart.yaml")
    (run,) = (run for run in planning.runs(sweep) if run.name == "fuyu-tiny/optimization")
    asked = run.parameters | {"device": "cpu"}
    cells = planning.plan("optimization", asked).cells
    assert show.omitted(cells, "fp32") == []
    tried = {part for cell in cells for part in cell.optimization.split("+")}
    assert tried >= set(optimizations.settings()) - {"eager"}
    asked |= {"optimizations": ["fp32", "compile", "prompt_lookup"]}
    left = show.omitted(planning.plan("optimization", asked).cells, "fp32")
    assert {"bnb-8bit", "fp16", "bf16+flash_attention_2"} <= set(left)
    assert not {"fp32", "compile", "prompt_lookup"} & set(left)


@pytest.mark.parametrize("length", ["natural", "fixed"])
def test_guessing_is_held_against_the_original_at_batch_1(length: str) -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "length": length}
    plan = planning.plan("optimization", asked)
    many, one = optimizations.groups(plan.cells)
    assert {cell.batch_size for cell in many} == {16}
    assert "prompt_lookup" not in {cell.optimization for cell in many}
    names = ["fp32", "early_exit", "assisted", "prompt_lookup"]
    assert [(cell.optimization, cell.batch_size) for cell in one] == [(name, 1) for name in names]
    assert {cell.samples for cell in one} == {96 if length == "natural" else planning.FIXED_BATCHES}
    assert [fields.label("optimization", cell, plan.cells) for cell in (many[0], *one)] == [
        "fp32", *(f"{name}, batch 1" for name in names)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("optimizations", "batch_size", "cells"),
    [
        (["fp32", "prompt_lookup"], 16, [("fp32", 16), ("prompt_lookup", 16)]),
        (["fp32", "prompt_lookup"], 0, [("fp32", 16), ("fp32", 1), ("prompt_lookup", 1)]),
        (["prompt_lookup", "bf16"], 0, [("prompt_lookup", 1), ("bf16", 1)]),
        (["fp32", "bf16"], 0, [("fp32", 16), ("bf16", 16)]),
    ],
)
def test_a_batch_size_that_was_asked_for_is_kept(
    optimizations: list[str], batch_size: int, cells: list[tuple[str, int]]
) -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "optimizations": optimizations}
    plan = planning.plan("optimization", asked | {"batch_size": batch_size})
    assert [(cell.optimization, cell.batch_size) for cell in plan.of_length("natural")] == cells


def test_what_decides_whether_an_optimization_works_is_in_the_keys_of_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[str]:
        found = [resolve_cell(cell(optimization=name)) for name in ("sdpa", "compile")]
        for resolved in found:
            made = blank_record(resolved, "2026-01-01T00:00:00+00:00")
            here = {"threads": slots.threads(), "tuning": slots.tuning()}
            was = made.provenance.model_copy(update=here)
            assert content_key.of_record(made.model_copy(update={"provenance": was})) == resolved.key
        return [resolved.key for resolved in found]

    before = keys()
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho compiler 99")
    compiler.chmod(0o700)
    for program in (str(compiler), "/nowhere/c++"):
        monkeypatch.setenv("CXX", program)
        after = keys()
        assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]
        before = after


@pytest.fixture
def _no_quantization(monkeypatch: pytest.MonkeyPatch) -> None:
    found, absent = importlib.util.find_spec, {"bitsandbytes", "torchao"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else found(name))


@pytest.mark.usefixtures("_no_quantization")
@pytest.mark.parametrize(
    ("name", "package"), [("bnb-4bit", "bitsandbytes"), ("torchao-int8+compile", "torchao")]
)
def test_a_missing_library_is_said_before_any_model_loads_and_leaves_no_record(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "load", lambda wanted: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match=f"needs the package {package}.*pip install") as error:
        _measured(tmp_path / "results", "llava-tiny", ["fp32", name], samples=2, batch_size=2)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("_no_quantization")
def test_a_sweep_that_needs_a_missing_library_begins_nothing(tmp_path: Path) -> None:
    spec = tmp_path / "sweep.yaml"
    asked = "title: T\nmodels: [llava-tiny]\naxes:\n  optimization:\n    device: cpu\n"
    spec.write_text(f"{asked}    optimizations: [fp32, torchao-int8]\n")
    wish = Asked(spec=spec, results=tmp_path / "results", runs=tmp_path / "runs")
    for begin in (sweep_command.run, lambda asked: sweep_command.show(asked, cells=True)):
        with pytest.raises(UserError, match=r"needs the package torchao.*pip install"):
            begin(wish)
    assert list(tmp_path.iterdir()) == [spec]
    sweep_command.show(wish, cells=False)  # what is recorded can be asked for all the same


def _measured(results: Path, model: str, optimizations: list[str], **asked: Any) -> list[Record]:
    parameters = {"model": model, "device": "cpu", "length": "natural", "dataset": "easy-vqa", **asked}
    plan = planning.plan("optimization", {**parameters, "optimizations": optimizations})
    return measure_cells(plan.cells, results)


SANE = ["fp32", "static_cache", "bnb-8bit", "bnb-4bit", "torchao-int8"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny"])
def test_every_optimization_of_a_cpu_gives_sane_answers_and_says_what_it_did(
    model: str, tmp_path: Path
) -> None:
    asked = [*SANE, "torchao-int4", "flash_attention_2"]
    made = _measured(tmp_path / "results", model, asked, samples=16)
    found = {record.cell.optimization: record for record in made}
    base = found["fp32"]
    assert base.memory
    for name in SANE:
        record = found[name]
        assert record.status == "ok", f"{name}: {record.reason}"
        same = sum(a.answer == b.answer for a, b in zip(base.answers, record.answers, strict=True))
        assert same >= 12, f"{name}: {same} of 16 answers are the original's"
        assert record.probe
        assert len(record.probe.values) == len(record.probe.step_values) == 128
        assert record.probe.token is not None
        assert record.flops == base.flops, "the plain model's count"
        assert record.memory
    sizes = {name: found[name].memory.decode_weights_bytes for name in SANE}
    assert sizes["bnb-4bit"] < sizes["bnb-8bit"] < sizes["fp32"]  # type: ignore[operator]
    assert sizes["torchao-int8"] < 0.5 * sizes["fp32"]  # type: ignore[operator]
    for name, reason in (("bf16+torchao-int4", "CUDA"), ("bf16+flash_attention_2", "a GPU only")):
        assert (found[name].status, found[name].timing) == ("unsupported", None)
        assert reason in found[name].reason


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prompt_lookup", "assisted"])
def test_guessed_tokens_give_the_original_answers_one_question_at_a_time(tmp_path: Path, name: str) -> None:
    results, asked = tmp_path / "results", ["fp32", name]
    one = _measured(results, "llava-tiny", asked, samples=4, batch_size=1)
    assert [record.status for record in one] == ["ok", "ok"]
    assert [a.answer for a in one[0].answers] == [a.answer for a in one[1].answers]
    two = _measured(results, "llava-tiny", asked, samples=4, batch_size=2)
    assert (two[1].status, two[1].timing) == ("unsupported", None)
    assert "batch_size = 1" in two[1].reason, "the library's own reason"


@pytest.mark.slow
def test_a_compiled_decoder_answers_alike_and_says_what_the_compiler_did(tmp_path: Path) -> None:
    asked = ["fp32", "compile"]
    plain, compiled = _measured(tmp_path / "results", "llava-tiny", asked, samples=8, batch_size=4)
    assert compiled.status == "ok", compiled.reason
    assert [a.answer for a in plain.answers] == [a.answer for a in compiled.answers]
    assert compiled.compilation
    assert compiled.compilation.graphs == 1, "one of a token; a prompt is compiled on a GPU only"
    assert compiled.compilation.cache_hits + compiled.compilation.cache_misses >= 1
    assert plain.compilation is None
    (path,) = (tmp_path / "results").glob(f"*/*/{compiled.key}.json")
    assert json.loads(path.read_text())["compilation"]["graph_breaks"] == 0
