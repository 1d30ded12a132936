"""Fewer image tokens: what reaches the decoder, and that nothing is masked in place of removed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_families
import torch
from auditing import levels

from vlmnb import paths
from vlmnb.measure.cells import measure_cells
from vlmnb.measure.failures import NotApplicable
from vlmnb.measure.visual_tokens import Reducer
from vlmnb.models.families.fuyu import FAMILY as FUYU
from vlmnb.models.families.qwen2_5_vl import FAMILY as QWEN
from vlmnb.records.record import Record
from vlmnb.spec import planning
from vlmnb.spec.optimizations.visual_tokens import Reduction

WAYS = ("random", "grid", "diverse")


def reducer(reduction: Reduction, family: Any = FUYU, batches: Any = ()) -> Reducer:
    """A reducer of a model that has the ids of image tokens and nothing else."""

    class Model:
        config = SimpleNamespace(image_token_id=9)

        def forward(self, mm_encoder_outputs: Any = None) -> None:
            """Take encoded images, as the models of transformers do."""

    model = Model()
    loaded: Any = SimpleNamespace(family=family, model=model, stepping=model)
    return Reducer(loaded, reduction, 0, batches)


def of_fuyu(columns: int = 4) -> dict[str, torch.Tensor]:
    """Two prompts of Fuyu: one of them padded, rows of patches (9) with line ends (8), then text."""
    picture = ([9] * columns + [8]) * columns
    ids = torch.tensor([[0, *picture, 1, 2], [*picture, 1, 2, 3]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_kept_is_in_no_tensor_and_line_ends_stay(way: str) -> None:
    made = reducer(Reduction(way, number=6))
    text = made.text(of_fuyu())
    assert text["input_ids"].shape == (2, 23 - 10)
    assert ((text["input_ids"] == 9).sum(dim=1).tolist(), (text["input_ids"] == 8).sum(dim=1).tolist()) == (
        [6, 6],
        [4, 4],
    )
    assert text["attention_mask"].sum(dim=1).tolist() == [12, 13]
    assert made.seen
    assert (made.seen.kept, made.seen.of, made.seen.beside) == (6, 16, 4)


def test_pooling_keeps_the_line_ends_of_merged_rows() -> None:
    text = reducer(Reduction("pool", side=2)).text(of_fuyu())
    assert text["input_ids"][1].tolist() == [9, 9, 8, 9, 9, 8, 1, 2, 3]


def test_pooled_tokens_are_means_of_squares() -> None:
    features = torch.arange(9.0).reshape(1, 9, 1)
    means, corners = Reduction("pool", side=2).merged(features, 3, 3)
    assert means.flatten().tolist() == [2.0, 3.5, 6.5, 8.0]
    assert corners.tolist() == [[0, 2, 6, 8]]


def test_ways_choose_what_they_say() -> None:
    features = torch.eye(4)[None].repeat(2, 1, 1)
    features[:, 1] = features[:, 0]  # a token and its double
    attended = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]])
    chosen = {
        way: Reduction(way, number=n).chosen(features, 2, 2, attended, [5, 6]).tolist()
        for way, n in (("attention", 2), ("diverse", 3), ("random", 2))
    }
    assert chosen["attention"] == [[1, 3], [0, 1]]
    assert [{0, 1} <= set(row) for row in chosen["diverse"]] == [False, False]
    again = Reduction("random", number=2).chosen(features, 2, 2, None, [5, 6]).tolist()
    assert chosen["random"] == again, "a seed decides"
    assert len(set(chosen["random"][0])) == 2


def test_a_picture_with_fewer_tokens_than_asked_for_cannot_be_measured() -> None:
    with pytest.raises(NotApplicable, match="asks for 17"):
        reducer(Reduction("grid", number=17)).text(of_fuyu())


def test_tokens_of_qwen_keep_their_places_in_the_picture() -> None:
    ids = torch.tensor([[1, *[9] * 16, 2, 3]])
    axes = torch.stack([torch.arange(19).repeat(1, 1) + 100 * axis for axis in range(3)])
    made = reducer(Reduction("grid", number=4), QWEN)
    features = torch.zeros(1, 16, 2)
    fake: Any = SimpleNamespace(
        image_positions=lambda model, batch: axes, line_ends=False,
        image_features=lambda model, batch: (SimpleNamespace(), features),
        with_features=lambda made, kept: kept,
    )  # fmt: skip
    made._loaded = SimpleNamespace(family=fake, model=made._loaded.model)  # type: ignore[assignment]
    given = made({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    assert given["position_ids"][0].tolist() == [list(range(7))], "the mask counts what is left"
    assert given["position_ids"][1].tolist() == [[0, 6, 8, 14, 16, 17, 18]]
    assert given["mm_encoder_outputs"]["image"].shape == (1, 4, 2)


def measured(results: Path, model: str, *names: str) -> list[Record]:
    asked = {"model": model, "device": "cpu", "length": "natural", "samples": 4, "batch_size": 4}
    plan = planning.plan("visual_tokens", {**asked, "optimizations": ["fp32", *names], "max_new_tokens": 4})
    return measure_cells(plan.cells, results)


RULES = ("kept-tokens-are-those-of-the-name", "removed-tokens-are-nowhere", "flops-three-ways",
         "cache-is-of-its-tokens", "flops-do-not-depend-on-kernel")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "of", "beside"), [("llava-tiny", 64, 0), ("qwen2.5-vl-tiny", 16, 0), ("fuyu-tiny", 64, 8)]
)
def test_cache_and_flops_shrink_with_the_tokens(model: str, of: int, beside: int, tmp_path: Path) -> None:
    names = [f"visual_tokens-50%-{way}" for way in (*WAYS, "attention")] + ["visual_tokens-pool2x2"]
    whole, *made = measured(tmp_path, model, *names, "visual_tokens-100%-grid")
    assert whole.probe
    for name, record in zip([*names, "100 %"], made, strict=True):
        if name.endswith("attention") and model != "llava-tiny":
            assert record.status == "not_applicable", record.reason
            continue
        assert record.status == "ok", f"{name}: {record.reason}"
        seen, counts = record.visual_tokens, record.flops
        assert seen
        assert counts
        assert seen.of == of
        assert {a.image_tokens for a in record.answers} == {seen.kept + seen.beside}
        assert record.probe
        lost = of - seen.kept + beside - seen.beside
        assert record.probe.cache_tokens == (whole.probe.cache_tokens or 0) - lost
        assert counts.torch == counts.formula == counts.fvcore, counts.note
        assert not counts.note
        for rule in RULES:
            assert levels(rule, whole, record) == [], (name, rule)
    assert [a.answer for a in made[-1].answers] == [a.answer for a in whole.answers], "all tokens kept"
    assert made[-1].flops.torch == whole.flops.torch  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_model_without_a_family_of_its_own_is_reduced_where_it_can_be(tmp_path: Path) -> None:
    folder = small_families.build("smolvlm", tmp_path / "smolvlm")
    names = ("visual_tokens-25%-diverse", "visual_tokens-25%-attention", "visual_tokens-pool2x2")
    asked = {"model": str(folder), "device": "cpu", "length": "natural", "samples": 2, "batch_size": 2}
    asked |= {"optimizations": ["fp32", *names], "max_new_tokens": 3, "image_size": 64, "dataset": "easy-vqa"}
    whole, diverse, *refused = measure_cells(
        planning.plan("visual_tokens", asked).cells, tmp_path / "results"
    )
    assert (whole.status, diverse.status) == ("ok", "ok"), (whole.reason, diverse.reason)
    assert [record.status for record in refused] == ["unsupported", "not_applicable"]
    assert diverse.flops
    assert diverse.flops.torch == diverse.flops.formula == diverse.flops.fvcore, diverse.flops.note
    for rule in RULES:
        assert levels(rule, whole, diverse) == [], rule


@pytest.mark.slow
def test_an_audit_finds_tokens_that_are_masked_in_place_of_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def masked(self: Reducer, batch: Any) -> dict[str, torch.Tensor]:
        real(self, batch)
        places = batch["input_ids"] == 3
        order = places.cumsum(dim=1)
        hidden = places & (order > order.max() // 2)
        return dict(batch) | {"attention_mask": batch["attention_mask"] * ~hidden}

    real = Reducer.text
    monkeypatch.setattr(Reducer, "text", masked)
    monkeypatch.setattr(Reducer, "__call__", masked)
    monkeypatch.setattr(paths, "counted_flops", lambda: tmp_path)  # none was counted before
    _, record = measured(tmp_path, "llava-tiny", "visual_tokens-50%-grid")
    assert record.status == "ok", record.reason
    assert {a.image_tokens for a in record.answers} == {32}
    assert levels("removed-tokens-are-nowhere", record) == ["error", "error"]
