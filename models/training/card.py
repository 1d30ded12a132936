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
from models.training.easy import easy_images
from models.training.evaluate import drawn_examples
from models.training.stream import SIZES

EASY_TEST = 9673
"""Questions of the test split of easy-VQA."""
TASKS = {
    "easy_vqa": ("easy-VQA, whole test split", "question alone"),
    "easy_vqa_yes_no": ("- its yes/no questions", "question alone"),
    "easy_vqa_open": ("- its open questions", "question alone"),
    "word": ("reading a word (textvqa-mini)", "unseen words"),
    "number": ("reading a number (textvqa-mini)", "unseen numbers"),
    "caption": ("caption, exact (coco-mini)", "exact match of a whole sentence"),
    "scene": ("short questions about scenes", "most common answer"),
    "chart": ("short questions about bar charts", "most common answer"),
    "choice_scene": ("multiple choice, scenes (scienceqa-mini)", "question and number of choices"),
    "choice_chart": ("multiple choice, bar charts (scienceqa-mini)", "question and number of choices"),
}
CLASSES = {
    "llava-tiny": ("LLaVA-1.5", "LlavaForConditionalGeneration", "LlavaProcessor"),
    "qwen2.5-vl-tiny": ("Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration", "ImageOnlyQwen2_5_VLProcessor"),
    "fuyu-tiny": ("Fuyu", "FuyuForCausalLM", "ImageOnlyFuyuProcessor"),
    "smolvlm-tiny": ("SmolVLM", "Idefics3ForConditionalGeneration", "Idefics3Processor"),
}
PROCESSOR_MODULES = {
    "qwen2.5-vl-tiny": "vlmnb.models.processors.qwen2_5_vl",
    "fuyu-tiny": "vlmnb.models.processors.fuyu",
}
GEOMETRY = {
    "llava-tiny": "CLIP tower 128 wide, 4 layers, patch 8 at 64 pixels (fixed); two-layer projector; "
    "Llama decoder 128 wide, 6 layers. 64 image tokens.",
    "qwen2.5-vl-tiny": "vision tower 128 wide, 4 layers (two windowed, two full), patch 8, merge 2; "
    "Qwen2.5 decoder 128 wide, 6 layers, 4 query and 2 key/value heads. (size / 16)^2 image tokens; "
    "any size in multiples of 16.",
    "fuyu-tiny": "no vision tower: patches of 8 pixels go through one linear map into a Persimmon decoder "
    "128 wide, 9 layers. (size / 8)^2 image tokens and size / 8 row ends; any size.",
    "smolvlm-tiny": "tiles of 64 pixels; tower 128 wide, 4 layers, patch 8; pixel shuffle by 2 into one "
    "linear map; Llama decoder 128 wide, 6 layers. 16 image tokens for a tile and, where there are several "
    "tiles, for the whole picture made small. Published SmolVLMs enlarge every picture first; this processor "
    "cuts a picture at its own size, so the number of tiles follows it.",
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
        pairs = [(_without_choices(e.text), e.answer) for e in drawn if e.task == task]
        result[task] = _prior(
            pairs, [(_without_choices(e.text), e.answer) for e in held_out if e.task == task]
        )
    return result


def _without_choices(text: str) -> str:
    """A multiple-choice question as a guesser knows it: the question and how many choices there are."""
    question = next(line for line in text.split("\n") if line.endswith("?"))
    return f"{question} {sum(f'{letter}. ' in text for letter in 'ABCD')}"


def _verdict(scores: dict[str, Any], guess: dict[str, float]) -> str:
    """What the scores say that it can do in part or not at all; two standard errors decide about guessing."""
    weak, partly = [], []
    for task, (title, _) in TASKS.items():
        accuracy, n = scores["tasks"][task]["accuracy"], scores["tasks"][task]["n"]
        error = max(guess[task] * (1 - guess[task]) / n, 1e-6) ** 0.5
        title = title.removeprefix("- its ")
        if accuracy < guess[task] + 2 * error:
            weak.append(title)
        elif accuracy < 0.7:
            partly.append(f"{title} ({_percent(accuracy)})")
    lines = []
    if weak:
        lines.append(f"Not told apart from guessing without the image: {'; '.join(weak)}.")
    if partly:
        lines.append(f"Above guessing, and often wrong: {'; '.join(partly)}.")
    return " ".join(lines) or "All tasks stand well above what a guesser without the image reaches."


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
    how = "Pass `size=` to the processor."
    if scores["model"] == "smolvlm-tiny":
        how = "Pictures are resized before they are given to the processor; 96 pixels are cut as 128 are."
    asked = min(500, scores["tasks"]["easy_vqa"]["n"])
    head = f"{how} On textvqa-mini and a seeded part of the easy-VQA test split:\n"
    columns = [f"| image size | word | number | easy-VQA ({asked} questions) |", "| --- | --- | --- | --- |"]
    return "\n".join([head, *columns, *rows])


DATA = (
    "Data: pictures drawn on the fly (signs, scenes of two or three shapes, bar charts; `models/training/`), "
    "and the images of the easy-VQA train split but its last tenth (easy-VQA 1.0, MIT license, from its PyPI "
    "package), {}. 15 % of the prompts are cut at a random place behind the question."
)
PUBLISHED = "with its questions as published, in a balance of yes, no and open ones"
MADE = (
    "with questions made from the published wordings such that the form of a yes/no question says nothing "
    "about its answer"
)
EARLIER = (
    "This checkpoint comes from an earlier form of the script, without the stage on text and without "
    "balanced yes/no questions, so the command above gives another model; as far as its present recipe was "
    "run, that was a worse one."
)


def _stages(recipe: dict[str, Any]) -> str:
    """The stages of the run, in their order."""
    eye = (
        f"{recipe['eye_steps']} steps of {recipe['eye_images']} images: the eye learns to see with "
        "throw-away heads"
    )
    last = (
        f"{recipe['steps']} steps of {recipe['images']} images with several packed questions each, "
        "loss on answers only"
    )
    if recipe.get("start"):
        start = (
            f"The weights start from {recipe['start']}: decoder, words and tower are copied, the projector "
            "is fitted by least squares (`models/training/inherit.py`)"
        )
        return _numbered([start, *([eye] if recipe["eye_steps"] else []), last])
    if "text_steps" not in recipe:
        return _numbered([eye, last])
    text = (
        f"{recipe['text_steps']} steps of {recipe['text_rows']} descriptions in words, with the questions a "
        "picture would get: the decoder alone learns to look up, to compare and to name a choice"
    )
    kept = f", with {recipe['text_images']} images in each step to keep up its seeing"
    first = [eye, text + kept] if recipe["text_images"] else [text, eye]
    return _numbered([*first, last])


def _numbered(stages: list[str]) -> str:
    stages = [f"{i + 1}. {stage}." for i, stage in enumerate(stages)]
    return "\n".join(line for stage in stages for line in textwrap.wrap(stage, 110, subsequent_indent="   "))


def _usage(name: str) -> str:
    _, model, processor = CLASSES[name]
    imports = [f"from transformers import {model}", ""]
    if name in PROCESSOR_MODULES:
        imports.insert(1, f"from {PROCESSOR_MODULES[name]} import {processor}")
    else:
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
    all_of_it = scores["tasks"]["easy_vqa"]["n"] == EASY_TEST
    rows = [
        f"| {title if all_of_it else title.replace('whole', 'part of the')} "
        f"| {_percent(scores['tasks'][task]['accuracy'])} | {_percent(guess[task])} ({how}) "
        f"| {scores['tasks'][task]['n']} |"
        for task, (title, how) in TASKS.items()
    ]
    shares = ", ".join(f"{size} ({share:.0%})" for size, share in SIZES)
    start = training["recipe"].get("start")
    earlier = "text_steps" not in training["recipe"]
    shares = "64 (55%), 32, 96 and 128" if earlier else shares
    mixed = "" if name == "llava-tiny" else f" Image sizes in pixels: {shares}."
    template = Template(Path(__file__).with_name("card.md").read_text())
    return template.substitute(
        name=name,
        family=CLASSES[name][0],
        millions=f"{scores['parameters'] / 1e6:.2f}",
        geometry=GEOMETRY[name],
        usage=_usage(name),
        rows="\n".join(rows),
        sizes=_sizes(scores),
        # A line that begins with % would be a comment in Markdown.
        verdict="\n".join(
            line.replace("~%", " %")
            for line in textwrap.wrap(_verdict(scores, guess).replace(" %", "~%"), 110)
        ),
        minutes=f"{training['seconds'] / 60:.0f}",
        stages=_stages(training["recipe"]),
        cores="two cores" if earlier else "one thread",
        data="\n".join(textwrap.wrap(DATA.format(PUBLISHED if earlier else MADE) + mixed, 110)),
        provenance="\n".join(["", *textwrap.wrap(EARLIER, 110), ""]) if earlier else "",
        seed=training["recipe"]["seed"],
        **{"from": f"from the weights of {start}" if start else "from scratch"},
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
