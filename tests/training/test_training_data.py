"""What the bundled checkpoints learn from: right answers, not given away by the text, nothing held out."""

from __future__ import annotations

import functools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from models.training import easy, questions, tokenization
from models.training.build import NAMES, new_processor
from models.training.drawing import Chart, Scene, draw_chart, draw_scene
from models.training.matching import TextStream
from models.training.pictures import draw_picture
from models.training.questions import ABSENT, PRESENT, RIGHT, WRONG, Task
from models.training.stream import IGNORE, KINDS, Prompter, packed
from models.training.words import split_of


def question(task: Task) -> str:
    return task.text.split("\n")[0]


processor_of = functools.cache(new_processor)


def chosen(task: Task) -> str:
    found = re.search(rf"^{task.answer}\. (.*)$", task.text, re.MULTILINE)
    assert found
    return found[1]


def marked_words(task: Task) -> dict[int, list[str]]:
    words: dict[int, list[str]] = defaultdict(list)
    for end, mark in task.marks:
        words[mark].append(re.split(r"\n[A-D]\. | ", task.text[:end])[-1])
    return words


@pytest.fixture(scope="module", autouse=True)
def _texts_are_drawn_once() -> Iterator[None]:
    """Tokenizers learn from the same few texts, whose drawing takes longer than the learning."""
    texts = list(tokenization.corpus(size=1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenization, "corpus", lambda: texts)
        yield


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return Prompter(processor_of("llava-tiny"))


def test_the_form_of_a_yes_no_question_does_not_tell_its_answer() -> None:
    rng = random.Random(4)
    answers: dict[bool, Counter[str]] = defaultdict(Counter)
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for _ in range(400):
        _, color, shape = rng.choice(easy.known_images("train"))
        for task in easy.easy_tasks(rng, color, shape):
            if task.kind == "yes_no":
                answers[easy.is_negated(question(task))][task.answer] += 1
                words[next(w for w in (*easy.EASY_COLORS, *easy.EASY_SHAPES) if w in task.text)][
                    task.answer
                ] += 1
    assert set(answers) == {True, False}
    for counts in (*answers.values(), *words.values()):
        assert 0.4 < counts["yes"] / counts.total() < 0.6


@pytest.mark.parametrize("seed", range(20))
def test_presence_is_answered_and_marked_rightly(seed: int) -> None:
    task = easy.presence(random.Random(seed), "red", "blue", " shape")
    asked_true = " red " in question(task)
    assert asked_true != (" blue " in question(task))
    assert task.answer == ("yes" if asked_true != easy.is_negated(question(task)) else "no")
    assert marked_words(task) == ({PRESENT: ["red"]} if asked_true else {ABSENT: ["blue"]})


def test_made_questions_agree_with_the_published_ones() -> None:
    rng = random.Random(9)
    compared = 0
    for image, color, shape in easy.known_images("train")[:600]:
        published = dict(image.questions)
        for task in easy.easy_tasks(rng, color, shape):
            if question(task) in published:
                assert published[question(task)] == task.answer
                compared += 1
    assert compared > 500


def test_truth_of_an_image_answers_all_its_published_questions() -> None:
    for image in easy.easy_images("train"):
        color, shape = easy.easy_truth(image)
        for asked, answer in image.questions:
            named = [w for w in (*easy.EASY_COLORS, *easy.EASY_SHAPES) if w in asked.rstrip("?").split()]
            if answer in ("yes", "no") and color and shape:
                assert ((named[0] in (color, shape)) != easy.is_negated(asked)) == (answer == "yes")


def test_easy_splits_share_no_image() -> None:
    paths = [{image.path for image in easy.easy_images(split)} for split in ("train", "dev", "test")]
    assert len(set.union(*paths)) == sum(map(len, paths))
    assert {image.path for image, _, _ in easy.known_images("train")} <= paths[0]


@pytest.mark.parametrize("seed", range(20))
def test_binding_names_the_choice_it_states(seed: int) -> None:
    task = questions.binding(random.Random(seed))
    forms = r"Which option says (.*)\?|The answer is (.*)\. Which choice is that\?"
    stated = re.fullmatch(forms, question(task))
    assert stated
    assert chosen(task) == (stated[1] or stated[2])


def test_letters_of_right_choices_are_spread() -> None:
    rng = random.Random(3)
    letters = Counter(questions.binding(rng).answer for _ in range(2000))
    assert letters["A"] < 900
    assert all(letters[letter] > least for letter, least in {"B": 400, "C": 200, "D": 60}.items())


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_choices_are_answered_and_marked_rightly(seed: int, hint: bool) -> None:
    rng = random.Random(seed)
    chart, scene = draw_chart(rng)[1], draw_scene(rng)[1]
    task = questions.chart_choice(rng, chart).task("choice_chart", hint)
    assert chosen(task) == _chart_answer(task, chart)
    assert marked_words(task)[RIGHT] == [chosen(task)]
    task = questions.scene_choice(rng, scene).task("choice_scene", hint)
    assert _fits(chosen(task), task, scene)
    assert Counter(mark for _, mark in task.marks)[RIGHT] == 1
    assert {mark for _, mark in task.marks} <= {RIGHT, WRONG}


def _chart_answer(task: Task, chart: Chart) -> str:
    extreme = chart.ranked()[0 if "tallest" in task.text else -1]
    return str(len(chart.bars)) if "How many" in task.text else extreme


def _fits(answer: str, task: Task, scene: Scene) -> bool:
    asked = next(line for line in task.text.split("\n") if line.endswith("?"))
    if "What color is the" in asked or asked.startswith("Which shape in the diagram is"):
        found = [(i.color, i.shape) for i in scene.items if answer in (i.color, i.shape)]
        return any(color in asked or shape in asked for color, shape in found)
    last = "right" in asked or "bottom" in asked
    return scene.items[-1 if last else 0].name == answer


def test_training_shows_no_held_out_word() -> None:
    rng = random.Random(8)
    for _ in range(1500):
        picture = draw_picture(rng, "train", "sign")
        assert picture.sign
        assert split_of(picture.sign.text) == "train"
        assert picture.description == picture.sign.text
        choice = questions.sign_choice(rng, picture.sign, "train")
        for task in (*picture.tasks, choice):
            for word in re.findall(r"\b[A-Z]{3,5}\b|\b[0-9]{2,4}\b", task.text + " " + task.answer):
                assert split_of(word) == "train"


@pytest.mark.parametrize("name", NAMES)
def test_text_batches_hold_what_they_say(name: str) -> None:
    processor = processor_of(name)
    prompter = Prompter(processor)
    batch = next(iter(TextStream(processor, seed=5, rows=12, budget=160)))
    assert "pixels" not in batch
    assert not (batch["ids"] == processor.image_token_id).any()
    letters = {prompter.answer(letter)[0] for letter in "ABCD"}
    yes_no = {prompter.answer(answer)[0] for answer in ("yes", "no")}
    asked = 0
    for row in range(12):
        ids, kinds, marks, labels, segments = (
            batch[key][row] for key in ("ids", "kinds", "marks", "labels", "segment")
        )
        assert (segments[: int(batch["start"][row])] == 0).all()
        assert segments[int(batch["start"][row])] == 1
        for place in (kinds >= 0).nonzero()[:, 0].tolist():
            kind, first = KINDS[int(kinds[place])], int(labels[place])
            own = marks[segments == segments[place]]
            if kind in ("binding", "choice_scene", "choice_chart"):
                assert first in letters
                assert int((own == RIGHT).sum()) <= 1
                asked += int((own == RIGHT).sum())
            if kind == "yes_no":
                assert first in yes_no
                assert ((own == PRESENT) | (own == ABSENT)).sum() <= 1
        assert (labels[segments <= 0] == IGNORE).all()
        assert len(ids) == len(labels)
    assert asked > 5


def test_a_marked_token_ends_the_marked_word(prompter: Prompter) -> None:
    rng = random.Random(12)
    pictures = [draw_picture(rng, "train", kind) for kind in ("easy", "scene", "chart") for _ in range(5)]
    batch = packed(prompter, rng, pictures, None, 300)
    words: dict[int, set[str]] = defaultdict(set)
    for place in (batch["marks"] != IGNORE).nonzero().tolist():
        token: Any = batch["ids"][tuple(place)]
        words[int(batch["marks"][tuple(place)]) // 2].add(prompter.tokenizer.decode([token]).strip())
    things = {*easy.EASY_COLORS, *easy.EASY_SHAPES, "purple", "orange", "square", "cross", "2", "3", "4", "5"}
    assert all(words[kind] and words[kind] <= things for kind in (0, 1))


def test_weights_of_answers_do_not_grow_with_their_length(prompter: Prompter) -> None:
    rng = random.Random(2)
    picture = draw_picture(rng, "train", "scene")
    batch = packed(prompter, rng, [picture], None, 400)
    caption = KINDS.index("caption")
    start = (batch["kinds"][0] == caption).nonzero()[0, 0]
    own = batch["segment"][0] == batch["segment"][0, start]
    assert 1.0 <= torch.where(own, batch["weights"][0], 0.0).sum().item() < 5.0
