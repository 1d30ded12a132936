"""Models that no registry entry names, built small from their own classes of transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bundled
import pytest
import small_families
import small_family_table
import torch
from PIL import Image
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from vlmnb import models, paths
from vlmnb.errors import UserError
from vlmnb.fit import description, tried
from vlmnb.fit.tried import Tried
from vlmnb.flops import counters, estimate, flop_count, formula, meta
from vlmnb.measure import encoding
from vlmnb.models import geometry
from vlmnb.models.architecture import ImageFlops
from vlmnb.models.generic import processor, structure
from vlmnb.models.generic.family import Generic
from vlmnb.spec.optimizations.generation import StaticCaches

FAST = ("gemma3", "mllama", "qwen3_5", "qwen3_vl_moe", "smolvlm")
KINDS = ("ernie4_5_vl_moe", "hunyuan_vl", "minicpmv4_7")
"""Families with experts of images, with ends of lines, and with a tower that merges patches midway."""


def _families(fast: tuple[str, ...], *, batches: bool) -> list[Any]:
    """Return families of which the table says that formula and counter agree, and batches if asked."""
    return [
        pytest.param(name, marks=() if name in fast else pytest.mark.slow)
        for name, row in tried.families().items()
        if row.flops is not None and abs(row.flops) < 0.1 and (row.batch == "equal" or not batches)
    ]


EVERY = _families(FAST, batches=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A small checkpoint of the family of the test's parameter."""
    return small_families.build(request.param, tmp_path_factory.mktemp("small") / request.param)


@pytest.fixture(scope="module")
def small_smolvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of one family."""
    return small_families.build("smolvlm", tmp_path_factory.mktemp("one") / "smolvlm")


def _inputs(
    family: Generic, prompts: list[str], sides: Sequence[int | tuple[int, int]]
) -> dict[str, torch.Tensor]:
    processor = family.load_processor(family.folder)
    rendered = [encoding.fit(processor, prompt, 200).rendered for prompt in prompts]
    sizes = [(side, side) if isinstance(side, int) else side for side in sides]
    images = [Image.radial_gradient("L").resize(size).convert("RGB") for size in sizes]
    return dict(processor(images=images, text=rendered, padding=True, return_tensors="pt"))


@pytest.mark.parametrize("small", EVERY, indirect=True)
def test_a_batch_padded_on_the_left_has_the_logits_of_its_rows(small: Path) -> None:
    family = Generic(small)
    model = AutoModelForImageTextToText.from_pretrained(small).eval()
    prompts = ["what?", "what is in this picture?"]
    with torch.inference_mode():
        both = _inputs(family, prompts, [64, 64])
        rows = [_inputs(family, [prompt], [64]) for prompt in prompts]
        together = model(**both).logits[:, -1]
        alone = torch.cat([model(**row).logits[:, -1] for row in rows])
    assert both["attention_mask"][:, -1].all()
    assert not both["attention_mask"][0, 0]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


EDGES = {"exaone4_5": (50, 30), "idefics2": (50, 30), "lighton_ocr": (33, 100)}
"""Pictures whose last windows, patches or squares of patches are not full."""


@pytest.mark.parametrize("small", _families((*EDGES,), batches=False), indirect=True)
def test_tokens_and_flops_of_a_picture_of_an_odd_size(small: Path) -> None:
    family, size = Generic(small), EDGES.get(small.name, (33, 100))
    model = AutoModelForImageTextToText.from_pretrained(small, attn_implementation="eager").eval()
    inputs, prompt = _inputs(family, ["?"], [size]), encoding.fit(family._processor, "?", 200).rendered
    marked = int(inputs["input_ids"].shape[1]) - len(family._processor.text_ids(prompt))
    assert family.image_tokens(model.config, *size) == marked
    with counters.quiet(model):
        watched = counters.watch(lambda: model(**inputs, use_cache=False))
    counted = flop_count.split(watched, family.places_of(model))
    image = family.image_flops_of(model, inputs, 64)
    for part in ("vision", "vision_scores", "projector"):
        assert getattr(image, part) == pytest.approx(getattr(counted, part), rel=0.002), part


@pytest.mark.parametrize("small", _families(FAST + KINDS, batches=False), indirect=True)
def test_formula_and_counter_agree_part_by_part(small: Path) -> None:
    family = Generic(small)
    model = AutoModelForImageTextToText.from_pretrained(small).eval()
    inputs = _inputs(family, ["what is in this picture?" * 2], [64])  # longer than any window here
    tokens = int(inputs["input_ids"].shape[1])
    counted = counters.count_forward(model, inputs, family.places_of(model))
    image = family.image_flops_of(model, inputs, 64)
    by_formula = formula.prompt(family, model.config, image, tokens)
    step, _ = meta.attempt(lambda: meta.decode(meta.build(models.get(str(small))), tokens))
    assert (step is None) == (small.name == "gemma4")  # which asks on shapes alone where a mask is not zero
    if step is not None:
        assert formula.decode(family, model.config, tokens).total == pytest.approx(step.total, rel=0.01)
    assert counted.prefill_torch is not None
    for phase in flop_count.SHOWN:
        assert flop_count.phase(counted.prefill_torch, phase) == pytest.approx(
            flop_count.phase(by_formula, phase), rel=0.01
        ), phase


@pytest.mark.parametrize(("small", "tokens"), [("idefics2", 11), ("blip-2", 8)], indirect=["small"])
def test_a_projector_that_attends_is_counted_without_weights_too(
    small: Path, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = estimate.estimate(str(small), 40, 64, 1)
    found = whole.prefill
    assert whole.image_tokens == tokens  # BLIP-2's processor adds them to a prompt with its mark
    assert found.formula.projector > 0
    assert found.largest_difference is not None
    assert found.largest_difference < 0.01
    monkeypatch.setattr(structure, "patch_embedding", lambda model: None)
    with pytest.raises(UserError, match="patch embedding"):
        estimate.estimate(str(small), 40, 64, 1)


VISION = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def test_a_processor_that_asks_its_own_questions_is_refused(tmp_path: Path) -> None:
    folder = small_families.build("shieldgemma2", tmp_path / "small")
    with pytest.raises(UserError, match="prompts of its own"):
        Generic(folder).load_processor(folder)


def test_what_has_no_formula_is_named() -> None:
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    with torch.device("meta"):
        plain, crossing = (
            AutoModelForImageTextToText.from_config(CONFIG_MAPPING[kind](**parts))
            for kind, parts in (
                ("deepseek_vl", {"text_config": text, "vision_config": VISION}),
                ("idefics", {**text, "cross_layer_interval": 2, "use_resampler": False}),
            )
        )
        assert not structure.unlike(plain)
        plain.model.vision_extra = torch.nn.Linear(2, 2)
    assert "vision_extra" in structure.unlike(plain)
    assert "decoder" in structure.unlike(crossing)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("kimi_k25", {"restored": 32 * 4 * (8 + 16), "kept": 32 + 8}),
        ("dots3_note", {"restored": 32 * 4 * (8 + 16), "window": 32}),
        ("llama4", {"idle": 3 * 3 * 64 * 128}),
        ("molmo2", {}),
        ("minimax_m3_vl", {}),
        ("muse_spark", {}),
        ("step3p7", {}),
    ],
)
def test_decoders_of_families_that_are_built_without_memory(name: str, changes: dict[str, int]) -> None:
    small = small_family_table.FAMILIES[name]
    config = small_families.configuration(name, small)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    family = Generic(Path("/nowhere"))
    family._last = config.to_json_string(use_diff=False), model
    last, built = family.decoder_shape(config).each_layer[-1], meta.Built(family, model)
    assert {field: getattr(last, field) for field in changes} == changes
    assert not structure.unlike(model)
    if name != "step3p7":  # whose masks read values
        step, mine = meta.decode(built, 50), formula.decode(family, config, 50)
        for phase in flop_count.SHOWN:
            assert flop_count.phase(mine, phase) == flop_count.phase(step, phase)
    counted = sum(one.count for one in (*family.image_tensors(config), *family.text_tensors(config)))
    assert counted == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("small", ["mllama"], indirect=True)
def test_layers_that_attend_to_the_picture_keep_its_positions_whatever_the_text(small: Path) -> None:
    family = Generic(small)
    config = geometry.config(models.get(str(small)))
    shape, positions = family.decoder_shape(config), 4 * (8 * 8 + 1)  # four tiles, each with a class token
    assert shape.crosses == positions
    per_token, whole = 2 * 2 * 32, 2 * 32 * positions  # keys and values of two layers and of the third
    assert shape.cache_bytes(10, 2) == 2 * (10 * per_token + whole)
    steps = [formula.decode(family, config, tokens) for tokens in (10, 11)]
    assert steps[1].scores - steps[0].scores == 2 * 2 * 2 * 64
    few, many = (family.image_flops_of(family._built(config), _inputs(family, ["?"], [side]), side)
                 for side in (64, 128))  # fmt: skip
    assert few == many
    assert few.crossed == 1
    without = formula.prompt(family, config, ImageFlops(), 10)
    with_one = formula.prompt(family, config, ImageFlops(crossed=1), 10)
    assert with_one.mlp * 2 == without.mlp * 3  # a prompt without a picture skips the layer
    keys = 2 * positions * 2 * 64 * 32
    assert with_one.projections - keys == without.projections * 3 // 2 - 10 * 2 * 2 * 64 * 32
    read = [
        one.read for one in family.text_tensors(config) if one.layer == 1 and one.role in ("attn_k", "attn_v")
    ]
    assert read == [0.0, 0.0]


@pytest.mark.parametrize("small", EVERY, indirect=True)
def test_the_cache_and_the_weights_have_the_bytes_of_the_formula(small: Path) -> None:
    family, model = Generic(small), AutoModelForImageTextToText.from_pretrained(small).eval()
    inputs = _inputs(family, ["what is in this picture?" * 2], [64])
    how: dict[str, Any] = {"max_new_tokens": 9, "min_new_tokens": 9, "return_dict_in_generate": True}
    kept = model.generate(**inputs, **how).past_key_values.layers
    states = ("keys", "values", "indexer_keys", "conv_states", "recurrent_states")
    found = sum(_bytes(getattr(layer, name, None)) for layer in kept for name in states)
    tokens = int(inputs["input_ids"].shape[1]) + 8  # the last token of the answer is never fed back
    assert family.decoder_shape(model.config).cache_bytes(tokens, 4) == found
    weights = (*family.image_tensors(model.config), *family.text_tensors(model.config))
    assert sum(one.count for one in weights) == sum(p.numel() for p in model.parameters())


def _bytes(held: Any) -> int:
    if isinstance(held, torch.Tensor):
        return held.nbytes
    if isinstance(held, dict):
        held = list(held.values())
    return sum(map(_bytes, held)) if isinstance(held, list | tuple) else 0


@pytest.mark.parametrize("small", EVERY, indirect=True)
def test_every_part_of_the_model_is_found(small: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(small)
    layers = structure.decoder_layers(model.get_decoder())
    assert structure.tower(model) is not None
    assert len(structure.vision_layers(model)) >= 2
    assert len(layers) == structure.text_of(model.config).num_hidden_layers
    assert structure.patch_embedding(model) is not None
    assert structure.projectors(model)
    assert all(part is not None for layer in layers for part in structure.layer_parts(layer))


@pytest.mark.parametrize("small", EVERY, indirect=True)
def test_a_description_counts_every_parameter_once(small: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(small)
    found = description.describe(str(small))
    assert found.total == sum(parameter.numel() for parameter in model.parameters())
    assert found.layers == structure.text_of(model.config).num_hidden_layers
    assert found.parameters["vision"] > 0
    assert len(found.images) == len(description.SHAPES)
    assert all(one.tokens > 0 for one in found.images)


@pytest.mark.parametrize(
    ("small", "sizes"),
    [("gemma4", {(32, 16), (256, 32)}), ("mllama", {(256, 16), (260, 16)})],
    indirect=["small"],
)
def test_a_static_cache_has_positions_and_heads_of_the_size_of_each_layer(
    small: Path, sizes: set[tuple[int, int]]
) -> None:
    model = AutoModelForImageTextToText.from_pretrained(small).eval()
    inputs = _inputs(Generic(small), ["what?"], [64])
    caches, how = StaticCaches(model, 256), {"max_new_tokens": 4, "do_sample": False}
    for _ in range(2):  # the second time in memory that was used before
        cache = caches.empty(1)
        found = model.generate(**inputs, **how, past_key_values=cache)
        assert found.tolist() == model.generate(**inputs, **how).tolist()
    held = [
        layer.keys for layer in cache.layers if getattr(layer, "keys", None) is not None
    ]  # others read those of a layer
    assert {tuple(keys.shape[-2:]) for keys in held} == sizes


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
