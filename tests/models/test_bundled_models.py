"""The bundled checkpoints: that they load plainly, are fed what they were trained on, and still answer."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import bundled
import pytest
import torch
from bundled import NAMES, checkpoint, rendered
from safetensors import safe_open

from models.training import stream
from models.training.build import MODELS, load
from models.training.evaluate import Example, answers, bundled_examples, easy_examples
from models.training.eyes import image_features, use_lean_attention
from models.training.forward import packed_forward
from models.training.pictures import draw_picture
from models.training.stream import Prompter, packed, pixels, tiles
from vlmnb.data.prompts import CAPTION, multiple_choice_prompt, short_answer_prompt

PROMPTS = (
    CAPTION,
    short_answer_prompt("what does the sign say?"),
    multiple_choice_prompt("Which bar is the tallest?", ["red", "blue"], "Look at the chart. It shows bars."),
)
SIZED = NAMES[1:3]


def as_trained(name: str, image: Any) -> torch.Tensor:
    """The pixels of a picture as training had them."""
    return tiles([image], 64) if name == "smolvlm-tiny" else pixels([image], 64, clip=name != "fuyu-tiny")


@cache
def examples() -> tuple[Example, ...]:
    rng = random.Random(5)
    by_task: dict[str, list[Example]] = {}
    for example in bundled_examples() + easy_examples("test", 60):
        by_task.setdefault(example.task, []).append(example)
    return tuple(e for items in by_task.values() for e in rng.sample(items, min(24, len(items))))


def batch(name: str, texts: tuple[str, ...] = PROMPTS, **options: Any) -> Any:
    rng = random.Random(3)
    images = [draw_picture(rng, "train", "sign").image for _ in texts]
    return bundled.batch(name, texts, images, **options)


@pytest.mark.parametrize("name", NAMES)
def test_size_and_files(name: str) -> None:
    weights = MODELS / name / "model.safetensors"
    assert weights.stat().st_size <= 10_000_000
    with safe_open(weights, "pt") as file:
        count = sum(file.get_tensor(key).numel() for key in list(file.keys()))
    assert 500_000 <= count <= 5_000_000
    for file_name in ("config.json", "generation_config.json", "tokenizer.json", "README.md", "scores.json"):
        assert (MODELS / name / file_name).exists()


@pytest.mark.parametrize("name", NAMES)
def test_generation_settings_and_padding_on_the_left(name: str) -> None:
    model, processor = checkpoint(name)
    settings = model.generation_config
    assert settings.eos_token_id == processor.tokenizer.eos_token_id
    assert settings.pad_token_id == processor.tokenizer.pad_token_id
    assert model.dtype == torch.float32
    mask = batch(name)["attention_mask"]
    assert mask[:, -1].all()
    assert not mask[0, 0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", PROMPTS)
def test_prompt_is_the_training_prompt_token_by_token(name: str, text: str) -> None:
    prompter = Prompter(checkpoint(name)[1])
    assert batch(name, (text,))["input_ids"][0].tolist() == prompter.prefix(64) + prompter.question(text)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_the_training_pixels(name: str) -> None:
    model = checkpoint(name)[0]
    image = draw_picture(random.Random(3), "train", "sign").image
    inputs = bundled.batch(name, PROMPTS[:1], [image])
    with torch.no_grad():
        trained_on = image_features(name, model, as_trained(name, image))[0]
        if name == "qwen2.5-vl-tiny":
            given = model.model.visual(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        elif name == "llava-tiny":
            hidden = model.model.vision_tower(inputs["pixel_values"]).last_hidden_state[:, 1:]
            given = model.model.multi_modal_projector(hidden)[0]
        elif name == "smolvlm-tiny":
            mask = inputs["pixel_attention_mask"]
            given = model.model.get_image_features(inputs["pixel_values"], mask).pooler_output[0]
        else:
            given = model.model.vision_embed_tokens(inputs["pixel_values"])[0]
    torch.testing.assert_close(given, trained_on, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_packed_question_gives_the_logits_of_a_single_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TRUNCATED", 0.0)
    model, processor = checkpoint(name)
    rng = random.Random(2)
    picture = draw_picture(rng, "train", "scene")
    prompter = Prompter(processor)
    data = {
        "pixels": as_trained(name, picture.image),
        **packed(prompter, rng, [picture], 64, 200),
    }
    use_lean_attention(model)
    with torch.no_grad():
        together, places, _ = packed_forward(name, model, data, prompter)
    model.set_attn_implementation("sdpa")
    everywhere = torch.zeros(*places.shape, together.shape[-1])
    everywhere[places] = together
    ids, segments = data["ids"][0], data["segment"][0]
    compared = 0
    for task in picture.tasks:
        question = prompter.question(task.text)
        for number in range(1, int(segments.max()) + 1):
            own = (segments == number).nonzero()[:, 0]
            if ids[own].tolist()[: len(question)] == question:
                with torch.no_grad():
                    alone = model(**bundled.batch(name, [task.text], [picture.image])).logits[0, -1]
                torch.testing.assert_close(alone, everywhere[0, own[len(question) - 1]], rtol=2e-3, atol=2e-3)
                compared += 1
    assert compared >= 2


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_image_size_sets_the_image_tokens(name: str, size: int) -> None:
    model, processor = checkpoint(name)
    inputs = batch(name, size=size)
    side = size // 16 if name == "qwen2.5-vl-tiny" else size // 8
    assert (inputs["input_ids"] == processor.image_token_id).sum(dim=1).tolist() == [side * side] * len(
        PROMPTS
    )
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


def test_ragged_sizes_for_fuyu() -> None:
    model, processor = checkpoint("fuyu-tiny")
    rng = random.Random(3)
    images = [draw_picture(rng, "train", "sign").image.resize(size) for size in ((60, 33), (64, 64))]
    inputs = processor(
        images=images, text=["what is this?", rendered(processor, PROMPTS[0])], return_tensors="pt"
    )
    assert inputs["pixel_values"].shape == (1, 5 * 8 + 8 * 8, 192)
    assert (inputs["input_ids"] == processor.newline_token_id).sum(dim=1).tolist() == [5, 8]
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("name", SIZED)
def test_unknown_arguments_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="unknown"):
        batch(name, siez=64)


@pytest.mark.parametrize("name", NAMES)
def test_attention_and_dtype_variants_agree(name: str) -> None:
    model = checkpoint(name)[0]
    inputs = batch(name)
    with torch.no_grad():
        base = model(**inputs).logits[:, -1]
        model.set_attn_implementation("eager")
        eager = model(**inputs).logits[:, -1]
        model.set_attn_implementation("sdpa")
        half, _ = load(name)
        half = half.to(torch.bfloat16)
        inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
        rough = half(**inputs).logits[:, -1].float()
    torch.testing.assert_close(eager, base, rtol=1e-3, atol=1e-3)
    assert (rough.argmax(-1) == base.argmax(-1)).float().mean() >= 0.6


@pytest.mark.parametrize("name", NAMES)
def test_batching_does_not_change_answers(name: str) -> None:
    model, processor = checkpoint(name)
    some = [e for e in examples() if e.task in ("word", "choice_scene", "caption")][::9]
    alone = answers(name, model, processor, some, batch_size=1)
    assert answers(name, model, processor, some, batch_size=16) == alone


@pytest.mark.parametrize("name", NAMES)
def test_still_answers_as_the_scores_say(name: str) -> None:
    model, processor = checkpoint(name)
    scores = json.loads((MODELS / name / "scores.json").read_text())["tasks"]
    found = answers(name, model, processor, list(examples()))
    expected = sum(scores[e.task]["accuracy"] for e in examples())
    right = sum(a == e.answer for a, e in zip(found, examples(), strict=True))
    assert abs(right - expected) <= 0.12 * len(found)
