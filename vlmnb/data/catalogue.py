"""Data sets: from rows with the Hub's columns to image, prompt and references."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb import paths
from vlmnb.data import hub, pictures, prompts, rows
from vlmnb.data.rows import BadRow, Row, Texts, Values
from vlmnb.errors import UserError, nearest
from vlmnb.files import changes, hashing


@dataclass(frozen=True)
class Sample:
    """One question, mostly about one image.

    Attributes:
        sample_id: Identifies the sample within its data set.
        images: Its images as they are stored; ``pictures.decoded`` opens one.
        prompt: The text put to the model, before its chat template.
        references: Accepted answers; word error rate is taken against the first.
        choices: The choices of a multiple-choice question, else None.
        row: Number of its row in the file, from 0.
        file: Data set and file of the row.
    """

    sample_id: str
    images: tuple[Any, ...]
    prompt: str
    references: Texts
    choices: Texts | None = None
    row: int = 0
    file: str = ""


class Failed(NamedTuple):
    """A chosen row that cannot be used."""

    row: int
    id: str
    reason: str


Asked = tuple[str, Texts, Texts | None]
"""Prompt, references and choices of a row."""


@dataclass(frozen=True)
class Dataset:
    """A catalogue entry.

    Attributes:
        title: Column heading.
        choose: Makes the seeded choice from a number of samples and a seed.
        ask: Reads prompt, references and choices from a row.
        revision: Identifies the content without the network: hash of the bundled file, version of the
            package, or commit on the Hub.
        pictures: How many images a row has, at least and at most.
    """

    title: str
    choose: Callable[[int, int], Iterable[Row]]
    ask: Callable[[Values], Asked]
    revision: Callable[[], str]
    pictures: tuple[int, int] = (1, 1)

    @property
    def name(self) -> str:
        """Return the name in YAML, records and file names."""
        return _name(self.title)


def load(dataset: Dataset, samples: int, seed: int) -> tuple[list[Sample], list[Failed]]:
    """Return a seeded choice of ``samples`` rows in a fixed order: those that can be used, and the others.

    Raises:
        UserError: The data set has fewer samples, or cannot be read.
    """
    found: dict[str, Sample] = {}
    failed = []
    for place, values, file, number in dataset.choose(samples, seed):
        own = values.get("question_id")
        sample_id = place if own is None else str(own)
        sample_id = f"{sample_id} in row {place}" if sample_id in found else sample_id
        try:
            images, asked = pictures.of_row(values, *dataset.pictures), dataset.ask(values)
            found[sample_id] = Sample(sample_id, images, *asked, number, f"{dataset.name}, {file}")
        except BadRow as error:
            failed.append(Failed(number, sample_id, f"{dataset.name}, {file}: {error}"))
    return list(found.values()), failed


def get(name: str) -> Dataset:
    """Return the catalogue entry of a data set.

    Raises:
        UserError: There is none of that name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UserError(f"unknown data set {name!r}; {nearest(name, CATALOGUE)}") from None


def _caption(row: Values) -> Asked:
    return prompts.CAPTION, rows.references(row, "answer"), None


def _multiple_choice(row: Values) -> Asked:
    offered = rows.choices(row, "choices")
    texts, hint = tuple(offered.values()), rows.text(row, "hint", needed=False)
    prompt = prompts.multiple_choice_prompt(rows.text(row, "question"), texts, hint)
    return prompt, (rows.letter(row, "answer", offered),), texts


def _short_answer(column: str) -> Callable[[Values], Asked]:
    return lambda row: (
        prompts.short_answer_prompt(rows.text(row, "question")), rows.references(row, column), None,
    )  # fmt: skip


def _choose_from(name: str, read: Callable[[], Sequence[Row]], samples: int, seed: int) -> list[Row]:
    """Choose from rows that are all on this machine."""
    every = read()
    if samples > len(every):
        raise UserError(
            f"{name} has {len(every)} samples, {samples} were asked for; ask for at most that many"
        )
    return [every[index] for index in random.Random(seed).sample(range(len(every)), samples)]


@functools.cache
def _easy_vqa_rows() -> list[Row]:
    import easy_vqa

    images = easy_vqa.get_test_image_paths()
    asked = zip(*easy_vqa.get_test_questions(), strict=True)
    columns = ({"question": q, "answer": a, "image": images[image]} for q, a, image in asked)
    return [Row(str(i), values, "easy_vqa", i) for i, values in enumerate(columns)]


@functools.lru_cache(maxsize=8)
def _parquet_rows(path: Path, signature: changes.Signature) -> list[Row]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:  # read_table imports pandas
            read = file.read().to_pylist()
    except Exception as error:  # as many kinds as there are ways to be damaged
        raise UserError(f"the bundled data set {path} cannot be read ({error}); {_RESTORE}{path}") from None
    return [Row(str(i), values, path.name, i) for i, values in enumerate(read)]


_RESTORE = "restore it with: git checkout -- "


def _bundled(title: str, ask: Callable[[Values], Asked], count: int = 1) -> Dataset:
    path = paths.bundled_data(name := _name(title))

    def signature() -> changes.Signature:
        found = changes.signature(path)
        if found is None:
            raise UserError(f"the bundled data set {path} is missing; {_RESTORE}{path}")
        return found

    choose = partial(_choose_from, name, lambda: _parquet_rows(path, signature()))
    return Dataset(title, choose, ask, lambda: hashing.of_file(path) if signature() else "", (count, count))


def _from_hub(title: str, ask: Callable[[Values], Asked], count: int = 1) -> Dataset:
    source = hub.SETS[_name(title)]
    return Dataset(title, partial(hub.choose, source), ask, partial(hub.revision, source), (count, count))


def _name(title: str) -> str:
    return title.lower().replace(" ", "-")


_DATASETS = (
    _from_hub("COCO", _caption),
    _from_hub("ScienceQA", _multiple_choice),
    _from_hub("ScienceQA text", _multiple_choice, 0),
    _from_hub("TextVQA", _short_answer("answers")),
    _bundled("COCO mini", _caption),
    _bundled("ScienceQA mini", _multiple_choice),
    _bundled("ScienceQA text mini", _multiple_choice, 0),
    _bundled("TextVQA mini", _short_answer("answers")),
    _bundled("Pairs mini", _multiple_choice, 2),
    Dataset(
        "easy-VQA",
        partial(_choose_from, "easy-vqa", _easy_vqa_rows),
        _short_answer("answer"),
        lambda: f"easy-vqa {version('easy-vqa')}",
    ),
)

CATALOGUE: dict[str, Dataset] = {dataset.name: dataset for dataset in _DATASETS}
