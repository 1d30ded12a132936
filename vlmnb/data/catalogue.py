"""Data sets: from rows with the Hub's columns to image, prompt and references."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
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


Rows = Iterable[tuple[str, Mapping[str, Any]]]
"""Rows of a data set, each with its place in it."""

ToSample = Callable[[Mapping[str, Any], str], Sample]
"""Reads a sample from a row and its place."""


@dataclass(frozen=True)
class Dataset:
    """A catalogue entry.

    Attributes:
        title: Column heading.
        choose: Makes the seeded choice from a number of samples and a seed.
        revision: Identifies the content without the network: hash of the bundled file, version of the
            package, or commit on the Hub.
    """

    title: str
    choose: Callable[[int, int], Rows]
    to_sample: ToSample
    revision: Callable[[], str]


def load(name: str, samples: int, seed: int) -> tuple[Sample, ...]:
    """Return a seeded choice of ``samples`` samples in a fixed order.

    Raises:
        UserError: The data set is unknown, has fewer samples, or cannot be read.
    """
    dataset = get(name)
    return tuple(dataset.to_sample(row, place) for place, row in dataset.choose(samples, seed))


def get(name: str) -> Dataset:
    """Return the catalogue entry of a data set.

    Raises:
        UserError: There is none of that name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UserError(f"unknown data set {name!r}; {nearest(name, CATALOGUE)}") from None


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
def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _choose_from(name: str, rows: Any, samples: int, seed: int) -> Rows:
    """Choose from rows that are all on this machine."""
    if samples > len(rows):
        raise UserError(
            f"{name} has {len(rows)} samples, {samples} were asked for; set samples to at most that"
        )
    chosen = random.Random(seed).sample(range(len(rows)), samples)
    return ((str(index), rows[index]) for index in chosen)


def _bundled(title: str, to_sample: ToSample) -> Dataset:
    name = title.lower().replace(" ", "-")
    path = paths.bundled_data(name)
    return Dataset(
        title,
        lambda samples, seed: _choose_from(name, _parquet_rows(path), samples, seed),
        to_sample,
        lambda: _file_hash(path),
    )


def _from_hub(title: str, to_sample: ToSample) -> Dataset:
    source = hub.SETS[title.lower()]
    return Dataset(title, partial(hub.choose, source), to_sample, partial(hub.revision, source))


CATALOGUE: dict[str, Dataset] = {
    "coco": _from_hub("COCO", _caption),
    "scienceqa": _from_hub("ScienceQA", _multiple_choice),
    "textvqa": _from_hub("TextVQA", _text_reading),
    "coco-mini": _bundled("COCO mini", _caption),
    "scienceqa-mini": _bundled("ScienceQA mini", _multiple_choice),
    "textvqa-mini": _bundled("TextVQA mini", _text_reading),
    "easy-vqa": Dataset(
        "easy-VQA",
        lambda samples, seed: _choose_from("easy-vqa", _easy_vqa_rows(), samples, seed),
        _easy_vqa,
        lambda: f"easy-vqa {version('easy-vqa')}",
    ),
}
