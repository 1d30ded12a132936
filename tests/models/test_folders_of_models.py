"""What is known of a model in a folder before its weights are loaded: prompts, sizes, what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import bundled
import pytest
import small_families
import torch
from PIL import Image

from vlmnb import models, paths
from vlmnb.errors import UserError
from vlmnb.fit import description, tried
from vlmnb.fit.tried import Tried
from vlmnb.flops import estimate
from vlmnb.measure import encoding
from vlmnb.models import geometry
from vlmnb.models.generic import processor
from vlmnb.models.generic.family import Generic


@pytest.fixture(scope="module")
def small_smolvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of one family."""
    return small_families.build("smolvlm", tmp_path_factory.mktemp("one") / "smolvlm")


@pytest.mark.parametrize("model", ["llava-tiny"])
def test_a_bundled_model_by_its_folder_makes_the_same_prompt(model: str, project: Path) -> None:
    own, folder = models.by_family()["llava"], project / "models" / model
    image, question = Image.effect_noise((64, 64), 90).convert("RGB"), "what is red?"
    batches = []
    for family in (own, Generic(folder)):
        processor = family.load_processor(folder)
        prompt = encoding.fit(processor, question, 200)
        batches.append(processor(images=[image], text=[prompt.rendered], padding=True, return_tensors="pt"))
    assert batches[0]["input_ids"].tolist() == batches[1]["input_ids"].tolist()
    assert torch.equal(batches[0]["pixel_values"], batches[1]["pixel_values"])


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("gemma3", ""),
        ("qwen3_5", ""),
        ("llava_next", "LlavaNextForConditionalGeneration"),
        ("bert", "converter"),
    ],
)
def test_llama_cpp_runs_the_classes_that_its_converter_knows(kind: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    found = Generic(tmp_path).gguf_obstacle
    assert bool(found) == bool(word)
    assert word in found


@pytest.mark.parametrize(
    ("config", "processor", "side"),
    [
        ({"vision_config": {"image_size": [448, 448]}}, {}, 448),
        ({"vision_config": {"image_size": 448}}, {"size": {"height": 384, "width": 384}}, 384),
        ({}, {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}, 512),
        ({}, {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}, 224),
        ({}, {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}, 336),
        ({}, {"size": {"shortest_edge": 4096, "longest_edge": 4096}, "merge_size": 2}, 64),
        ({}, {"min_pixels": 3136, "max_pixels": 12845056, "merge_size": 2}, 224),
        ({"vision_config": {"image_size": 1540}}, {"size": {"longest_edge": 128}}, 128),
        ({"vision_config": {"image_size": 980}}, {"size": {"shortest_edge": 378, "longest_edge": 980}}, 378),
    ],
)
def test_images_have_the_side_that_the_processor_names(
    config: dict[str, Any], processor: dict[str, Any], side: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    entry = models.get(str(tmp_path))
    assert (entry.base_image_size, entry.image_sizes) == (side, (side, side * 3 // 2, side * 2))
    assert entry.speed_dataset == "textvqa-mini"


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "float32"}, "fp32"),
        ({"torch_dtype": "float32"}, "fp32"),
        ({"text_config": {"torch_dtype": "float32"}}, "fp32"),
        ({"dtype": "float16"}, "bf16"),
        ({}, "bf16"),
    ],
)
def test_weights_in_32_bits_are_measured_in_32_bits(
    config: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert models.get(str(tmp_path)).base_dtype == dtype


@pytest.mark.parametrize("name", bundled.NAMES)
def test_the_folder_of_a_bundled_model_has_its_sizes_and_precision(name: str, tmp_path: Path) -> None:
    own, folder = models.get(name), paths.bundled_model(name)
    named = models.get(str(folder))
    shared = ("base_image_size", "image_sizes", "base_dtype", "seq_lens", "max_new_tokens", "fixed_tokens")
    assert [getattr(named, field) for field in shared] == [getattr(own, field) for field in shared]
    copied = models.get(str(shutil.copytree(folder, tmp_path / "copy")))
    assert (copied.base_image_size, copied.base_dtype) == (own.base_image_size, own.base_dtype)
    assert copied.image_sizes == (64, 96, 128)


@pytest.mark.parametrize(
    "message",
    [
        "PixtralProcessor requires the Torchvision library but it was not found",
        "None could be imported. Missing optional dependencies: torchvision. Please install",
        "No module named 'torchvision.ops'",
        "torchvision is missing, run `pip install torchvision`",
    ],
)
def test_a_package_that_a_processor_lacks_is_named(
    message: str, small_smolvlm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ImportError(message)

    monkeypatch.setattr(processor, "_loaded", fails)
    with pytest.raises(UserError, match="smolvlm models needs torchvision, which is not installed"):
        Generic(small_smolvlm).load_processor(small_smolvlm)
    assert "torchvision" in description.describe(str(small_smolvlm)).image_note


@pytest.mark.parametrize("text", [{"rope_parameters": {"rope_type": "quantum"}}, {"hidden_act": "shiny"}])
def test_a_configuration_of_which_no_model_can_be_built_is_one_line(
    text: dict[str, Any], small_smolvlm: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_smolvlm, tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"] |= text
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for work in (
        lambda: description.describe(str(folder)),
        lambda: estimate.estimate(str(folder), 40, 64, 1),
    ):
        with pytest.raises(UserError, match=r"quantum|shiny"):
            work()


def test_a_type_whose_batches_differ_has_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"eye": Tried(batch="other answers", transformers="5.1"), "ear": Tried(batch="equal")}
    monkeypatch.setattr(tried, "families", lambda: found)
    assert "other answers" in tried.warning("eye")
    assert not tried.warning("ear")
    assert not tried.warning("nose")


def test_a_bundled_model_without_a_family_of_its_own_is_described_by_its_folder() -> None:
    entry = models.get("smolvlm-tiny")
    family, config = models.family_of(entry), geometry.config(entry)
    assert entry.bundled
    assert isinstance(family, Generic)
    # 16 tokens for each tile and for the whole made small; 3, 14 and 9 marks and line ends between them
    assert [family.image_tokens(config, size) for size in (32, 64, 96, 128)] == [19, 19, 94, 94]
    assert family.image_tokens(config, 128, 43) == 3 * 16 + 9
    found = description.describe("smolvlm-tiny")
    assert (found.source, found.licence) == ("models/smolvlm-tiny/config.json", "apache-2.0")
    assert found.total == 2_400_768


def test_a_model_without_files_is_described_by_its_stand_in() -> None:
    llava, qwen = description.describe("llava-1.5-7b"), description.describe("qwen2.5-vl-3b")
    assert {image.tokens for image in llava.images} == {576}
    assert {image.width: image.tokens for image in qwen.images} == {
        64: 4,
        224: 64,
        336: 144,
        448: 256,
        896: 1024,
    }
    assert set(llava.limits) == {"image_size"}
    assert set(qwen.limits) == {"visual_tokens"}


@pytest.mark.parametrize(
    ("name", "squares"), [("qwen2.5-vl-tiny", 3), ("fuyu-tiny", 2.931), ("llava-tiny", 1)]
)
def test_an_image_that_is_not_square_is_given_its_size_too_or_says_that_it_is_not(
    name: str, squares: float
) -> None:
    images = {(one.width, one.height): one for one in description.describe(name).images}
    wide, square = images[672, 224], images[224, 224]
    assert wide.tokens / square.tokens == pytest.approx(squares, rel=0.01)
    assert bool(wide.note) == (squares == 1)
    assert not square.note


def test_what_a_kind_could_not_do_when_it_was_tried_is_named(tmp_path: Path) -> None:
    folder = small_families.build("mllama", tmp_path / "mllama")
    assert tried.families()["mllama"].settings["visual_tokens-50%-grid"] != "ok"
    assert "visual_tokens" in description.describe(str(folder)).limits
