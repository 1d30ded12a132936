"""FLOP counts: two counters and a formula agree, and the model comes back as it was given."""

from __future__ import annotations

import logging
from functools import cache
from types import SimpleNamespace

import bundled
import pytest
import torch
from bundled import checkpoint
from torch import Tensor, nn

from vlmnb import models
from vlmnb.flops import counters, estimate
from vlmnb.flops.flop_count import FlopCount

LLAVA = models.by_family()["llava"]
QUESTION = "What colour is the circle?"


@cache
def prefill(name: str, size: int = 1) -> FlopCount:
    family = models.family_of(models.get(name))
    return counters.count_forward(checkpoint(name)[0], bundled.batch(name, [QUESTION] * size), family.places)


def decoded(name: str, size: int) -> int:
    """FLOPs of the second new token: of generating two, without those of generating one."""
    model, inputs = checkpoint(name)[0], bundled.batch(name, [QUESTION] * size)

    def tokens(count: int) -> int:
        length = {"min_new_tokens": count, "max_new_tokens": count, "do_sample": False, "num_beams": 1}
        return counters.watch(lambda: model.generate(**inputs, **length))[""]

    with counters.quiet(model):
        return tokens(2) - tokens(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", bundled.WITH_FAMILY)
def test_both_counters_agree_with_the_estimate_and_grow_with_the_batch(name: str) -> None:
    one, two = prefill(name), prefill(name, 2)
    assert one.note == ""
    assert "aten::softmax" in one.unsupported_ops
    assert one.torch is not None
    assert one.fvcore == pytest.approx(one.torch, rel=0.01)
    assert two.torch == pytest.approx(2 * one.torch, rel=0.001)
    image = models.family_of(models.get(name)).image_tokens(checkpoint(name)[0].config, 64)
    text = bundled.batch(name, [QUESTION])["input_ids"].shape[1] - image
    found = estimate.estimate(name, text, 64, 2)
    assert two.torch == pytest.approx(found.prefill.counted.total, rel=0.001)
    assert decoded(name, 2) == pytest.approx(found.decode.counted.total, rel=0.001)


@pytest.mark.slow
def test_fvcore_drops_the_layer_whose_result_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = checkpoint("llava-tiny")[0]
    monkeypatch.setattr(model.config, "vision_feature_layer", -2)
    count = counters.count_forward(model, bundled.batch("llava-tiny", [QUESTION]))
    assert count.torch == prefill("llava-tiny").torch
    assert count.torch is not None
    assert count.fvcore is not None
    assert count.torch - count.fvcore == LLAVA.image_flops(model.config, 64).unused > 0


@pytest.mark.slow
def test_counting_is_repeatable_silent_and_leaves_the_model_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model, inputs = checkpoint("llava-tiny")[0], bundled.batch("llava-tiny", [QUESTION])
    vision = model.config.vision_config
    vision._attn_implementation_internal = "eager"
    levels = [logging.getLogger(name).level for name in ("fvcore", "transformers")]
    names = [set(vars(module)) for module in model.modules()]
    model.train()
    capfd.readouterr()
    try:
        assert counters.count_forward(model, inputs) == counters.count_forward(model, inputs)
        assert capfd.readouterr() == ("", "")
        assert model.training
        assert model.config._attn_implementation == model.config.text_config._attn_implementation == "sdpa"
        assert vision._attn_implementation == "eager"
        assert [logging.getLogger(name).level for name in ("fvcore", "transformers")] == levels
        assert [set(vars(module)) for module in model.modules()] == names
    finally:
        vision._attn_implementation_internal = "sdpa"
        model.eval()


class Small(nn.Module):
    """Something that counts but cannot be traced into logits, or does not even run."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.layer, self.fails = nn.Linear(3, 5), fails

    def forward(self, x: Tensor, use_cache: bool, return_dict: bool = True) -> Tensor:
        if self.fails:
            raise RuntimeError("cannot\nrun")
        return torch.as_tensor(self.layer(x))


def test_a_counter_that_fails_says_so() -> None:
    half = counters.count_forward(Small(fails=False), {"x": torch.zeros(2, 3)})
    assert (half.torch, half.fvcore) == (2 * 2 * 3 * 5, None)
    assert half.note.startswith("fvcore could not count: AttributeError")
    none = counters.count_forward(Small(fails=True), {"x": torch.zeros(2, 3)})
    assert (none.torch, none.fvcore) == (None, None)
    assert none.note == (
        "torch could not count: RuntimeError: cannot; fvcore could not count: RuntimeError: cannot"
    )


class Queries(nn.Module):
    """Hands a view of its own parameter to a module, as a perceiver does."""

    def __init__(self) -> None:
        super().__init__()
        self.learned, self.layer = nn.Parameter(torch.zeros(3, 4)), nn.Linear(4, 4)

    def forward(self) -> Tensor:
        return torch.as_tensor(self.layer(self.learned.expand(2, 3, 4)))


def test_learned_queries_are_counted_and_stay_learned() -> None:
    model = Queries()
    with counters.quiet(model):
        assert counters.watch(model)[""] == 2 * 2 * 3 * 4 * 4
    assert all(parameter.requires_grad for parameter in model.parameters())


class Masked(nn.Module):
    """Attends under a mask, as Aria's projector does: torch adds it within one product."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, **_: object) -> SimpleNamespace:
        mask = torch.zeros(x.shape[1], x.shape[1])
        return SimpleNamespace(logits=self.attention(x, x, x, attn_mask=mask)[0])


def test_products_that_a_mask_is_added_to_are_counted_by_both() -> None:
    count = counters.count_forward(Masked(), {"x": torch.zeros(3, 5, 8)}, ((r"", "projector"),))
    assert count.torch == count.fvcore == 3 * (4 * 2 * 5 * 8 * 8 + 4 * 5 * 5 * 8)


@pytest.mark.slow
def test_attention_is_restored_after_a_failure() -> None:
    model = checkpoint("fuyu-tiny")[0]
    count = counters.count_forward(model, {"input_ids": "no tensor"})
    assert (count.torch, count.fvcore) == (None, None)
    assert model.config._attn_implementation == model.config.text_config._attn_implementation == "sdpa"
