"""Data sets: from rows with the Hub's columns to image, prompt and references."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.data import hub, prompts
from vlmnb.errors import UserError, nearest


@dataclass(frozen=True)
class Sample:
    """One question about one image.

    Attributes:
        sample_id: Identifies the sample within its data set.
        image: A PIL image, RGB.
        prompt: The text put to the model, before its chat template.
        references: Accepted answers; word error rate is taken against the first.
        choices: The choices of a multiple-choice question, else None.
    """

    sample_id: str
    image: Any
    prompt: str
    references: tuple[str, ...]
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """A catalogue entry.

    Attributes:
        title: Column heading.
        about: One sentence for the pages.
        choose: Makes the seeded choice: number of samples, seed -> rows, each with its place in the data set.
        to_sample: Reads one row.
        revision: Identifies the content.
    """

    title: str
    about: str
    choose: Callable[[int, int], Iterable[tuple[str, Mapping[str, Any]]]]
    to_sample: Callable[[Mapping[str, Any], str], Sample]
    revision: Callable[[], str]


def load(name: str, samples: int, seed: int) -> tuple[Sample, ...]:
    """A seeded choice of ``samples`` samples in a fixed order.

    Raises:
        UserError: The data set is unknown, has fewer samples, or cannot be read.
    """
    dataset = get(name)
    return tuple(dataset.to_sample(row, place) for place, row in dataset.choose(samples, seed))


def get(name: str) -> Dataset:
    """The catalogue entry of a data set.

    Raises:
        UserError: There is none of that name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UserError(f"unknown data set {name!r}; {nearest(name, CATALOGUE)}") from None


def revision(name: str) -> str:
    """Identifies a data set's content: hash of the bundled file, version of the package, or commit
    on the Hub. Never needs the network."""
    return get(name).revision()


def _rgb(image: Any) -> Any:
    return (hub.picture(image) if isinstance(image, dict) else image).convert("RGB")


def _caption(row: Mapping[str, Any], place: str) -> Sample:
    return Sample(str(row["question_id"]), _rgb(row["image"]), prompts.caption_prompt(), tuple(row["answer"]))


def _multiple_choice(row: Mapping[str, Any], place: str) -> Sample:
    prompt = prompts.multiple_choice_prompt(row["question"], row["choices"], row["hint"])
    letter = prompts.letter_of(row["answer"])
    return Sample(place, _rgb(row["image"]), prompt, (letter,), tuple(row["choices"]))


def _text_reading(row: Mapping[str, Any], place: str) -> Sample:
    prompt = prompts.short_answer_prompt(row["question"])
    return Sample(str(row["question_id"]), _rgb(row["image"]), prompt, tuple(row["answers"]))


def _easy_vqa(row: Mapping[str, Any], place: str) -> Sample:
    from PIL import Image

    with Image.open(row["path"]) as image:
        picture = _rgb(image)
    return Sample(place, picture, prompts.short_answer_prompt(row["question"]), (row["answer"],))


@functools.cache
def _easy_vqa_rows() -> list[dict[str, Any]]:
    import easy_vqa

    images = easy_vqa.get_test_image_paths()
    rows = zip(*easy_vqa.get_test_questions(), strict=True)
    return [{"question": q, "answer": a, "path": images[image]} for q, a, image in rows]


@functools.cache
def _parquet_rows(path: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    if not path.exists():
        raise UserError(f"the bundled data set {path} is missing; restore it with: git checkout -- {path}")
    return datasets.load_dataset("parquet", data_files=str(path), split="train")


@functools.cache
def file_hash(path: Path) -> str:
    """Short SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _choose_from(name: str, rows: Any, samples: int, seed: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """A choice from rows that are all at hand."""
    if samples > len(rows):
        raise UserError(
            f"{name} has {len(rows)} samples, {samples} were asked for; set samples to at most that"
        )
    chosen = random.Random(seed).sample(range(len(rows)), samples)
    return ((str(index), rows[index]) for index in chosen)


def _bundled(
    name: str, title: str, about: str, to_sample: Callable[[Mapping[str, Any], str], Sample]
) -> Dataset:
    path = paths.bundled_data(name)

    def choose(samples: int, seed: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        return _choose_from(name, _parquet_rows(path), samples, seed)

    return Dataset(title, about, choose, to_sample, lambda: file_hash(path))


def _from_hub(
    title: str, about: str, source: hub.HubSet, to_sample: Callable[[Mapping[str, Any], str], Sample]
) -> Dataset:
    def choose(samples: int, seed: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        return hub.choose(source, samples, seed)

    return Dataset(title, about, choose, to_sample, lambda: hub.revision(source))


COCO = hub.HubSet(
    name="coco",
    repository="lmms-lab/COCO-Caption2017",
    commit="3bdd5827e243cc3084ac69a1111e69c3ab9193ff",
    split="val",
    files="data/val-*.parquet",
    columns=("question_id", "image", "answer"),
    usable=5000,
    stand_in="coco-mini",
)
SCIENCEQA = hub.HubSet(
    name="scienceqa",
    repository="derek-thomas/ScienceQA",
    commit="f18b0a70359ebfb41f658fd564208d0355b013f4",
    split="test",
    files="data/test-*.parquet",
    columns=("image", "question", "choices", "answer", "hint"),
    usable=2017,
    stand_in="scienceqa-mini",
)
TEXTVQA = hub.HubSet(
    name="textvqa",
    repository="lmms-lab/textvqa",
    commit="9c0699cd19768ac5ab97568f6b3cbac4c0062884",
    split="validation",
    files="data/validation-*.parquet",
    columns=("question_id", "image", "question", "answers"),
    usable=5000,
    stand_in="textvqa-mini",
)


CATALOGUE: dict[str, Dataset] = {
    "coco": _from_hub("COCO", "captions of photographs, five or more references each", COCO, _caption),
    "scienceqa": _from_hub(
        "ScienceQA",
        "lettered multiple-choice questions of school science that come with an image",
        SCIENCEQA,
        _multiple_choice,
    ),
    "textvqa": _from_hub(
        "TextVQA", "questions about text in photographs, ten references each", TEXTVQA, _text_reading
    ),
    "coco-mini": _bundled(
        "coco-mini", "COCO mini", "captions of scenes of coloured shapes, five references each", _caption
    ),
    "scienceqa-mini": _bundled(
        "scienceqa-mini",
        "ScienceQA mini",
        "lettered multiple-choice questions about diagrams and bar charts, with a context passage",
        _multiple_choice,
    ),
    "textvqa-mini": _bundled(
        "textvqa-mini", "TextVQA mini", "words and numbers on signs, ten references each", _text_reading
    ),
    "easy-vqa": Dataset(
        "easy-VQA",
        "the test split of the public easy-VQA data set, as its package carries it",
        lambda samples, seed: _choose_from("easy-vqa", _easy_vqa_rows(), samples, seed),
        _easy_vqa,
        lambda: f"easy-vqa {version('easy-vqa')}",
    ),
}
