"""The easy-VQA pictures: whole splits as they are published, and balanced questions for training.

The form of a published question predicts its answer: a negated question is mostly "yes", any other mostly
"no", which answers 82.5 % of the yes/no questions without the image. Training questions are therefore made
anew from the published wordings, with every form half "yes" and half "no".
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import easy_vqa
from PIL import Image

from models.training.questions import ABSENT, PRESENT, Task, short
from models.training.words import Split

EASY_COLORS = ("red", "green", "blue", "black", "gray", "teal", "brown", "yellow")
EASY_SHAPES = ("circle", "rectangle", "triangle")
POSITIVE = (
    "is there a {}?",
    "is there a {} in the image?",
    "does the image contain a {}?",
    "is a {} present?",
)
NEGATED = (
    "is there not a {}?",
    "is there not a {} in the image?",
    "does the image not contain a {}?",
    "is no {} present?",
)
ASK_COLOR = (
    "what color is the shape?",
    "what is the color of the shape?",
    "what color is the {}?",
    "what is the color of the {}?",
)
ASK_SHAPE = (
    "what shape is in the image?",
    "what shape does the image contain?",
    "what shape is present?",
    "what is the {} shape?",
)
NEGATED_SHARE = 0.3
DEV_FRACTION = 0.1


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
def easy_pixels(path: Path) -> Image.Image:
    """The pixels of one image."""
    with Image.open(path) as image:
        return image.convert("RGB")


def is_negated(question: str) -> bool:
    """Whether a yes/no question asks for an absence."""
    return " not " in question or " no " in question


def easy_truth(image: EasyImage) -> tuple[str | None, str | None]:
    """Colour and shape as far as the questions of an image give them away."""
    color = shape = None
    for question, answer in image.questions:
        color = answer if answer in EASY_COLORS else color
        shape = answer if answer in EASY_SHAPES else shape
        if answer not in ("yes", "no") or (answer == "yes") != is_negated(question):
            words = question.rstrip("?").split()
            color = next((c for c in EASY_COLORS if c in words), color)
            shape = next((s for s in EASY_SHAPES if s in words), shape)
    return color, shape


@cache
def known_images(split: Split) -> tuple[tuple[EasyImage, str, str], ...]:
    """The images whose colour and shape are both known, with them."""
    found = [(image, *easy_truth(image)) for image in easy_images(split)]
    return tuple((image, color, shape) for image, color, shape in found if color and shape)


def presence(rng: random.Random, true: str, other: str, noun: str = "") -> Task:
    """A yes/no question about a thing that is there or another that is not, in either form.

    Negated ones are the fewer: were there as many, presence alone would say nothing about the answer (nor
    does the form), and nothing would pull a model towards looking.

    Args:
        rng: Source of form and wording.
        true: The word for what the image shows.
        other: The word for something it does not show.
        noun: What follows the word, ``" shape"`` after a colour.
    """
    negated, asked_true = rng.random() < NEGATED_SHARE, rng.random() < 0.5
    before, after = rng.choice(NEGATED if negated else POSITIVE).split("{}")
    word = true if asked_true else other
    task = short("yes_no", f"{before}{word}{noun}{after}", "yes" if asked_true != negated else "no")
    return replace(task, marks=((len(before + word), PRESENT if asked_true else ABSENT),))


def easy_tasks(rng: random.Random, color: str, shape: str, count: int = 8) -> list[Task]:
    """Different questions about one image, two open ones and the rest yes/no."""
    tasks = {
        short("easy", rng.choice(ASK_COLOR).format(shape), color),
        short("easy", rng.choice(ASK_SHAPE).format(color), shape),
    }
    while len(tasks) < count:
        if rng.random() < 0.5:
            other = rng.choice([c for c in EASY_COLORS if c != color])
            tasks.add(presence(rng, color, other, " shape"))
        else:
            tasks.add(presence(rng, shape, rng.choice([s for s in EASY_SHAPES if s != shape])))
    return sorted(tasks, key=lambda task: task.text)
