"""FLOP counts: two counters and a formula agree, and the model comes back as it was given."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vlmnb import models, paths
from vlmnb.flops import counters
from vlmnb.flops.flop_count import FlopCount

LLAVA = models.by_family()["llava"]
NAMES = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")


@cache
def checkpoint(name: str) -> tuple[Any, Any]:
    family, folder = models.family_of(models.get(name)), paths.bundled_model(name)
    return family.model_class().from_pretrained(folder).eval(), family.load_processor(folder)


def batch(name: str, size: int) -> dict[str, Any]:
    processor = checkpoint(name)[1]
    content = [{"type": "image"}, {"type": "text", "text": "What colour is the circle?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    image = Image.new("RGB", (64, 64), "red")
    return dict(processor(images=[image] * size, text=[prompt] * size, padding=True, return_tensors="pt"))


@cache
def prefill(name: str, size: int = 1) -> FlopCount:
    return counters.count_forward(
        checkpoint(name)[0], batch(name, size), models.family_of(models.get(name)).places
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_counters_agree_and_grow_with_the_batch(name: str) -> None:
    one, two = prefill(name), prefill(name, 2)
    assert one.torch is not None
    assert one.fvcore == pytest.approx(one.torch, rel=0.01)
    assert two.torch == pytest.approx(2 * one.torch, rel=0.001)
    assert one.note == ""
    assert "aten::softmax" in one.unsupported_ops


@pytest.mark.slow
def test_fvcore_drops_the_layer_whose_result_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = checkpoint("llava-tiny")[0]
    monkeypatch.setattr(model.config, "vision_feature_layer", -2)
    count = counters.count_forward(model, batch("llava-tiny", 1))
    assert count.torch == prefill("llava-tiny").torch
    assert count.torch is not None
    assert count.fvcore is not None
    assert count.torch - count.fvcore == LLAVA.image_flops(model.config, 64).unused > 0


@pytest.mark.slow
def test_counting_is_repeatable_silent_and_leaves_the_model_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model, inputs = checkpoint("llava-tiny")[0], batch("llava-tiny", 1)
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


@pytest.mark.slow
def test_attention_is_restored_after_a_failure() -> None:
    model = checkpoint("fuyu-tiny")[0]
    count = counters.count_forward(model, {"input_ids": "no tensor"})
    assert (count.torch, count.fvcore) == (None, None)
    assert model.config._attn_implementation == model.config.text_config._attn_implementation == "sdpa"
