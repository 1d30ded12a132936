"""Pages older than what they show: told on the terminal, on the status page, and on the pages themselves."""

from __future__ import annotations

from pathlib import Path

import bookmaking
import pytest
from bookmaking import PROJECT

from vlmnb.book import build, outdated, postprocess
from vlmnb.device import machine
from vlmnb.records import record_file
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory

Small = tuple[Path, Path, Path]
SPEC = """
title: Two pages
models: [llava-tiny]
parameters: {samples: 96}
axes: {image_size: {}, device: {}}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A project with two pages of this machine, just drawn by a sweep."""
    root, results, runs = bookmaking.project(tmp_path / "project"), tmp_path / "results", tmp_path / "runs"
    (root / "data").symlink_to(PROJECT / "data")
    (root / "sweeps").mkdir()
    (root / "sweeps" / "mine.yaml").write_text(SPEC, encoding="utf-8")
    (root / "sweeps" / "less.yaml").write_text(SPEC.replace("image_size: {}, ", ""), encoding="utf-8")
    monkeypatch.setenv("VLMNB_ROOT", str(root))
    monkeypatch.setitem(bookmaking.MACHINE, "fingerprint", machine.describe().fingerprint)
    bookmaking.records(results, models=("llava-tiny",), axis_names=("image_size", "device", "repeat"))
    for repeat in (r for r in record_file.read_all(results)[0] if r.cell.repeat):
        path = results / repeat.hardware / "llava-tiny" / f"{repeat.key}.json"
        path.rename(path.with_suffix(".later"))
    for axis in ("image_size", "device"):
        bookmaking.executed(runs, "llava-tiny", axis)
    drawn(results, runs)
    return root, results, runs


def drawn(results: Path, runs: Path) -> None:
    """Stamp the pages as a sweep does that has just drawn them."""
    for page in sorted(runs.glob("llava-tiny/*.ipynb")):
        notebook = postprocess.read(page.read_text(encoding="utf-8"))
        parameters = postprocess.papermill(notebook)["parameters"]
        run = Run(model="llava-tiny", axis=page.stem, parameters=parameters)
        (job,) = inventory.jobs([run], results, runs)
        inventory.mark_page(job, runs)


def repeats_arrive(results: Path) -> None:
    """A/A repeats are measured: every sentence about a difference goes by them from now on."""
    for later in results.glob("*/*/*.later"):
        later.rename(later.with_suffix(".json"))


def test_pages_older_than_the_repeats_say_so_everywhere(small: Small) -> None:
    root, results, runs = small
    said: list[str] = []
    build.assemble(results, runs, said.append)
    page, status = root / "book/runs/llava-tiny/image_size.ipynb", root / "book/generated/status.md"
    assert said == []
    assert "outdated" not in page.read_text(encoding="utf-8")
    assert "utdated" not in status.read_text(encoding="utf-8")

    repeats_arrive(results)
    build.assemble(results, runs, said.append)
    (line,) = said
    command = "vlmnb sweep sweeps/mine.yaml"
    assert line.startswith("2 of 2 pages are older than the records, A/A repeats")
    assert f"{command} --results {results} --runs {runs};" in line
    for text in (page, root / "book/runs/llava-tiny/device.ipynb"):
        assert "This page is outdated: its records, the A/A repeats of the machine" in text.read_text("utf-8")
    assert ">outdated<" in status.read_text(encoding="utf-8")
    assert f"`{command}`" in status.read_text(encoding="utf-8")
    assert str(results) not in status.read_text(encoding="utf-8")
    assert "**Outdated**" in (root / "book/generated/llava-tiny.md").read_text(encoding="utf-8")

    drawn(results, runs)
    build.assemble(results, runs, said.append)
    assert len(said) == 1
    assert ">outdated<" not in status.read_text(encoding="utf-8")


def test_pages_of_another_machine_and_pages_made_by_hand_are_not_called_outdated(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, results, runs = small
    (runs / "llava-tiny" / "device.stamp").unlink()
    repeats_arrive(results)
    assert list(outdated.commands(results, runs)) == [("llava-tiny", "image_size")]
    monkeypatch.setitem(bookmaking.MACHINE, "fingerprint", "another")
    bookmaking.records(results, models=("llava-tiny",), axis_names=("image_size",))
    said: list[str] = []
    build.assemble(results, runs, said.append)
    assert said == []


def test_a_page_that_no_sweep_file_asks_for_names_none(small: Small) -> None:
    _, results, runs = small
    page = runs / "llava-tiny" / "device.ipynb"
    own = page.read_text(encoding="utf-8").replace('"samples": 96', '"samples": 32')
    page.write_text(own, encoding="utf-8")
    drawn(results, runs)
    repeats_arrive(results)
    assert outdated.commands(results, runs)["llava-tiny", "device"] == "vlmnb sweep SPEC"
