"""Training pictures, drawn or of easy-VQA, with their questions and the attributes phase one learns."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

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
from models.training.easy import EASY_COLORS, EASY_SHAPES, easy_pixels, easy_tasks, known_images, presence
from models.training.questions import (
    ORDINALS,
    Task,
    binding,
    caption,
    captions,
    chart_question,
    choice_question,
    letter_question,
    scene_question,
    sign_choice,
    sign_question,
)
from models.training.words import Split

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
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
MIXTURE = {"sign": 0.32, "scene": 0.23, "chart": 0.21, "easy": 0.24}
EYE_MIXTURE = {"sign": 0.62, "scene": 0.14, "chart": 0.12, "easy": 0.12}


@dataclass
class Picture:
    """One image, its questions, its content in words, and the attributes that the throw-away heads learn."""

    image: Image.Image
    tasks: list[Task]
    description: str = ""
    slots: dict[str, int] = field(default_factory=dict)
    sign: Sign | None = None


def easy_picture(rng: random.Random, split: Split) -> Picture:
    """An easy-VQA image, flipped at random, with balanced questions."""
    source, color, shape = rng.choice(known_images(split))
    image = easy_pixels(source.path)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.3 and shape != "triangle":
        image = ImageOps.flip(image)
    slots = {"easy_color": EASY_COLORS.index(color), "easy_shape": EASY_SHAPES.index(shape)}
    return Picture(image, easy_tasks(rng, color, shape), f" {color} {shape}", slots)


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
    """Two multiple-choice questions, the first now and then with its long hint."""
    return [
        choice_question(rng, facts).task(f"choice_{kind}", with_hint=rng.random() < 0.4),
        choice_question(rng, facts).task(f"choice_{kind}", with_hint=False),
    ]


def _scene_presence(rng: random.Random, scene: Scene) -> Task:
    """A yes/no question about a colour or a shape of a scene."""
    if rng.random() < 0.5:
        there = {item.color for item in scene.items}
        color, other = rng.choice(sorted(there)), rng.choice([c for c in COLORS if c not in there])
        return presence(rng, color, other, " shape")
    kinds = {item.shape for item in scene.items}
    return presence(rng, rng.choice(sorted(kinds)), rng.choice([s for s in SHAPES if s not in kinds]))


def _chart_words(chart: Chart) -> str:
    """A chart in words: each bar, from the left, with its rank."""
    ranked = chart.ranked()
    ranks = ["tallest", *ORDINALS[1 : len(ranked) - 1], "shortest"]
    return "".join(f" {color} {ranks[ranked.index(color)]}" for color, _ in chart.bars)


def draw_picture(
    rng: random.Random, split: Split, kind: str | None = None, mixture: dict[str, float] = MIXTURE
) -> Picture:
    """A picture of a kind drawn from a mixture (or of a given kind) with its questions."""
    kind = kind or rng.choices(list(mixture), list(mixture.values()))[0]
    if kind == "easy":
        return easy_picture(rng, split)
    facts: Facts
    if kind == "sign":
        image, facts = draw_sign(rng, split)
        tasks = [sign_question(rng, facts), letter_question(rng, facts)]
        tasks.append(sign_choice(rng, facts, split) if rng.random() < 0.3 else letter_question(rng, facts))
        tasks.append(binding(rng))
        return Picture(image, tasks, facts.text, _sign_slots(facts), facts)
    if kind == "scene":
        image, facts = draw_scene(rng)
        tasks = [caption(facts), scene_question(rng, facts), _scene_presence(rng, facts)]
        words = " " + captions(facts)[0]
        return Picture(image, tasks + _choice_tasks(rng, facts, "scene"), words, _scene_slots(facts))
    image, facts = draw_chart(rng)
    tasks = [chart_question(rng, facts), chart_question(rng, facts)]
    return Picture(
        image, tasks + _choice_tasks(rng, facts, "chart"), _chart_words(facts), _chart_slots(facts)
    )


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
