"""Models whose ``generate`` hands on to an inner model: phases, tokens, ends and batches of small ones."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_families

from vlmnb.errors import UserError
from vlmnb.measure.cells import measure_cells
from vlmnb.models.generic.family import Generic
from vlmnb.records.record import Record
from vlmnb.spec import planning

GIVEN = {"dataset": "textvqa-mini", "samples": 4, "image_size": 64, "max_new_tokens": 8}
TOKENS = {"blip-2": 8, "instructblip": 8, "kosmos-2": 67}
"""Tokens of a picture, those around it included: Kosmos-2's are a beginning, an end and a blank."""


@pytest.fixture(scope="module", params=TOKENS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint whose model has a ``generate`` of its own."""
    return small_families.build(request.param, tmp_path_factory.mktemp("inner") / request.param)


def _measured(folder: Path, records: Path, axis: str = "batch_size", **changes: Any) -> list[Record]:
    if axis != "optimization":
        changes["optimization"] = "fp32"
    return measure_cells(planning.plan(axis, {**GIVEN, "model": str(folder), **changes}).cells, records)


def test_phases_tokens_and_batches(folder: Path, tmp_path: Path) -> None:
    one, four = _measured(folder, tmp_path, batch_sizes=[1, 4], length="fixed")
    for record in (one, four):
        assert (record.status, record.reason) == ("ok", "")
        assert not [note for note in record.notes if "missing" in note]
        assert record.timing
        assert set(record.timing.decode_steps) == {7}
        assert all(seconds > 0 for seconds in record.timing.vision_s or ())
        names = ("vision_s", "prefill_s", "decode_s")
        phases = zip(*(getattr(record.timing, name) for name in names), strict=True)
        assert [sum(each) for each in phases] == pytest.approx(record.timing.latencies_s, abs=1e-3)
        assert {answer.image_tokens for answer in record.answers} == {TOKENS[folder.name]}
        assert {answer.output_tokens for answer in record.answers} == {8}
        assert record.flops
        assert record.flops.formula == record.flops.torch
        assert record.flops.decode_formula
        assert record.flops.decode_formula == record.flops.decode_torch
        assert record.memory
        assert record.memory.decode_weights_bytes
    first = one.answers[0]
    assert one.probe
    assert one.probe.cache_tokens == first.text_tokens + first.image_tokens + 1
    assert [answer.answer for answer in one.answers] == [answer.answer for answer in four.answers]


def test_a_cache_of_fixed_size_runs_or_the_library_is_named(folder: Path, tmp_path: Path) -> None:
    asked = {"optimizations": ["static_cache"], "batch_size": 1, "samples": 1}
    every = _measured(folder, tmp_path, "optimization", **asked)
    for record in (one for one in every if one.cell.optimization.endswith("static_cache")):
        if folder.name == "kosmos-2":
            assert record.status == "unsupported"
            assert re.match(r"transformers [\d.]+, _expand_mask in modeling_kosmos2.py: ", record.reason)
        else:
            assert (record.status, record.reason) == ("ok", "")


def test_answers_end_where_the_inner_model_ends_them(folder: Path, tmp_path: Path) -> None:
    (whole,) = _measured(folder, tmp_path / "whole", batch_sizes=[1], length="natural", samples=1)
    assert whole.probe
    other = shutil.copytree(folder, tmp_path / folder.name)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["eos_token_id"] = whole.probe.token
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (ended,) = _measured(other, tmp_path / "ended", batch_sizes=[1], length="natural", samples=1)
    assert [answer.output_tokens for answer in ended.answers] == [1]
    assert ended.timing
    assert set(ended.timing.decode_steps) == {0}


def test_random_weights_have_no_end(folder: Path, tmp_path: Path) -> None:
    (record,) = _measured(folder, tmp_path, batch_sizes=[1], length="fixed", weights="random")
    assert (record.status, record.reason) == ("ok", "")
    assert record.timing
    assert set(record.timing.decode_steps) == {7}


def test_what_the_inner_model_does_not_take_is_refused(folder: Path, tmp_path: Path) -> None:
    made = _measured(folder, tmp_path, "reuse", question_counts=[2])
    settings = ["visual_tokens-50%-grid", "prefill_chunks-32"]
    every = _measured(folder, tmp_path, "optimization", batch_size=1, optimizations=settings)
    made += [record for record in every if record.cell.optimization.endswith(tuple(settings))]
    assert len(made) >= 4
    for record in made:
        assert record.status == "unsupported"
        assert "ForConditionalGeneration" in record.reason


def test_a_missing_tokenizer_of_the_q_former_is_named(tmp_path: Path) -> None:
    folder = small_families.build("instructblip", tmp_path / "instructblip")
    shutil.rmtree(folder / "qformer_tokenizer")
    with pytest.raises(UserError, match="qformer_tokenizer"):
        Generic(folder).load_processor(folder)
