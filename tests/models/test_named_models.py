"""Models that no registry entry names, built small from their own classes of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import small_families
import torch
from PIL import Image
from small_family_table import FIRST_MARK
from tokenizers.processors import TemplateProcessing
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from vlmnb import models
from vlmnb.errors import UserError
from vlmnb.fit import description, tried
from vlmnb.flops import counters, estimate, flop_count, formula, meta
from vlmnb.measure import encoding
from vlmnb.models import geometry
from vlmnb.models.architecture import ImageFlops
from vlmnb.models.generic import image_work, structure
from vlmnb.models.generic.family import Generic
from vlmnb.spec.optimizations.generation import StaticCaches

FAST = ("gemma3", "mllama", "qwen3_5", "qwen3_vl_moe", "smolvlm")
KINDS = ("ernie4_5_vl_moe", "hunyuan_vl", "minicpmv4_7")
"""Families with experts of images, with ends of lines, and with a tower that merges patches midway."""
OWN = ("fuyu",)
"""Families that models measured by their name are not generic in: transformers' processor fails."""


def _families(fast: tuple[str, ...], *, batches: bool) -> list[Any]:
    """Return families of which the table says that formula and counter agree, and batches if asked."""
    return [
        pytest.param(name, marks=() if name in fast else pytest.mark.slow)
        for name, row in tried.families().items()
        if name not in OWN and row.flops is not None and abs(row.flops) < 0.1
        if row.batch == "equal" or not batches
    ]


EVERY = _families(FAST, batches=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A small checkpoint of the family of the test's parameter."""
    return small_families.build(request.param, tmp_path_factory.mktemp("small") / request.param)


def _inputs(
    family: Generic, prompts: list[str], sides: Sequence[int | tuple[int, int]]
) -> dict[str, torch.Tensor]:
    processor = family.load_processor(family.folder)
    rendered = [encoding.fit(processor, prompt, 200).rendered for prompt in prompts]
    sizes = [(side, side) if isinstance(side, int) else side for side in sides]
    images = [Image.radial_gradient("L").resize(size).convert("RGB") for size in sizes]
    return dict(processor(images=images, text=rendered, padding=True, return_tensors="pt"))


BY_FORWARD = [one for one in EVERY if one.values != ("instructblip",)]
"""InstructBLIP's own forward pass counts padding as positions; its generate, which we call, does not."""


@pytest.mark.parametrize(
    "small",
    [
        pytest.param(name, marks=() if name in ("mllama", "paligemma") else pytest.mark.slow)
        for name, row in tried.families().items()
        if row.works and name not in OWN
    ],
    indirect=True,
)
def test_the_table_of_tried_families_has_the_image_tokens_of_today(small: Path) -> None:
    entry, tokens = models.get(str(small)), tried.families()[small.name].image_tokens
    family, config = models.family_of(entry), geometry.config(entry)
    sizes = {size: [int(side) for side in size.split("x")] for size in tokens}
    assert {size: family.image_tokens(config, *sides) for size, sides in sizes.items()} == tokens


@pytest.mark.parametrize("small", BY_FORWARD, indirect=True)
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
    assert not both["attention_mask"][0].all()
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
        assert getattr(image, part) == pytest.approx(getattr(counted, part), rel=0.01), part


@pytest.mark.parametrize("small", _families(FAST + KINDS, batches=False), indirect=True)
def test_formula_and_counter_agree_part_by_part(small: Path) -> None:
    family = Generic(small)
    # Of SAM's tower, torch counts fused attention only in part.
    kind = "eager" if small.name == "deepseek_vl_hybrid" else None
    model = AutoModelForImageTextToText.from_pretrained(small, attn_implementation=kind).eval()
    inputs = _inputs(family, ["what is in this picture?" * 2], [64])  # longer than any window here
    tokens = int(inputs["input_ids"].shape[1])
    counted = counters.count_forward(model, inputs, family.places_of(model))
    image = family.image_flops_of(model, inputs, 64)
    by_formula = formula.prompt(family, model.config, image, tokens)
    step, _ = meta.attempt(lambda: meta.decode(meta.build(models.get(str(small))), tokens))
    assert (step is None) == (small.name == "gemma4")  # on shapes alone it asks where a mask is not zero
    if step is not None:
        assert formula.decode(family, model.config, tokens).total == pytest.approx(step.total, rel=0.01)
    assert counted.prefill_torch is not None
    for part, expected in by_formula:
        assert getattr(counted.prefill_torch, part) == pytest.approx(expected, rel=0.01), part


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


@pytest.mark.parametrize("small", ["chameleon", "emu3", "mllama", "paligemma"], indirect=True)
def test_text_that_a_processor_writes_itself_stands_for_no_image(small: Path) -> None:
    family = Generic(small)
    prompt = encoding.fit(family._processor, "what?" * 2, 200)
    batch = _inputs(family, ["what?" * 2], [64])
    separates = family._processor.tokenizer.sep_token_id  # between question and answer, Chameleon's
    of_image = [one for one in batch["input_ids"][0].tolist() if one >= FIRST_MARK and one != separates]
    counted = len(of_image) + len("8*8") * (small.name == "emu3")  # the size, written between its marks
    assert encoding.image_tokens(batch, [prompt]) == [counted]
    assert family.image_tokens(None, 64) == counted


def test_a_token_that_a_processor_keeps_out_is_no_text(tmp_path: Path) -> None:
    folder = small_families.build("hunyuan_vl", tmp_path / "small")
    processor = Generic(folder).load_processor(folder)
    before = processor.text_ids("what?")
    tokenizer = processor.tokenizer.backend_tokenizer
    tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 257)])
    assert processor.tokenizer("?")["input_ids"][0] == 257
    del processor._writing
    assert processor.text_ids("what?") == before


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
    small = small_families.FAMILIES[name]
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


@pytest.mark.parametrize(
    ("name", "pixels", "further"),
    [
        ("muse_spark", (28 * 28, 3 * 2 * 8 * 8), {"image_grid_thw": torch.tensor([[1, 28, 28]])}),
        ("inkling_mm_model", (3, 2, 40, 40, 3), {}),
    ],
)
def test_towers_with_windows_of_their_own_and_without_attention(
    name: str, pixels: tuple[int, ...], further: dict[str, torch.Tensor]
) -> None:
    config = small_families.configuration(name, small_families.FAMILIES[name])
    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    family, seen = Generic(Path("/nowhere")), {"pixel_values": torch.ones(pixels), **further}
    counted = meta._features(meta.Built(family, model), seen)
    prompt = torch.full((1, 196), config.image_token_id)  # 28 x 28 patches, merged by 2 x 2
    image = image_work.count(model, {**seen, "input_ids": prompt})
    for part in ("vision", "vision_scores", "projector"):
        assert getattr(image, part) == getattr(counted, part), part
    assert image.vision > 0


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
    assert f"{positions} positions" in description.describe(str(small)).image_note
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
    mixing, forward = zip(*map(structure.layer_parts, layers), strict=True)
    assert None not in mixing
    assert (None in forward) == (small.name == "blip-2")  # the linear layers of OPT lie in the layer itself


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
