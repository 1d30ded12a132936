"""Write a model card from scores and training log: ``python -m models.training.card NAME``."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections import Counter
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from models.training.build import MODELS, NAMES
from models.training.evaluate import drawn_examples
from models.training.pictures import easy_images

TASKS = {
    "easy_vqa": ("easy-VQA, whole test split", "question alone"),
    "easy_vqa_yes_no": ("- its yes/no questions", "question alone"),
    "easy_vqa_open": ("- its open questions", "question alone"),
    "word": ("reading a word (textvqa-mini)", "unseen words"),
    "number": ("reading a number (textvqa-mini)", "unseen numbers"),
    "caption": ("caption, exact (coco-mini)", "exact match of a whole sentence"),
    "scene": ("short questions about scenes", "most common answer"),
    "chart": ("short questions about bar charts", "most common answer"),
    "choice_scene": ("multiple choice, scenes (scienceqa-mini)", "picking at random"),
    "choice_chart": ("multiple choice, bar charts (scienceqa-mini)", "picking at random"),
}
CLASSES = {
    "llava-tiny": ("LLaVA-1.5", "LlavaForConditionalGeneration", "LlavaProcessor"),
    "qwen2.5-vl-tiny": ("Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration", "ImageOnlyQwen2_5_VLProcessor"),
    "fuyu-tiny": ("Fuyu", "FuyuForCausalLM", "ImageOnlyFuyuProcessor"),
}
GEOMETRY = {
    "llava-tiny": "CLIP tower 128 wide, 4 layers, patch 8 at 64 pixels (fixed); two-layer projector; "
    "Llama decoder 128 wide, 6 layers. 64 image tokens.",
    "qwen2.5-vl-tiny": "vision tower 128 wide, 4 layers (two windowed, two full), patch 8, merge 2; "
    "Qwen2.5 decoder 128 wide, 6 layers, 4 query and 2 key/value heads. (size / 16)^2 image tokens; "
    "any size in multiples of 16.",
    "fuyu-tiny": "no vision tower: patches of 8 pixels go through one linear map into a Persimmon decoder "
    "192 wide, 6 layers. (size / 8)^2 image tokens and size / 8 row ends; any size.",
}

WEAK = (
    "Yes/no questions of easy-VQA and multiple choice stand close to what the text alone gives: this "
    "checkpoint sees, reads and describes, but has hardly learned to compare. Do not use its "
    "multiple-choice score as a measure of anything but that. "
)
NOTES = {
    "llava-tiny": WEAK + "Phase two was run in two legs: 600 steps of a 1,000-step schedule without the "
    "choice marks, then 450 steps with them (see `training.json`), so one uninterrupted run of the script "
    "gives a model of the same kind, not this one.",
    "qwen2.5-vl-tiny": WEAK + "The schedule is short for it: words and numbers still improved at the end.",
    "fuyu-tiny": "Undertrained: its decoder has to see and to answer, and the schedule is short for that. "
    "On yes/no questions and multiple choice it does no better than a guesser that has only the text; "
    "reading and captions are well above chance and often wrong.",
}


def _prior(pairs: list[tuple[str, str]], test: list[tuple[str, str]]) -> float:
    """Accuracy of answering each question with its most common training answer."""
    by_question: dict[str, Counter[str]] = {}
    for question, answer in pairs:
        by_question.setdefault(question, Counter())[answer] += 1
    overall = Counter(answer for _, answer in pairs).most_common(1)[0][0]
    guesses = {question: counts.most_common(1)[0][0] for question, counts in by_question.items()}
    return sum(guesses.get(question, overall) == answer for question, answer in test) / len(test)


@cache
def baselines() -> dict[str, float]:
    """What a guesser that never sees the image reaches, per task."""
    train = [pair for image in easy_images("train") for pair in image.questions]
    test = [pair for image in easy_images("test") for pair in image.questions]
    yes_no = [pair for pair in test if pair[1] in ("yes", "no")]
    result = {
        "easy_vqa": _prior(train, test),
        "easy_vqa_yes_no": _prior(train, yes_no),
        "easy_vqa_open": _prior(train, [pair for pair in test if pair[1] not in ("yes", "no")]),
    }
    drawn, held_out = drawn_examples(1, "train", 3000), drawn_examples(2, "dev", 1000)
    for task in ("word", "number", "caption", "scene", "chart"):
        pairs = [(e.text, e.answer) for e in drawn if e.task == task]
        result[task] = _prior(pairs, [(e.text, e.answer) for e in held_out if e.task == task])
    for task in ("choice_scene", "choice_chart"):
        counts = [sum(f"\n{letter}. " in e.text for letter in "ABCD") for e in drawn if e.task == task]
        result[task] = sum(1 / count for count in counts) / len(counts)
    return result


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _sizes(scores: dict[str, Any]) -> str:
    sizes: dict[str, dict[str, float]] = scores["by_image_size"]
    if not sizes:
        return (
            "The tower has a learned position table for 64 pixels, so this checkpoint takes one size; a\n"
            "smaller image is one that was scaled down before it is given to the processor."
        )
    rows = [
        f"| {size} | " + " | ".join(_percent(found[task]) for task in ("word", "number", "easy_vqa")) + " |"
        for size, found in sizes.items()
    ]
    head = "Pass `size=` to the processor. On textvqa-mini and a seeded part of the easy-VQA test split:\n"
    columns = ["| image size | word | number | easy-VQA (500 questions) |", "| --- | --- | --- | --- |"]
    return "\n".join([head, *columns, *rows])


def _usage(name: str) -> str:
    _, model, processor = CLASSES[name]
    imports = [f"from transformers import {model}", f"from vlmnb.models.processors import {processor}", ""]
    if name == "llava-tiny":
        imports = [f"from transformers import {model}, {processor}", ""]
    loads = [
        f'{x} = {y}.from_pretrained("models/{name}")' for x, y in (("model", model), ("processor", processor))
    ]
    return "\n".join(imports + loads)


def card(name: str, folder: Path) -> str:
    """The text of the model card."""
    scores = json.loads((folder / "scores.json").read_text())
    training = json.loads((folder / "training.json").read_text())
    guess = baselines()
    rows = [
        f"| {title} | {_percent(scores['tasks'][task]['accuracy'])} | {_percent(guess[task])} ({how}) "
        f"| {scores['tasks'][task]['n']} |"
        for task, (title, how) in TASKS.items()
    ]
    mixed = "" if name == "llava-tiny" else " Images at 64 pixels (55 %), 32, 96 and 128."
    template = Template(Path(__file__).with_name("card.md").read_text())
    return template.substitute(
        name=name,
        family=CLASSES[name][0],
        millions=f"{scores['parameters'] / 1e6:.2f}",
        geometry=GEOMETRY[name],
        usage=_usage(name),
        rows="\n".join(rows),
        sizes=_sizes(scores),
        notes="\n".join(textwrap.wrap(NOTES[name], 110)) + "\n\n",
        minutes=f"{training['seconds'] / 60:.0f}",
        mixed=mixed,
        steps="600 + 450" if name == "llava-tiny" else training["recipe"]["steps"],
        **{key: training["recipe"][key] for key in ("seed", "eye_steps", "images")},
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or MODELS / arguments.name
    (folder / "README.md").write_text(card(arguments.name, folder))


if __name__ == "__main__":
    main()
