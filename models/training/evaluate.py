"""Scores of a checkpoint by batched greedy generation: ``python -m models.training.evaluate llava-tiny``.

Test data are the bundled data sets, the easy-VQA test split and freshly drawn pictures of fixed seeds; the
development scores watched during training come from other seeds, the development vocabulary and images cut
from easy-VQA's train split.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from models.training.build import BASE_SIZE, MODELS, NAMES, load
from models.training.drawing import draw_chart, draw_scene, draw_sign
from models.training.easy import easy_images
from models.training.questions import caption, chart_question, choice_question, scene_question, sign_question
from models.training.words import Split
from vlmnb.data.prompts import letter_of, multiple_choice_prompt, short_answer_prompt

SIZES = (32, 64, 96, 128)
DEV_SEED, TEST_SEED = 820_000, 930_000


@dataclass(frozen=True)
class Example:
    """An image, the text put to the model, the right answer, and the task it counts for."""

    task: str
    image: Image.Image
    text: str
    answer: str


def answers(
    name: str,
    model: Any,
    processor: Any,
    examples: list[Example],
    size: int = BASE_SIZE,
    batch_size: int = 64,
) -> list[str]:
    """Greedy answers to a list of examples, in order."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))
    found = [""] * len(examples)
    options = {"size": size} if name in ("qwen2.5-vl-tiny", "fuyu-tiny") else {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        prompts = [
            processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": examples[i].text}],
                    }
                ],
                add_generation_prompt=True,
            )
            for i in chosen
        ]
        images: list[Any] = [examples[i].image for i in chosen]
        if name == "smolvlm-tiny":  # its processor takes a picture at its own size
            scale = processor.image_processor.resample
            images = [[image.resize((size, size), scale)] for image in images]
        inputs = processor(images=images, text=prompts, padding=True, return_tensors="pt", **options)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=24)
        texts = processor.tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for i, text in zip(chosen, texts, strict=True):
            found[i] = text.strip()
    return found


def accuracy(examples: list[Example], found: list[str]) -> dict[str, tuple[float, int]]:
    """Exact-match accuracy and count per task."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for example, answer in zip(examples, found, strict=True):
        hits[example.task].append(answer == example.answer)
    return {task: (sum(values) / len(values), len(values)) for task, values in hits.items()}


def easy_examples(split: Split, limit: int | None = None, seed: int = 0) -> list[Example]:
    """Questions of an easy-VQA split, or a seeded sample of them."""
    examples = []
    for source in easy_images(split):
        with Image.open(source.path) as file:
            image = file.convert("RGB")
        for question, answer in source.questions:
            examples.append(Example("easy_vqa", image, short_answer_prompt(question), answer))
    return examples if limit is None else random.Random(seed).sample(examples, limit)


def drawn_examples(seed: int, split: Split, count: int) -> list[Example]:
    """``count`` freshly drawn questions of each kind."""
    rng = random.Random(seed)
    examples = []
    for _ in range(count):
        image, sign = draw_sign(rng, split)
        task = sign_question(rng, sign)
        examples.append(Example(task.kind, image, task.text, task.answer))
        image, scene = draw_scene(rng)
        for task in (
            caption(scene),
            scene_question(rng, scene),
            choice_question(rng, scene).task("choice_scene"),
        ):
            examples.append(Example(task.kind, image, task.text, task.answer))
        image, chart = draw_chart(rng)
        for task in (chart_question(rng, chart), choice_question(rng, chart).task("choice_chart")):
            examples.append(Example(task.kind, image, task.text, task.answer))
    return examples


def bundled_examples() -> list[Example]:
    """The bundled data sets as examples."""
    from datasets import load_dataset

    def rows(name: str) -> Iterable[dict[str, Any]]:
        path = MODELS.parent / "data" / name / "test.parquet"
        return load_dataset("parquet", data_files=str(path), split="train")  # type: ignore[no-any-return]

    examples = [Example("caption", r["image"], r["question"], r["answer"][0]) for r in rows("coco-mini")]
    for r in rows("textvqa-mini"):
        kind = "number" if r["answers"][0].isdigit() else "word"
        examples.append(Example(kind, r["image"], short_answer_prompt(r["question"]), r["answers"][0]))
    for r in rows("scienceqa-mini"):
        text = multiple_choice_prompt(r["question"], r["choices"], r["hint"])
        kind = "choice_chart" if r["topic"] == "charts" else "choice_scene"
        examples.append(Example(kind, r["image"], text, letter_of(r["answer"])))
    return examples


def quick(name: str, model: Any, processor: Any, count: int = 60) -> dict[str, float]:
    """Development scores, a few seconds of them."""
    examples = drawn_examples(DEV_SEED, "dev", count) + easy_examples("dev", 200)
    scores = {
        task: value
        for task, (value, _) in accuracy(examples, answers(name, model, processor, examples)).items()
    }
    if name != "llava-tiny":
        signs = [e for e in examples if e.task in ("word", "number")]
        for size in (32, 96, 128):
            found = answers(name, model, processor, signs, size)
            scores[f"sign@{size}"] = sum(a == e.answer for a, e in zip(found, signs, strict=True)) / len(
                signs
            )
    return {task: round(value, 3) for task, value in scores.items()}


def full(name: str, model: Any, processor: Any, easy_limit: int | None = None) -> dict[str, Any]:
    """Test scores: everything the model card states, on all questions of easy-VQA or a seeded part."""
    started = time.perf_counter()
    drawn = [e for e in drawn_examples(TEST_SEED, "test", 300) if e.task in ("scene", "chart")]
    examples = bundled_examples() + drawn + easy_examples("test", easy_limit)
    found = answers(name, model, processor, examples, batch_size=128)
    tasks = {t: {"accuracy": round(a, 4), "n": n} for t, (a, n) in sorted(accuracy(examples, found).items())}
    easy = [(e, a) for e, a in zip(examples, found, strict=True) if e.task == "easy_vqa"]
    for kind, wanted in (("easy_vqa_yes_no", True), ("easy_vqa_open", False)):
        hits = [a == e.answer for e, a in easy if (e.answer in ("yes", "no")) == wanted]
        tasks[kind] = {"accuracy": round(sum(hits) / len(hits), 4), "n": len(hits)}
    by_size: dict[str, dict[str, float]] = {}
    if name != "llava-tiny":
        subset = [e for e in bundled_examples() if e.task in ("word", "number")] + easy_examples(
            "test", min(easy_limit or 500, 500)
        )
        for size in SIZES:
            result = accuracy(subset, answers(name, model, processor, subset, size))
            by_size[str(size)] = {task: round(value, 4) for task, (value, _) in sorted(result.items())}
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "metric": "exact match of the greedy answer",
        "base_size": BASE_SIZE,
        "seeds": {"drawn": TEST_SEED, "bundled": "see models/training/bundles.py"},
        "tasks": tasks,
        "by_image_size": by_size,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="development scores only, nothing written")
    parser.add_argument(
        "--easy", type=int, default=None, help="questions of easy-VQA; default: all of its test"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    folder = arguments.folder or MODELS / arguments.name
    model, processor = load(arguments.name, folder)
    model.eval()
    if arguments.quick:
        print(json.dumps(quick(arguments.name, model, processor)))
        return
    scores = full(arguments.name, model, processor, arguments.easy)
    (folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
