"""Data sets from the Hub: small files of the same schema, through the code that reads the real ones."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy
import pyarrow
import pyarrow.parquet
import pytest
from hubfake import FakeHub
from PIL import Image

from vlmnb.data import catalogue, hub, pictures
from vlmnb.errors import UserError

COCO, TEXTVQA = hub.SETS["coco"], hub.SETS["textvqa"]
FILES = {
    "coco": ("data/val-00000-of-00002.parquet", "data/val-00001-of-00002.parquet"),
    "scienceqa": ("data/test-00000-of-00001-f0e719df791966ff.parquet",),
    "textvqa": tuple(f"data/validation-0000{i}-of-00003.parquet" for i in range(3)),
}
FILES["scienceqa-text"] = FILES["scienceqa"]
ROWS, GROUP = 40, 10
"""Rows of a file, and of one of its row groups."""


def png(number: int) -> bytes:
    """A picture that does not compress, so that the image column weighs as much as in the real files."""
    pixels = numpy.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def row(name: str, number: int, ballast: bytes = b"") -> dict[str, Any]:
    image = {"bytes": png(number) + ballast, "path": None}
    if name == "coco":
        captions = [f"caption {number} {i}" for i in range(5)]
        return {"question_id": f"{number}.jpg", "image": image, "question": "Look", "answer": captions,
                "id": number, "license": 1, "file_name": f"{number}.jpg"}  # fmt: skip
    if name.startswith("scienceqa"):
        return {"image": image if number % 2 else None, "question": f"question {number}?",
                "choices": ["one", "two", "three"], "answer": number % 3, "hint": f"hint {number}",
                "task": "closed choice", "lecture": "", "solution": ""}  # fmt: skip
    return {"image_id": str(number), "question_id": number, "question": f"question {number}?", "image": image,
            "answers": [f"answer {number}"] * 10, "ocr_tokens": ["STOP"], "set_name": "val"}  # fmt: skip


def number_of(name: str, sample: catalogue.Sample) -> int:
    """Which row of the files a sample is: ScienceQA's rows have no number of their own."""
    if name.startswith("scienceqa"):
        group, index = map(int, sample.sample_id.split("."))
        return group * GROUP + index
    return int(sample.sample_id.removesuffix(".jpg"))


def write(name: str, folder: Path, ballast: int = 0) -> Path:
    """The files of a data set as they lie in its repository; ``ballast`` bytes make every image heavier."""
    weight = numpy.random.default_rng(0).bytes(ballast)
    for index, file in enumerate(FILES[name]):
        rows = [row(name, index * ROWS + number, weight) for number in range(ROWS)]
        table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table.data.table, folder / file, row_group_size=GROUP)
    return folder


def cached(name: str, home: Path) -> Path:
    """The same files where the Hub's cache has them."""
    source = hub.SETS[name]
    repository = f"datasets--{source.repository.replace('/', '--')}"
    return write(name, home / repository / "snapshots" / source.commit)


def load(name: str, samples: int, seed: int = 0) -> list[catalogue.Sample]:
    """Samples of a data set of which every row can be used."""
    found, failed = catalogue.load(catalogue.get(name), samples, seed)
    assert not failed
    return found


def refused(name: str, samples: int = 3) -> str:
    """The one line that says why a data set cannot be read."""
    with pytest.raises(UserError) as raised:
        catalogue.load(catalogue.get(name), samples, 0)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("VLMNB_DATA", raising=False)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data sets that VLMNB_DATA names."""
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.mark.parametrize("name", hub.SETS)
def test_a_sample_holds_what_its_row_says(name: str, tmp_path: Path) -> None:
    cached(name, tmp_path / "hub")
    samples = load(name, 12)
    assert len({sample.sample_id for sample in samples}) == 12
    for sample in samples:
        number = number_of(name, sample)
        stored = row(name, number)
        assert len(sample.images) == (name != "scienceqa-text")
        for picture in map(pictures.decoded, sample.images):
            assert picture.mode == "RGB"
            assert picture.tobytes() == Image.open(io.BytesIO(png(number))).tobytes()
        assert (sample.row, sample.file) == (
            number % ROWS,
            f"{name}, {Path(FILES[name][number // ROWS]).name}",
        )
        if name == "coco":
            assert sample.references == tuple(stored["answer"])
        elif name == "textvqa":
            assert sample.references == tuple(stored["answers"])
            assert sample.prompt.startswith(stored["question"])
            assert "STOP" not in sample.prompt
        else:
            assert sample.references == ("ABC"[stored["answer"]],)
            assert sample.choices == ("one", "two", "three")
            assert sample.prompt.startswith(f"Context: {stored['hint']}\n{stored['question']}\nA. one\n")


@pytest.mark.parametrize(("name", "odd"), [("scienceqa", 1), ("scienceqa-text", 0)])
def test_questions_with_an_image_and_without_are_data_sets_of_their_own(
    name: str, odd: int, tmp_path: Path
) -> None:
    cached(name, tmp_path / "hub")
    assert {int(sample.sample_id.split(".")[1]) % 2 for sample in load(name, ROWS // 2)} == {odd}
    assert "20 usable samples, 21 were asked" in refused(name, ROWS // 2 + 1)


def test_the_seed_fixes_the_choice_and_larger_choices_extend_smaller(tmp_path: Path) -> None:
    cached("textvqa", tmp_path / "hub")

    def chosen(samples: int, seed: int) -> list[str]:
        return [sample.sample_id for sample in load("textvqa", samples, seed)]

    # Written down: another library or Python version must not choose otherwise.
    assert chosen(8, 0) == ["34", "35", "37", "30", "36", "50", "55", "51"]
    assert chosen(8, 1) != chosen(8, 0)
    everything = chosen(3 * ROWS, 0)
    assert len(set(everything)) == 3 * ROWS
    for samples in (1, 8, 61, 119):
        assert chosen(samples, 0) == everything[:samples]


def test_the_choice_spreads_over_the_whole_split(tmp_path: Path) -> None:
    cached("coco", tmp_path / "hub")
    groups = {number_of("coco", load("coco", 1, seed)[0]) // GROUP for seed in range(40)}
    assert groups == set(range(2 * ROWS // GROUP))


def test_a_folder_in_the_hubs_layout_is_read_and_known_by_its_content(mine: Path) -> None:
    pinned = hub.revision(COCO)
    folder = write("coco", mine / COCO.repository)
    assert len(load("coco", 3)) == 3
    first = hub.revision(COCO)
    assert first != pinned == f"{COCO.repository}@{COCO.commit}:val"
    # Another id: the size of the file, its footer and its time stay as they were.
    file = folder / FILES["coco"][0]
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content.replace(b"0.jpg", b"x.jpg", 1))
    assert file.read_bytes() != content
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hub.revision(COCO) != first


def test_a_picture_named_by_a_row_is_read_from_the_folder_and_known_by_its_content(mine: Path) -> None:
    rows = [
        row("textvqa", number) | {"image": {"bytes": None, "path": f"images/{number}.png"}}
        for number in (0, 1)
    ]
    file = mine / TEXTVQA.repository / FILES["textvqa"][0]
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    (mine / "images").mkdir()
    for number in (0, 1):
        (mine / f"images/{number}.png").write_bytes(png(number))
    before = hub.revision(TEXTVQA)
    for sample in load("textvqa", 2):
        assert (
            pictures.decoded(sample.images[0]).tobytes()
            == pictures.decoded(png(int(sample.sample_id))).tobytes()
        )
    (mine / "images/1.png").write_bytes(png(2))
    assert hub.revision(TEXTVQA) != before


def test_wrong_columns_are_named(mine: Path) -> None:
    folder = write("textvqa", mine / TEXTVQA.repository)
    for file in folder.glob(TEXTVQA.files):
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).drop_columns(["answers"]), file)
    assert "no column answers; it has image_id, question_id" in refused("textvqa")


def test_a_damaged_file_of_several_is_the_one_that_is_named(mine: Path) -> None:
    file = write("textvqa", mine / TEXTVQA.repository) / FILES["textvqa"][1]
    file.write_bytes(file.read_bytes()[:5000])
    said = refused("textvqa")
    assert f"{file} is truncated or damaged" in said
    assert "with network" not in said


def test_files_that_differ_in_the_type_of_a_column_are_both_named(mine: Path) -> None:
    folder = write("textvqa", mine / TEXTVQA.repository)
    first, second = (folder / name for name in FILES["textvqa"][:2])
    table = pyarrow.parquet.read_table(second)
    at = table.schema.get_field_index("answers")
    for values, kind in ((pyarrow.nulls(ROWS), "null"), (["a"] * ROWS, "string")):
        column = values if kind == "null" else pyarrow.array(values)
        pyarrow.parquet.write_table(table.set_column(at, "answers", column), second)
        said = refused("textvqa")
        assert "damaged" not in said
        for part in (str(first), str(second), "answers", f"{kind} in"):
            assert part in said


def test_files_may_differ_in_what_values_do_not_show(mine: Path) -> None:
    folder = write("textvqa", mine / TEXTVQA.repository)
    file = folder / FILES["textvqa"][1]
    table = pyarrow.parquet.read_table(file)
    texts = pyarrow.large_list(pyarrow.field("element", pyarrow.large_string(), nullable=False))
    picture = pyarrow.struct({"bytes": pyarrow.large_binary(), "path": pyarrow.null()})
    pictures = [{"bytes": each["bytes"], "path": None} for each in table.column("image").to_pylist()]
    for name, column in {
        "question_id": table.column("question_id").cast(pyarrow.float64()),
        "question": table.column("question").dictionary_encode(),
        "answers": table.column("answers").cast(texts),
        "image": pyarrow.array(pictures, picture),
    }.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pyarrow.parquet.write_table(table, file)
    assert len(load("textvqa", 3 * ROWS)) == 3 * ROWS


def test_a_folder_that_cannot_be_meant_is_not_passed_over(mine: Path, tmp_path: Path) -> None:
    cached("coco", tmp_path / "hub")
    own = mine / COCO.repository
    own.mkdir(parents=True)
    assert f"{own} holds no file data/val-" in refused("coco")
    own.rmdir()  # a folder of other data sets
    assert len(load("coco", 3)) == 3
    said = refused("textvqa")
    for place in (
        "looked for data/validation-*.parquet in",
        "mine/lmms-lab/textvqa (VLMNB_DATA)",
        f"snapshots/{TEXTVQA.commit}",
    ):
        assert place in said
    own.parent.rmdir()
    mine.rmdir()
    assert f"VLMNB_DATA is {mine}, which is no folder" in refused("coco")


def test_too_many_samples_are_refused_before_reading() -> None:
    assert "scienceqa has 2017 usable samples, 2018 were asked" in refused("scienceqa", 2018)


def test_offline_with_nothing_cached_names_the_ways_out(tmp_path: Path) -> None:
    said = refused("textvqa")
    for part in ("textvqa", "lmms-lab/textvqa", "HF_HUB_OFFLINE", "-p dataset textvqa-mini"):
        assert part in said
    assert f"hf download lmms-lab/textvqa --repo-type dataset --revision {TEXTVQA.commit}" in said
    assert not (tmp_path / "home").exists()


def test_half_a_split_in_the_cache_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    (cached("coco", tmp_path / "hub") / FILES["coco"][1]).unlink()
    assert "HF_HUB_OFFLINE" in refused("coco")


class Answered(Exception):
    """What huggingface_hub raises for an answer of the Hub."""

    def __init__(self, status: int) -> None:
        self.response = SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (Answered(401), "hf auth login"),
        (Answered(403), "ask for it at https://huggingface.co/datasets/lmms-lab/textvqa"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "set HF_HOME"),
        (ConnectionError("no route"), "hf download"),
    ],
)
def test_what_keeps_the_hub_from_answering_has_its_own_advice(
    error: Exception, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    said = refused("textvqa")
    assert advice in said
    assert ("fetch it once" in said) == isinstance(error, ConnectionError)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(COCO, write("coco", tmp_path / "repository", ballast=300_000)).serving() as fake:
        yield fake


ASK = """
import sys
from vlmnb.data import catalogue
print([sample.sample_id for sample in catalogue.load(catalogue.get("coco"), int(sys.argv[1]), 0)[0]])
"""


def ask(server: FakeHub, home: Path, samples: int, **more: str) -> subprocess.CompletedProcess[str]:
    """Another process, as the Hub's address is read when its library is imported."""
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(home), **more}
    command = [sys.executable, "-c", ASK, str(samples)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_from_the_hub_only_the_row_groups_needed_are_read_and_only_once(
    server: FakeHub, tmp_path: Path
) -> None:
    first = ask(server, tmp_path / "hub-home", 4)
    assert first.returncode == 0, first.stderr
    whole = sum(entry["size"] for entry in server.entries())
    # One row group of eight, three footers, and what the file system reads ahead (5 MB).
    assert whole / 8 < server.sent < whole / 8 + 6e6 < whole / 2
    sent = server.sent
    again = ask(server, tmp_path / "hub-home", 3, HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert eval(again.stdout) == eval(first.stdout)[:3]
    assert server.sent == sent
