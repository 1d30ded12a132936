"""The reports' models through the generic family and their own: same tokens, FLOPs and answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vlmnb import models, paths
from vlmnb.errors import UserError
from vlmnb.fit import description
from vlmnb.flops import estimate, formula
from vlmnb.measure import encoding
from vlmnb.models import geometry
from vlmnb.models.family import Family
from vlmnb.models.generic.family import Generic

REPORTED = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")


class OwnProcessor(Generic):
    """The generic family with a family's own processor: transformers' own of Fuyu cannot be called here."""

    def load_processor(self, folder: str | Path) -> Any:
        """Load what the model's own family loads."""
        return models.by_family()["fuyu"].load_processor(folder)


def _encoded(family: Family, folder: Path, question: str) -> dict[str, Any]:
    processor = family.load_processor(folder)
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    text = encoding.fit(processor, question, 200).rendered
    sized = models.by_family()["fuyu"].sized(64) if isinstance(family, OwnProcessor) else family.sized(64)
    return dict(processor(images=[image], text=[text], padding=True, return_tensors="pt", **sized))


@pytest.mark.parametrize("name", REPORTED)
def test_tokens_flops_and_answers_are_the_same(name: str) -> None:
    folder, own = paths.bundled_model(name), models.family_of(models.get(name))
    by_folder = models.family_of(models.get(str(folder)))
    generic = (OwnProcessor if name == "fuyu-tiny" else Generic)(folder)
    model = own.model_class().from_pretrained(folder).eval()
    torch.manual_seed(0)
    found = []
    for family in (own, by_folder, generic):
        inputs = _encoded(family, folder, "what is red?")
        inputs["pixel_values"] = torch.linspace(-1, 1, inputs["pixel_values"].numel()).reshape(
            inputs["pixel_values"].shape
        )
        tokens = int(inputs["input_ids"].shape[1])
        parts = formula.prompt(family, model.config, family.image_flops_of(model, inputs, 64), tokens)
        answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, tokens:].tolist()
        step = formula.decode(family, model.config, tokens)
        found.append((inputs["input_ids"].tolist(), answer, parts, step))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", REPORTED)
def test_a_folder_has_the_estimate_of_the_model(name: str) -> None:
    by_name, by_folder = (estimate.estimate(of, 40, 64, 2) for of in (name, str(paths.bundled_model(name))))
    assert by_name.model_copy(update={"model": by_folder.model}) == by_folder


@pytest.mark.parametrize("name", REPORTED)
def test_cache_and_weights_of_the_decoder_are_the_same(name: str) -> None:
    entry = models.get(name)
    own, generic, config = models.family_of(entry), Generic(paths.bundled_model(name)), geometry.config(entry)
    shapes = [family.decoder_shape(config) for family in (own, generic)]
    assert shapes[0].cache_bytes(300, 2) == shapes[1].cache_bytes(300, 2)
    assert shapes[0].each_layer == shapes[1].each_layer
    counts = [sum(one.count for one in family.text_tensors(config)) for family in (own, generic)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "torch_dtype": "float32"},
        {"image_token_index": None, "image_token_id": None},
        {"vision_feature_layer": -2, "mm_vision_select_layer": -2, "transformers_version": "4.30.0"},
    ],
)
def test_older_names_in_a_configuration_are_read(change: dict[str, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(paths.bundled_model("llava-tiny"), tmp_path / "old")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "rope_scaling" in change:
        config["text_config"].pop("rope_parameters", None)
        config["text_config"] |= change
    else:
        config |= {name: value for name, value in change.items() if value is not None}
        for name in (name for name, value in change.items() if value is None):
            config.pop(name, None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = description.describe(str(folder))
    assert found.layers == config["text_config"]["num_hidden_layers"]
    assert {one.tokens for one in found.images} == {64}


def test_the_original_configuration_of_llava_is_refused_with_the_way_out(tmp_path: Path) -> None:
    original = {
        "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava", "hidden_size": 4096,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336", "num_hidden_layers": 32,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(original), encoding="utf-8")
    with pytest.raises(UserError, match="mm_vision_tower"):
        geometry.document(models.get(str(tmp_path)))
