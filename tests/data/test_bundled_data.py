"""The bundled data sets: what they hold, that they can be made again, and that training never sees them."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from models.training import bundles
from models.training.pictures import draw_picture
from models.training.words import made_up_word, number, split_of

NAMES = tuple(bundles.MAKERS)
PICTURED = ("coco-mini", "scienceqa-mini", "textvqa-mini")


@cache
def stored(name: str) -> Any:
    path = bundles.DATA / name / "test.parquet"
    return load_dataset("parquet", data_files=str(path), split="train")


def pixel_hash(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def shown(row: dict[str, Any]) -> list[Image.Image]:
    """Take the pictures out of a row, read from the file or as it is made."""
    given = row.pop("images") if "images" in row else [row.pop("image")]
    return [
        Image.open(io.BytesIO(one["bytes"])) if isinstance(one, dict) else one
        for one in given
        if one is not None
    ]


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_columns(name: str) -> None:
    data = stored(name)
    assert len(data) == bundles.ROWS
    assert data.features == bundles.FEATURES[name]
    pictures = shown(data[0])
    assert len(pictures) == {"scienceqa-text-mini": 0, "pairs-mini": 2}.get(name, 1)
    assert all(min(picture.size) == 128 for picture in pictures)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", [0, 1, 57, 298, 299])
def test_rows_can_be_made_again(name: str, index: int) -> None:
    made, row = bundles.MAKERS[name](index), stored(name)[index]
    assert [pixel_hash(one) for one in shown(made)] == [pixel_hash(one) for one in shown(row)]
    assert made == row


def test_captions_are_five_and_different() -> None:
    for answer in stored("coco-mini")["answer"]:
        assert len(answer) == len(set(answer)) == 5


def test_choices() -> None:
    data = stored("scienceqa-mini").remove_columns("image")
    for row in data:
        assert 2 <= len(row["choices"]) <= 4
        assert 0 <= row["answer"] < len(row["choices"])
        assert len(set(row["choices"])) == len(row["choices"])
        assert 2 <= row["hint"].count(".") <= 3
    assert sorted(set(data["topic"])) == ["charts", "scenes"]


def test_references_are_mostly_exact() -> None:
    for answers in stored("textvqa-mini")["answers"]:
        assert len(answers) == 10
        assert answers.count(answers[0]) >= 6
        assert split_of(answers[0]) == "test"


def test_training_never_draws_a_test_word() -> None:
    held_out = {answers[0] for answers in stored("textvqa-mini")["answers"]}
    rng = random.Random(1)
    drawn = {made_up_word(rng, "train") for _ in range(20_000)} | {number(rng, "train") for _ in range(5_000)}
    assert not held_out & drawn


def test_training_never_draws_a_held_out_image() -> None:
    held_out = {pixel_hash(image) for name in PICTURED for image in stored(name)["image"]}
    rng = random.Random(71)
    assert len(held_out) == 3 * bundles.ROWS
    assert not held_out & {pixel_hash(draw_picture(rng, "train").image) for _ in range(4_000)}


ASK = """
import pathlib, sys
from vlmnb.data import catalogue
entry = catalogue.get("textvqa-mini")
before = entry.revision(), catalogue.load(entry, 3, 0)[0]
pathlib.Path(sys.argv[1]).replace(sys.argv[2])
after = entry.revision(), catalogue.load(entry, 3, 0)[0]
assert "datasets" not in sys.modules
print(before[0] != after[0], before[1][0].references != after[1][0].references)
"""


def test_bundled_rows_need_no_cache_and_are_read_anew_when_the_file_changes(tmp_path: Path) -> None:
    file, other = tmp_path / "data/textvqa-mini/test.parquet", tmp_path / "other.parquet"
    file.parent.mkdir(parents=True)
    shutil.copy(bundles.DATA / "textvqa-mini/test.parquet", file)
    table = pq.read_table(file)
    rows = table.column("answers").to_pylist()[::-1]
    at = table.schema.get_field_index("answers")
    pq.write_table(table.set_column(at, "answers", pyarrow.array(rows)), other)
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    env = {**os.environ, "VLMNB_ROOT": str(tmp_path), "HF_HOME": "/dev/null/cache"}
    command = [sys.executable, "-c", ASK, str(other), str(file)]
    assert (
        subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout == "True True\n"
    )
