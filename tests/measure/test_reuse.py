"""Several questions about one picture: plainly, with the encoder's output and with the prefix kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlmnb.audit import registry
from vlmnb.errors import UserError
from vlmnb.measure import reuse
from vlmnb.measure.cells import measure_cells
from vlmnb.models import geometry
from vlmnb.records.record import Record
from vlmnb.spec import planning

SMALL = {"question_counts": [2], "samples": 4, "max_new_tokens": 4}
MODELS = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")


def measured(tmp_path: Path, model: str, **given: Any) -> list[Record]:
    """The records of a small plan of the axis."""
    return measure_cells(planning.plan("reuse", SMALL | {"model": model} | given).cells, tmp_path)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return measured(tmp_path_factory.mktemp("results"), "llava-tiny")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS[1:])
def test_families_keep_pictures_and_answer_the_same(tmp_path: Path, model: str) -> None:
    _answers_the_same(measured(tmp_path, model))


@pytest.mark.slow
def test_what_is_kept_is_counted(llava: list[Record]) -> None:
    _answers_the_same(llava)
    encoder, prefix = (record.reused for record in llava)
    config = geometry.config(planning.models.get("llava-tiny")).text_config
    assert encoder
    assert prefix
    assert encoder.kept_bytes[0] == 64 * config.hidden_size * 4
    rows = 2 * config.num_hidden_layers * config.hidden_size * 4
    assert prefix.kept_bytes[0] == prefix.prefix_tokens[0] * rows
    assert 64 < prefix.prefix_tokens[0] < min(prefix.prompt_tokens)


def _answers_the_same(found: list[Record]) -> None:
    assert [(record.status, record.cell.reuse) for record in found] == [("ok", "encoder"), ("ok", "prefix")]
    for record in found:
        assert record.reused
        assert record.reused.plain.tokens == record.reused.kept.tokens
        assert len(set(record.reused.sample_ids)) == 4
        assert len(record.reused.kept.keep_s) * 2 == len(record.reused.kept.question_s)
    errors = [one for one in registry.run(found, "measured") if one.level == "error"]
    assert not errors


@pytest.mark.slow
def test_an_answer_with_another_token_makes_the_cell_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = reuse.keep_encoder

    def of_another_picture(loaded: Any, picture: Any) -> Any:
        kept = keep(loaded, picture)
        kept.tensors["pooler_output"][0].zero_()
        return kept

    monkeypatch.setitem(reuse.KEEP, "encoder", of_another_picture)
    (record,) = measured(tmp_path, "llava-tiny", reuses=["encoder"])
    assert record.status == "failed"
    assert "its token" in record.reason
    assert record.reused is None


@pytest.mark.slow
def test_what_a_model_does_not_take_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(loaded: Any, picture: Any) -> Any:
        raise AttributeError("no such cache")

    monkeypatch.setitem(reuse.KEEP, "prefix", refuse)
    (record,) = measured(tmp_path, "llava-tiny", reuses=["prefix"])
    assert (record.status, record.reason) == ("unsupported", "prefix cache: AttributeError: no such cache")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"question_counts": [8]}, "samples, the questions in all, is 4"),
        ({"question_counts": [0]}, "from 1 to that"),
        ({"reuses": ["prefixes"]}, "reuse"),
        ({"optimization": "static_cache"}, "a prefix cache excludes static_cache"),
        ({"optimization": "fp8_cache"}, "a prefix cache excludes fp8_cache"),
        ({"optimization": "visual_tokens-50%-grid"}, "reuse of a picture excludes visual_tokens"),
    ],
)
def test_wrong_numbers_are_refused_before_a_model_loads(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        planning.plan("reuse", SMALL | {"model": "llava-tiny"} | given)


@pytest.mark.parametrize(
    ("axis", "given", "reason"),
    [
        ("reuse", {"dataset": "scienceqa-text-mini", "question_counts": [2]}, "have no picture"),
        ("preprocessing", {"batch_sizes": [8]}, "a batch of 8 needs"),
    ],
)
def test_what_the_samples_do_not_have_is_not_applicable(
    axis: str, given: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    cells = planning.plan(axis, {"model": "llava-tiny", "samples": 4} | given).cells
    found = measure_cells(cells, tmp_path)
    assert {record.status for record in found} == {"not_applicable"}
    assert all(reason in record.reason for record in found)
