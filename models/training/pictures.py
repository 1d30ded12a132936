"""Training pictures, drawn or of easy-VQA, with their questions and the attributes phase one learns."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import easy_vqa
from PIL import Image, ImageOps

from models.training.drawing import (
    COLORS,
    SHAPES,
    SIDE,
    Chart,
    Facts,
    Scene,
    Sign,
    draw_chart,
    draw_scene,
    draw_sign,
)
from models.training.questions import (
    Task,
    binding,
    caption,
    chart_question,
    choice_question,
    letter_question,
    scene_question,
    short,
    sign_choice,
    sign_question,
)
from models.training.words import Split

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
EASY_COLORS = ("red", "green", "blue", "black", "gray", "teal", "brown", "yellow")
EASY_SHAPES = ("circle", "rectangle", "triangle")
SLOTS: dict[str, int] = {
    **{f"scene_color_{i}": len(COLORS) + 1 for i in range(3)},
    **{f"scene_shape_{i}": len(SHAPES) + 1 for i in range(3)},
    "scene_vertical": 2,
    **{f"bar_color_{i}": len(COLORS) + 1 for i in range(4)},
    **{f"bar_rank_{i}": 5 for i in range(4)},
    **{f"character_{i}": len(CHARACTERS) + 1 for i in range(5)},
    "easy_color": len(EASY_COLORS),
    "easy_shape": len(EASY_SHAPES),
}
MIXTURE = {"sign": 0.36, "scene": 0.22, "chart": 0.22, "easy": 0.20}
EYE_MIXTURE = {"sign": 0.62, "scene": 0.14, "chart": 0.12, "easy": 0.12}
DEV_FRACTION = 0.1


@dataclass
class Picture:
    """One image, its questions, and the attributes that the throw-away heads learn."""

    image: Image.Image
    tasks: list[Task]
    slots: dict[str, int] = field(default_factory=dict)
    sign: Sign | None = None


@dataclass(frozen=True)
class EasyImage:
    """One easy-VQA image: its file and its ``(question, answer)`` pairs."""

    path: Path
    questions: tuple[tuple[str, str], ...]


@cache
def easy_images(split: Split) -> tuple[EasyImage, ...]:
    """The images of an easy-VQA split; development images are the last tenth of the train split."""
    if split == "test":
        questions, paths = easy_vqa.get_test_questions(), easy_vqa.get_test_image_paths()
    else:
        questions, paths = easy_vqa.get_train_questions(), easy_vqa.get_train_image_paths()
    by_image: dict[int, list[tuple[str, str]]] = {}
    for question, answer, image_id in zip(*questions, strict=True):
        by_image.setdefault(image_id, []).append((question, answer))
    images = [EasyImage(Path(paths[i]), tuple(pairs)) for i, pairs in sorted(by_image.items())]
    cut = int(len(images) * (1 - DEV_FRACTION))
    return tuple(images if split == "test" else images[:cut] if split == "train" else images[cut:])


@cache
def _easy_pixels(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _easy_truth(image: EasyImage) -> tuple[str | None, str | None]:
    """Colour and shape as far as the questions of an image give them away."""
    color = shape = None
    for question, answer in image.questions:
        color = answer if answer in EASY_COLORS else color
        shape = answer if answer in EASY_SHAPES else shape
        positive = (answer == "yes") != (" not " in question or " no " in question)
        if positive and answer in ("yes", "no"):
            words = question.rstrip("?").split()
            color = next((c for c in EASY_COLORS if c in words), color)
            shape = next((s for s in EASY_SHAPES if s in words), shape)
    return color, shape


def easy_picture(rng: random.Random, split: Split, count: int = 5) -> Picture:
    """An easy-VQA image, flipped at random, with a balance of yes, no and open questions."""
    source = rng.choice(easy_images(split))
    image = _easy_pixels(source.path)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.3:
        image = ImageOps.flip(image) if "triangle" not in str(source.questions) else image
    kinds: dict[str, list[tuple[str, str]]] = {"yes": [], "no": [], "open": []}
    for pair in source.questions:
        kinds[pair[1] if pair[1] in kinds else "open"].append(pair)
    groups = [group for group in kinds.values() if group]
    chosen = {rng.choice(rng.choice(groups)) for _ in range(count)}
    tasks = [short("easy", question, answer) for question, answer in sorted(chosen)]
    rng.shuffle(tasks)
    color, shape = _easy_truth(source)
    slots = {} if color is None else {"easy_color": EASY_COLORS.index(color)}
    if shape is not None:
        slots["easy_shape"] = EASY_SHAPES.index(shape)
    return Picture(image, tasks, slots)


def _scene_slots(scene: Scene) -> dict[str, int]:
    slots = {"scene_vertical": int(scene.vertical)}
    for i in range(3):
        item = scene.items[i] if i < len(scene.items) else None
        slots[f"scene_color_{i}"] = list(COLORS).index(item.color) if item else len(COLORS)
        slots[f"scene_shape_{i}"] = SHAPES.index(item.shape) if item else len(SHAPES)
    return slots


def _chart_slots(chart: Chart) -> dict[str, int]:
    ranked = chart.ranked()
    slots = {}
    for i in range(4):
        color = chart.bars[i][0] if i < len(chart.bars) else None
        slots[f"bar_color_{i}"] = list(COLORS).index(color) if color else len(COLORS)
        slots[f"bar_rank_{i}"] = ranked.index(color) if color else 4
    return slots


def _sign_slots(sign: Sign) -> dict[str, int]:
    places = [CHARACTERS.index(c) for c in sign.text] + [len(CHARACTERS)] * 5
    return {f"character_{i}": places[i] for i in range(5)}


def _choice_tasks(rng: random.Random, facts: Scene | Chart, kind: str) -> list[Task]:
    """Two multiple-choice questions, one of them with its long hint."""
    return [
        choice_question(rng, facts).task(f"choice_{kind}", with_hint=True),
        choice_question(rng, facts).task(f"choice_{kind}", with_hint=False),
    ]


def draw_picture(
    rng: random.Random, split: Split, kind: str | None = None, mixture: dict[str, float] = MIXTURE
) -> Picture:
    """A picture of a kind drawn from a mixture (or of a given kind) with its questions."""
    kind = kind or rng.choices(list(mixture), list(mixture.values()))[0]
    if kind == "easy":
        picture = easy_picture(rng, split)
        picture.tasks.append(binding(rng))
        return picture
    facts: Facts
    if kind == "sign":
        image, facts = draw_sign(rng, split)
        tasks = [sign_question(rng, facts), letter_question(rng, facts)]
        tasks.append(sign_choice(rng, facts, split) if rng.random() < 0.3 else letter_question(rng, facts))
        tasks.append(binding(rng))
        return Picture(image, tasks, _sign_slots(facts), facts)
    if kind == "scene":
        image, facts = draw_scene(rng)
        tasks = [caption(facts), scene_question(rng, facts), *_choice_tasks(rng, facts, "scene")]
        return Picture(image, tasks, _scene_slots(facts))
    image, facts = draw_chart(rng)
    tasks = [chart_question(rng, facts), chart_question(rng, facts), *_choice_tasks(rng, facts, "chart")]
    return Picture(image, tasks, _chart_slots(facts))


def cell_maps(sign: Sign | None, grid: int, causal: bool) -> tuple[list[int], list[int]]:
    """For each cell of a ``grid * grid`` image: the character named there (or none), its place in the word.

    Args:
        sign: What the picture shows, if it is a sign.
        grid: Cells per side.
        causal: Name a character in the cell of its lower right corner, the first that has seen all of it in
            reading order, instead of in the cell of its centre.
    """
    characters, places = [len(CHARACTERS)] * grid**2, [5] * grid**2
    for i, (left, top, right, bottom) in enumerate(sign.boxes if sign else ()):
        x = right - 2 if causal else (left + right) / 2
        y = bottom - 1 if causal else (top + bottom) / 2
        cell = min(grid - 1, int(y / SIDE * grid)) * grid + min(grid - 1, int(x / SIDE * grid))
        characters[cell], places[cell] = CHARACTERS.index(sign.text[i]) if sign else 0, i
    return characters, places
