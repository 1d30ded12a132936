"""Prompts with no image and with several, and images that keep their shape: tokens, FLOPs, reasons."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_families
import torch
from bundled import NAMES, checkpoint
from factory import cell
from PIL import Image

from vlmnb import models
from vlmnb.data.catalogue import Sample
from vlmnb.measure import batches, cells, encoding
from vlmnb.measure.cells import FlopCounts, ModelSlot, measure_cell
from vlmnb.models import geometry
from vlmnb.models.generic.family import Generic
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell


def gradient(width: int, height: int) -> Image.Image:
    return Image.radial_gradient("L").resize((width, height)).convert("RGB")


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def encoded(family: Any, processor: Any, counts: tuple[int, ...], image: Image.Image, **how: Any) -> Any:
    """A batch of prompts with so many images each, and the image tokens counted in it."""
    prompts = [encoding.fit(processor, f"what is {i}?", 200, count) for i, count in enumerate(counts)]
    samples = [Sample(str(i), (image,) * count, "", ()) for i, count in enumerate(counts)]
    batch = encoding.encode(family, processor, samples, prompts, 64, **how)
    return batch, encoding.image_tokens(batch, prompts)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (96, 32), (32, 96), (192, 64)])
def test_image_tokens_of_an_image_that_keeps_its_shape_are_as_predicted(
    name: str, size: tuple[int, int]
) -> None:
    entry = models.get(name)
    family, processor = models.family_of(entry), checkpoint(name)[1]
    _, counted = encoded(family, processor, (1,), gradient(*size), shape="kept")
    assert counted == [family.image_tokens(geometry.config(entry), *size)]
    assert (family.own_size() is None) == (name == "llava-tiny")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fuyu-tiny"])
def test_prompts_of_none_one_and_two_images_share_a_batch_with_the_logits_of_each_alone(name: str) -> None:
    entry = models.get(name)
    family, (model, processor) = models.family_of(entry), checkpoint(name)
    batch, tokens = encoded(family, processor, (0, 1, 2), gradient(64, 64))
    assert tokens == [0, tokens[1], 2 * tokens[1]]
    with torch.inference_mode():
        together = model(**batch).logits[:, -1]
        for i, count in enumerate((0, 1, 2)):
            prompt = encoding.fit(processor, f"what is {i}?", 200, count)
            sample = Sample("0", (gradient(64, 64),) * count, "", ())
            alone = model(**encoding.encode(family, processor, [sample], [prompt], 64)).logits[0, -1]
            torch.testing.assert_close(together[i], alone, atol=1e-3, rtol=1e-3)


@cache
def measured(model: str, dataset: str, shape: Any = "square") -> Record:
    """Four questions in batches of two, of two tokens each, without the lock of the machine."""
    wanted = cell(
        model=model, dataset=dataset, image_shape=shape, samples=4, batch_size=2, image_size=64, seq_len=200,
        max_new_tokens=2,
    )  # fmt: skip
    return measure_cell(resolve_cell(wanted), ModelSlot(), FlopCounts())


@pytest.mark.slow
@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize(
    ("dataset", "shape", "images"),
    [("pairs-mini", "square", 2), ("pairs-mini", "kept", 2), ("scienceqa-text-mini", "square", 0)],
)
def test_a_cell_of_several_images_or_none(model: str, dataset: str, shape: str, images: int) -> None:
    found = measured(model, dataset, shape)
    if (images == 2 and model == "fuyu-tiny") or (shape == "kept" and model == "llava-tiny"):
        assert found.status == "not_applicable"
        assert (
            "square" in found.reason if shape == "kept" and model == "llava-tiny" else "Fuyu" in found.reason
        )
        return
    assert found.status == "ok", found.reason
    assert [answer.images for answer in found.answers] == [images] * 4
    assert all(bool(answer.image_tokens) == bool(images) for answer in found.answers)
    assert found.accuracy is not None
    flops = found.flops
    assert flops
    assert flops.formula == pytest.approx(flops.torch, rel=1e-9)
    assert not flops.note
    assert flops.prefill_formula
    assert bool(flops.prefill_formula.projector) == bool(images)
    steps = [one and one.total for one in (flops.decode_formula, flops.decode_torch)]
    assert steps[0] == steps[1] != 0


def test_the_side_of_an_image_that_keeps_its_shape_is_its_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = checkpoint("qwen2.5-vl-tiny")[1]
    loaded: Any = SimpleNamespace(processor=processor, sizing=models.by_family()["qwen2_5_vl"], engine=None)
    monkeypatch.setattr(
        batches, "encode", lambda loaded, samples, *_: [[i.size for i in s.images] for s in samples]
    )
    pair = Sample("0", (png(gradient(300, 100)), png(gradient(50, 200))), "?", ())
    for shape, sizes in (("square", [(64, 64)] * 2), ("kept", [(64, 21), (16, 64)])):
        wanted = cell(dataset="pairs-mini", samples=1, batch_size=1, image_size=64, image_shape=shape)
        assert batches.prepare(wanted, loaded, [pair], [])[0].inputs == [sizes]


@pytest.mark.parametrize("small", ["smolvlm", pytest.param("gemma3", marks=pytest.mark.slow)])
def test_the_generic_family_takes_several_images_none_and_wide_ones(small: str, tmp_path: Path) -> None:
    family = Generic(small_families.build(small, tmp_path / small))
    processor, config = family.load_processor(family.folder), None
    _, tokens = encoded(family, processor, (2, 1, 2), gradient(64, 64))
    assert tokens[0] == tokens[2] > tokens[1] > 0
    batch, none = encoded(family, processor, (0, 0), gradient(64, 64))
    assert none == [0, 0]
    assert "pixel_values" not in batch
    _, wide = encoded(family, processor, (1,), gradient(192, 64), shape="kept")
    assert wide == [family.image_tokens(config, 192, 64)]
    assert (family.own_size() is None) == (small == "gemma3")


def test_a_model_that_fails_on_such_prompts_is_not_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        try:
            raise ValueError("pixel_values is required")
        except ValueError as error:
            raise cells.CallFailed({}) from error

    monkeypatch.setattr(cells, "_measure", refuse)
    asked = {"model": "llava-tiny", "samples": 4}
    for dataset, status in (("scienceqa-text-mini", "not_applicable"), ("scienceqa-mini", "failed")):
        found = measure_cell(resolve_cell(cell(dataset=dataset, **asked)), ModelSlot(), FlopCounts())
        assert (found.status, found.reason) == (status, "ValueError: pixel_values is required")
