"""Data sets from the Hub: small files of the same schema, through the code that reads the real ones."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from vlmnb.data import catalogue, hub
from vlmnb.errors import UserError

COCO, TEXTVQA = hub.SETS["coco"], hub.SETS["textvqa"]
FILES = {
    "coco": ("data/val-00000-of-00002.parquet", "data/val-00001-of-00002.parquet"),
    "scienceqa": ("data/test-00000-of-00001-f0e719df791966ff.parquet",),
    "textvqa": tuple(f"data/validation-0000{i}-of-00003.parquet" for i in range(3)),
}
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
        question = "Please carefully observe the image"
        return {"question_id": f"{number}.jpg", "image": image, "question": question, "answer": captions,
                "id": number, "license": 1, "file_name": f"{number}.jpg"}  # fmt: skip
    if name == "scienceqa":
        return {"image": image if number % 2 else None, "question": f"question {number}?",
                "choices": ["one", "two", "three"], "answer": number % 3, "hint": f"hint {number}",
                "task": "closed choice", "lecture": "", "solution": ""}  # fmt: skip
    return {"image_id": str(number), "question_id": number, "question": f"question {number}?", "image": image,
            "answers": [f"answer {number}"] * 10, "ocr_tokens": ["STOP"], "set_name": "val"}  # fmt: skip


def number_of(name: str, sample: catalogue.Sample) -> int:
    """Which row of the files a sample is: ScienceQA's rows have no number of their own."""
    if name == "scienceqa":
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


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("VLMNB_DATA", raising=False)


@pytest.mark.parametrize("name", hub.SETS)
def test_a_sample_holds_what_its_row_says(name: str, tmp_path: Path) -> None:
    cached(name, tmp_path / "hub")
    samples = catalogue.load(name, 12, 0)
    assert len({sample.sample_id for sample in samples}) == 12
    for sample in samples:
        number = number_of(name, sample)
        stored = row(name, number)
        assert sample.image.mode == "RGB"
        assert sample.image.tobytes() == Image.open(io.BytesIO(png(number))).tobytes()
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


def test_rows_without_an_image_are_left_out(tmp_path: Path) -> None:
    cached("scienceqa", tmp_path / "hub")
    samples = catalogue.load("scienceqa", ROWS // 2, 0)
    assert all(int(sample.sample_id.split(".")[1]) % 2 for sample in samples)
    with pytest.raises(UserError, match=r"scienceqa: .* 20 samples with an image, 21 were asked"):
        catalogue.load("scienceqa", ROWS // 2 + 1, 0)


def test_the_seed_fixes_the_choice_and_larger_choices_extend_smaller(tmp_path: Path) -> None:
    cached("textvqa", tmp_path / "hub")

    def chosen(samples: int, seed: int) -> list[str]:
        return [sample.sample_id for sample in catalogue.load("textvqa", samples, seed)]

    # Written down: another library or Python version must not choose otherwise.
    assert chosen(8, 0) == ["34", "35", "37", "30", "36", "50", "55", "51"]
    assert chosen(8, 1) != chosen(8, 0)
    everything = chosen(3 * ROWS, 0)
    assert len(set(everything)) == 3 * ROWS
    for samples in (1, 8, 61, 119):
        assert chosen(samples, 0) == everything[:samples]


def test_the_choice_spreads_over_the_whole_split(tmp_path: Path) -> None:
    cached("coco", tmp_path / "hub")
    groups = {number_of("coco", catalogue.load("coco", 1, seed)[0]) // GROUP for seed in range(40)}
    assert groups == set(range(2 * ROWS // GROUP))


def test_a_folder_in_the_hubs_layout_is_read_and_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = hub.revision(COCO)
    write("coco", tmp_path / "mine" / COCO.repository)
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path / "mine"))
    assert len(catalogue.load("coco", 3, 0)) == 3
    folder = hub.revision(COCO)
    assert folder != pinned == f"{COCO.repository}@{COCO.commit}:val"
    write("coco", tmp_path / "other" / COCO.repository)
    file = tmp_path / "other" / COCO.repository / FILES["coco"][0]
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).slice(1), file)
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path / "other"))
    assert hub.revision(COCO) != folder


def test_wrong_columns_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("textvqa", tmp_path / TEXTVQA.repository)
    for file in folder.glob(TEXTVQA.files):
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).drop_columns(["answers"]), file)
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"no column answers; it has image_id, question_id"):
        catalogue.load("textvqa", 3, 0)


def test_a_broken_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("scienceqa", tmp_path / hub.SETS["scienceqa"].repository)
    (file,) = folder.glob(hub.SETS["scienceqa"].files)
    file.write_bytes(file.read_bytes()[:5000])
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"scienceqa: .* is truncated or damaged") as raised:
        catalogue.load("scienceqa", 3, 0)
    message = str(raised.value)
    assert "\n" not in message
    assert str(file) in message
    assert "with network" not in message


def test_a_damaged_file_of_several_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("textvqa", tmp_path / TEXTVQA.repository)
    file = tmp_path / TEXTVQA.repository / FILES["textvqa"][1]
    file.write_bytes(file.read_bytes()[:5000])
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path))
    with pytest.raises(UserError, match="truncated or damaged") as raised:
        catalogue.load("textvqa", 3, 0)
    assert f"{file} is" in str(raised.value)


def test_a_folder_that_cannot_be_meant_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached("coco", tmp_path / "hub")
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"VLMNB_DATA is .*nothing, which is no folder"):
        catalogue.load("coco", 3, 0)
    own = tmp_path / "mine" / COCO.repository
    own.mkdir(parents=True)
    monkeypatch.setenv("VLMNB_DATA", str(tmp_path / "mine"))
    with pytest.raises(UserError, match=f"{own} holds no file data/val-"):
        catalogue.load("coco", 3, 0)
    own.rmdir()  # a folder of other data sets
    assert len(catalogue.load("coco", 3, 0)) == 3
    with pytest.raises(UserError) as raised:
        catalogue.load("textvqa", 3, 0)
    assert "looked for data/validation-*.parquet in" in str(raised.value)
    for place in ("mine/lmms-lab/textvqa (VLMNB_DATA)", f"snapshots/{TEXTVQA.commit}"):
        assert place in str(raised.value)


def test_too_many_samples_are_refused_before_reading() -> None:
    with pytest.raises(UserError, match=r"scienceqa has 2017 samples with an image, 2018 were asked"):
        catalogue.load("scienceqa", 2018, 0)


def test_offline_with_nothing_cached_names_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        catalogue.load("textvqa", 3, 0)
    message = str(raised.value)
    assert "\n" not in message
    for part in ("textvqa", "lmms-lab/textvqa", "HF_HUB_OFFLINE", "-p dataset textvqa-mini"):
        assert part in message
    assert f"hf download lmms-lab/textvqa --repo-type dataset --revision {TEXTVQA.commit}" in message
    assert not (tmp_path / "home").exists()


def test_half_a_split_in_the_cache_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    folder = cached("coco", tmp_path / "hub")
    (folder / FILES["coco"][1]).unlink()
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        catalogue.load("coco", 3, 0)


class FakeHub(ThreadingHTTPServer):
    """Serves one repository as the Hub does, and counts the bytes it hands out."""

    def __init__(self, source: hub.HubSet, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), FakeHubHandler)
        self.source = source
        self.folder = folder
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def entries(self) -> list[dict[str, Any]]:
        common = {"type": "file", "oid": "0" * 40}
        return [
            {**common, "size": file.stat().st_size, "path": str(file.relative_to(self.folder))}
            for file in sorted(self.folder.rglob("*"))
            if file.is_file()
        ]


class FakeHubHandler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "X-Repo-Commit": self.server.source.commit,
                           "Accept-Ranges": "bytes", "ETag": '"0"', **headers}.items():  # fmt: skip
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        known = [entry for entry in self.server.entries() if entry["path"].replace("/", "%2F") in asked
                 or entry["path"] in asked]  # fmt: skip
        self.reply(json.dumps(known).encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        source, path = self.server.source, self.path.split("?")[0]
        if path.startswith(f"/api/datasets/{source.repository}"):
            if "/tree/" in path:
                body: Any = self.server.entries()
            else:
                names = [{"rfilename": entry["path"]} for entry in self.server.entries()]
                body = {"id": source.repository, "sha": source.commit, "siblings": names, "tags": []}
            return self.reply(json.dumps(body).encode(), Content_Type="application/json")
        prefix = f"/datasets/{source.repository}/resolve/{source.commit}/"
        file = self.server.folder / path.removeprefix(prefix)
        if not path.startswith(prefix) or not file.is_file():
            return self.reply(b"", 404)
        content = file.read_bytes()
        asked = self.headers.get("Range")
        if asked is None or self.command == "HEAD":
            return self.reply(content)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1]
        self.server.sent += len(part)
        whole = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self.reply(part, 206, Content_Range=whole)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeHub]:
    repository = write("coco", tmp_path / "repository", ballast=300_000)
    with FakeHub(COCO, repository) as fake:
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        yield fake
        fake.shutdown()


ASK = """
import sys
from vlmnb.data import catalogue
print([sample.sample_id for sample in catalogue.load("coco", int(sys.argv[1]), 0)])
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
