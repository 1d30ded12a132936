"""Questions and answers about drawn pictures, worded by `vlmnb.data.prompts`.

A `Task` carries the text put to the model, the answer it must give, and where the question proper ends: a
prompt cut anywhere behind that place is still a question.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from models.training.drawing import COLORS, SHAPES, Chart, Facts, Scene, Sign
from models.training.words import COMMON_WORDS, Split, made_up_word
from vlmnb.data.prompts import CAPTION, letter_of, multiple_choice_prompt, short_answer_prompt

ORDINALS = ("first", "second", "third", "fourth", "fifth")
SIGN_WORD = (
    "what does the sign say?",
    "what word is on the sign?",
    "what is written on the sign?",
    "which word is shown here?",
)
SIGN_NUMBER = (
    "what number is on the sign?",
    "what is the number shown here?",
    "which number does the sign show?",
)
WRONG, RIGHT, ABSENT, PRESENT = range(4)


@dataclass(frozen=True)
class Task:
    """One question: its kind, the prompt text, the answer, and the length of the question proper.

    ``marks`` holds places in the text and what is known there: where each choice of a multiple-choice
    question ends, whether it is right; where the thing that a yes/no question asks about ends, whether it is
    present.
    """

    kind: str
    text: str
    answer: str
    question_end: int
    marks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Choice:
    """A multiple-choice question with its hint, choices and the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int
    hint: str
    skill: str

    def task(self, kind: str, with_hint: bool = True) -> Task:
        """The prompt of this question, with or without its hint."""
        text = multiple_choice_prompt(self.question, self.choices, self.hint if with_hint else "")
        end = text.index(self.question) + len(self.question)
        marks = []
        place = end
        for i, choice in enumerate(self.choices):
            place = text.index(f"\n{letter_of(i)}. {choice}\n", place) + 4 + len(choice)
            marks.append((place, RIGHT if i == self.answer else WRONG))
        return Task(kind, text, letter_of(self.answer), end, tuple(marks))


def short(kind: str, question: str, answer: str) -> Task:
    """A question with a one-phrase answer."""
    return Task(kind, short_answer_prompt(question), answer, len(question))


def captions(scene: Scene) -> list[str]:
    """Five true wordings of what a scene shows; the first is the one the models learn to give."""
    names = [item.name for item in scene.items]
    a = ["an " + n if n[0] in "aeiou" else "a " + n for n in names]
    if len(names) == 3:
        return [
            f"{a[0]}, {a[1]} and {a[2]}",
            f"from left to right, {a[0]}, {a[1]} and {a[2]}",
            f"three shapes: {a[0]}, {a[1]} and {a[2]}",
            f"there is {a[0]}, then {a[1]}, then {a[2]}",
            f"{a[2]} to the right of {a[1]} and {a[0]}",
        ]
    if scene.vertical:
        return [
            f"{a[0]} above {a[1]}",
            f"{a[1]} below {a[0]}",
            f"there is {a[0]} over {a[1]}",
            f"two shapes: {a[0]} at the top and {a[1]} at the bottom",
            f"{a[0]} higher up than {a[1]}",
        ]
    return [
        f"{a[0]} to the left of {a[1]}",
        f"{a[1]} to the right of {a[0]}",
        f"there is {a[0]} left of {a[1]}",
        f"two shapes: {a[0]} on the left and {a[1]} on the right",
        f"{a[0]} beside {a[1]}, which is on the right",
    ]


def caption(scene: Scene) -> Task:
    """The request for a caption of a scene."""
    text = CAPTION
    return Task("caption", text, captions(scene)[0], len(text))


def scene_question(rng: random.Random, scene: Scene) -> Task:
    """A short-answer question about a colour, a shape, a place or a count."""
    item = rng.choice(scene.items)
    kind = rng.randrange(4)
    same_shape = [other for other in scene.items if other.shape == item.shape]
    same_color = [other for other in scene.items if other.color == item.color]
    if kind == 0 and len(same_shape) == 1:
        return short("scene", f"what color is the {item.shape}?", item.color)
    if kind == 1 and len(same_color) == 1:
        return short("scene", f"what is the {item.color} shape?", item.shape)
    if kind == 2:
        return short("scene", "how many shapes are in the image?", str(len(scene.items)))
    place, found = _extreme(rng, scene)
    return short("scene", f"what is {place}?", scene.items[found].name)


def _extreme(rng: random.Random, scene: Scene) -> tuple[str, int]:
    last = rng.random() < 0.5
    if scene.vertical:
        return ("at the bottom" if last else "at the top"), (-1 if last else 0)
    return ("on the right" if last else "on the left"), (-1 if last else 0)


def chart_question(rng: random.Random, chart: Chart) -> Task:
    """A short-answer question about the tallest or shortest bar, the count, or a comparison."""
    ranked = chart.ranked()
    kind = rng.randrange(8)
    if kind < 3:
        return short("chart", "which bar is the tallest?", ranked[0])
    if kind < 5:
        return short("chart", "which bar is the shortest?", ranked[-1])
    if kind < 6:
        return short("chart", "how many bars are in the chart?", str(len(ranked)))
    one, other = rng.sample(ranked, 2)
    taller = ranked.index(one) < ranked.index(other)
    return short("chart", f"is the {one} bar taller than the {other} bar?", "yes" if taller else "no")


def sign_question(rng: random.Random, sign: Sign) -> Task:
    """The question a sign answers: its word or its number."""
    if sign.is_number:
        return short("number", rng.choice(SIGN_NUMBER), sign.text)
    return short("word", rng.choice(SIGN_WORD), sign.text)


def letter_question(rng: random.Random, sign: Sign) -> Task:
    """One character of a sign, by its place; a training exercise only."""
    i = rng.randrange(len(sign.text))
    what = "digit" if sign.is_number else "letter"
    return short("letter", f"what is the {ORDINALS[i]} {what} on the sign?", sign.text[i])


_FIRST = (
    "Look at the {picture} before you answer.",
    "The {picture} was made for a science class.",
    "A student made this {picture} for a lesson.",
    "Use the {picture} to answer the question.",
)
_SCENE_MIDDLE = (
    "It shows a few shapes on a plain background, and each shape has just one color.",
    "Each shape in it has one color, and no shape covers any part of the others.",
    "Shapes in it can be small or large, but the size of a shape does not matter here.",
)
_CHART_MIDDLE = (
    "It shows one bar for each group, and the height of a bar tells how many were counted.",
    "Each bar stands for one group, and a taller bar means that the group is larger.",
    "All bars start from the same line at the bottom, so their heights can be compared.",
)
_LAST = (
    "Read all of the choices with care.",
    "Only one of the choices is right.",
    "There is one right answer below.",
)


def hint_for(rng: random.Random, facts: Facts) -> str:
    """A context passage of two or three sentences that does not give the answer away."""
    is_chart = isinstance(facts, Chart)
    first = rng.choice(_FIRST).format(picture="chart" if is_chart else "diagram")
    sentences = [first, rng.choice(_CHART_MIDDLE if is_chart else _SCENE_MIDDLE)]
    if rng.random() < 0.6:
        sentences.append(rng.choice(_LAST))
    return " ".join(sentences)


def _choices(
    rng: random.Random, right: str, pool: Sequence[str], fixed: bool = False
) -> tuple[tuple[str, ...], int]:
    """The right choice among one to three wrong ones, shuffled (or in the pool's order)."""
    wrong = [option for option in pool if option != right]
    options = [right, *rng.sample(wrong, min(rng.choice((1, 2, 2, 3)), len(wrong)))]
    if fixed:
        options.sort(key=list(pool).index)
    else:
        rng.shuffle(options)
    return tuple(options), options.index(right)


def scene_choice(rng: random.Random, scene: Scene) -> Choice:
    """A multiple-choice question about a scene."""
    hint = hint_for(rng, scene)
    item = rng.choice(scene.items)
    kind = rng.randrange(3)
    if kind == 0 and sum(other.shape == item.shape for other in scene.items) == 1:
        choices, answer = _choices(rng, item.color, list(COLORS))
        return Choice(f"What color is the {item.shape} in the diagram?", choices, answer, hint, "colors")
    if kind == 1 and sum(other.color == item.color for other in scene.items) == 1:
        choices, answer = _choices(rng, item.shape, SHAPES)
        return Choice(f"Which shape in the diagram is {item.color}?", choices, answer, hint, "shapes")
    place, found = _extreme(rng, scene)
    right = scene.items[found]
    present = [other.name for other in scene.items if other is not right]
    absent = [f"{c} {s}" for c in COLORS for s in SHAPES if f"{c} {s}" not in {i.name for i in scene.items}]
    pool = [right.name, *present, *rng.sample(absent, 3 - len(present))]
    choices, answer = _choices(rng, right.name, pool)
    return Choice(f"Which shape is {place} of the diagram?", choices, answer, hint, "places")


def chart_choice(rng: random.Random, chart: Chart) -> Choice:
    """A multiple-choice question about a bar chart."""
    hint = hint_for(rng, chart)
    ranked = chart.ranked()
    kind = rng.randrange(5)
    if kind == 4:
        choices, answer = _choices(rng, str(len(ranked)), ("2", "3", "4", "5"), fixed=True)
        return Choice("How many bars are there in the chart?", choices, answer, hint, "counts")
    word, right = ("tallest", ranked[0]) if kind < 2 else ("shortest", ranked[-1])
    pool = ranked + [c for c in COLORS if c not in ranked][: max(0, 3 - len(ranked))]
    choices, answer = _choices(rng, right, pool)
    return Choice(f"Which bar is the {word} one in the chart?", choices, answer, hint, "heights")


def choice_question(rng: random.Random, facts: Scene | Chart) -> Choice:
    """A multiple-choice question about a scene or a chart."""
    return scene_choice(rng, facts) if isinstance(facts, Scene) else chart_choice(rng, facts)


def sign_choice(rng: random.Random, sign: Sign, split: Split) -> Task:
    """Which of some words a sign shows; a training exercise only."""
    wrong = [made_up_word(rng, split) for _ in range(rng.choice((1, 2)))]
    options = [sign.text, *wrong]
    rng.shuffle(options)
    choice = Choice("Which text is on the sign?", tuple(options), options.index(sign.text), "", "signs")
    return choice.task("letter")


def binding(rng: random.Random) -> Task:
    """A multiple-choice question that its own text answers: practice in naming a choice by its letter.

    The vocabulary is wide, so that what is learned is to match and name, not the few answers of a task.
    """
    phrases = [f"{c} {s}" for c, s in zip(rng.sample(list(COLORS), 4), rng.choices(SHAPES, k=4), strict=True)]
    pool = rng.choice(
        (
            COMMON_WORDS.split(),
            COMMON_WORDS.split(),
            list(COLORS),
            list(SHAPES),
            ["2", "3", "4", "5"],
            phrases,
        )
    )
    right = rng.choice(pool)
    choices, answer = _choices(rng, right, pool)
    question = rng.choice((f"Which option says {right}?", f"The answer is {right}. Which choice is that?"))
    return Choice(question, choices, answer, "", "letters").task("binding")
