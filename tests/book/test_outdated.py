"""Pages older than what they show: told on the terminal, on the status page, and on the pages themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import bookmaking
import factory
import pytest
from bookmaking import PROJECT, Small
from stored import measured

from vlmnb.book import collect, postprocess
from vlmnb.device import machine
from vlmnb.records import record_file, resolved, turns
from vlmnb.records.turns import Turns
from vlmnb.spec import axes, planning
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory, status

SPEC = """
title: Two pages
models: [llava-tiny]
parameters: {samples: 96}
axes: {image_size: {}, device: {}}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A project with two pages of this machine, which show the noise floor, just drawn by a sweep."""
    monkeypatch.setitem(bookmaking.MACHINE, "fingerprint", machine.describe().fingerprint)
    made = bookmaking.small(tmp_path)
    for page in made.runs.glob("llava-tiny/*.ipynb"):
        shown = page.read_text(encoding="utf-8")
        page.write_text(shown.replace('"metadata": {}', f'"metadata": {{"{axes.NOISE_FLOOR}": true}}', 1))
    monkeypatch.setenv("VLMNB_ROOT", str(made.root))
    shutil.rmtree(made.root / "data")
    (made.root / "data").symlink_to(PROJECT / "data")
    (made.root / "sweeps").mkdir()
    (made.root / "sweeps" / "mine.yaml").write_text(SPEC, encoding="utf-8")
    (made.root / "sweeps" / "less.yaml").write_text(SPEC.replace("image_size: {}, ", ""), encoding="utf-8")
    drawn(made)
    return made


def drawn(small: Small) -> None:
    """Stamp the pages as a sweep does that has just drawn them."""
    for name, notebook in executed(small).items():
        run = Run(model="llava-tiny", axis=name[1], parameters=postprocess.papermill(notebook)["parameters"])
        (job,) = inventory.jobs([run], small.results, small.runs)
        inventory.mark_page(job, small.runs)


def executed(small: Small) -> dict[collect.Name, postprocess.Notebook]:
    return collect.notebooks(sorted(small.runs.glob("llava-tiny/*.ipynb")))[0]


def repeats_arrive(small: Small) -> None:
    """Let A/A repeats be measured, which decide sentences about a difference from then on."""
    for cell in planning.plan("repeat", bookmaking.parameters("llava-tiny", "repeat")).cells:
        here = factory.but(bookmaking.measured(cell), hardware=machine.describe().slug)
        record_file.write(here, small.results)


def test_a_page_is_of_the_notebook_and_model_that_it_was_made_with(tmp_path: Path) -> None:
    own = bookmaking.executed(tmp_path, "fuyu-tiny", "batch_size")
    misplaced = own.with_name("visual_tokens.ipynb")
    misplaced.write_text(own.read_text("utf-8").replace("1.0", "2.0"), encoding="utf-8")
    copied = tmp_path / "llava-tiny" / "mine.ipynb"
    copied.parent.mkdir()
    copied.write_bytes(bookmaking.executed(tmp_path, "llava-tiny", "device").read_bytes())
    (tmp_path / "llava-tiny" / "device.ipynb").unlink()
    found, problems = collect.notebooks([misplaced, copied, own, misplaced])
    assert (set(found), problems) == ({("fuyu-tiny", "batch_size"), ("llava-tiny", "device")}, [])
    assert found["fuyu-tiny", "batch_size"] == postprocess.read(own)


def test_pages_older_than_the_repeats_say_so_everywhere(small: Small) -> None:
    said: list[str] = []
    small.assemble(said.append)
    assert said == []
    assert "outdated" not in small.read("runs/llava-tiny/image_size.ipynb")
    assert "utdated" not in small.read("generated/status.md")

    repeats_arrive(small)
    small.assemble(said.append)
    (line,) = said
    command = "vlmnb sweep sweeps/mine.yaml"
    assert line.startswith("2 of 2 pages are older than the records, A/A repeats")
    assert f"{command} --results {small.results} --runs {small.runs};" in line
    for page in ("image_size", "device"):
        assert "This page is outdated" in small.read(f"runs/llava-tiny/{page}.ipynb")
    status = small.read("generated/status.md")
    assert ">outdated<" in status
    assert f"`{command}`" in status
    assert str(small.results) not in status
    assert "**Outdated**" in small.read("generated/llava-tiny.md")

    drawn(small)
    small.assemble(said.append)
    assert len(said) == 1
    assert ">outdated<" not in small.read("generated/status.md")


def test_pages_of_another_machine_and_pages_made_by_hand_are_not_called_outdated(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small.runs / "llava-tiny" / "device.stamp").unlink()
    repeats_arrive(small)
    found = collect.outdated(executed(small), small.results, small.runs)
    assert list(found) == [("llava-tiny", "image_size")]
    monkeypatch.setitem(bookmaking.MACHINE, "fingerprint", "another")
    bookmaking.records(small.results, models=("llava-tiny",), axis_names=("image_size",))
    said: list[str] = []
    small.assemble(said.append)
    assert said == []


def test_a_page_that_no_sweep_file_asks_for_names_none(small: Small) -> None:
    page = small.runs / "llava-tiny" / "device.ipynb"
    own = page.read_text(encoding="utf-8").replace('"samples": 96', '"samples": 32')
    page.write_text(own, encoding="utf-8")
    drawn(small)
    repeats_arrive(small)
    found = collect.outdated(executed(small), small.results, small.runs)
    assert found["llava-tiny", "device"].command == "vlmnb sweep SPEC"


def test_only_sweep_files_that_were_swept_here_are_named_where_they_do() -> None:
    """The full sweep asks for the same pages, and for more of them than each of the others alone."""
    specs = ["sweeps/quickstart.yaml", "sweeps/pictures.yaml", "sweeps/cards.yaml"]
    asked = [run for spec in specs for run in inventory.load(PROJECT / spec)]
    some = [run for run in asked if run.axis in ("device", "batch_size", "card")]
    assert set(collect._sweeps(some, set(specs)).values()) == {specs[0], specs[2]}
    assert set(collect._sweeps(asked, set(specs)).values()) == set(specs)
    assert set(collect._sweeps(some[:1], {specs[1]}).values()) <= {specs[0], "sweeps/full.yaml"}


@pytest.mark.parametrize(
    ("weights", "name", "said"),
    [("others", "other_inputs", "only an older record, of other weights"), ("", "stale", "other code")],
)
def test_an_outdated_page_counts_older_records_as_status_does(
    weights: str, name: str, said: str, small: Small
) -> None:
    page = executed(small)["llava-tiny", "image_size"]
    run = Run(model="llava-tiny", axis="image_size", parameters=postprocess.papermill(page)["parameters"])
    for cell, one in resolved.resolve(run.plan.cells, small.results).items():
        inputs = {"weights": weights or one.revisions.weights, "data": one.revisions.data}
        made = factory.changed(bookmaking.measured(cell), "provenance", **inputs)
        record_file.write(factory.but(made, hardware=machine.describe().slug), small.results)
    repeats_arrive(small)
    found = collect.outdated(executed(small), small.results, small.runs)["llava-tiny", "image_size"]
    counted = status.report(inventory.jobs([run], small.results, small.runs))
    assert found._asdict()[name] == counted[name] == len(run.plan.cells)
    small.assemble()
    assert said in small.read("runs/llava-tiny/image_size.ipynb")


def test_a_page_is_outdated_by_turns_of_two_of_its_records_that_came_after_it(small: Small) -> None:
    parameters = postprocess.papermill(executed(small)["llava-tiny", "image_size"])["parameters"]
    run = Run(model="llava-tiny", axis="image_size", parameters={**parameters, "image_sizes": [32, 64]})
    keys = [record_file.write(measured(cell), small.results).stem for cell in run.plan.cells]

    def page() -> str:
        (job,) = inventory.jobs([run], small.results, small.runs)
        found = job.page
        inventory.mark_page(job, small.runs)
        return found

    pages = [page(), page()]
    for name, taken, day in (("one", keys[:1], 1), ("two", keys[:2], 1), ("two", keys[:2], 2)):
        timings = {key: factory.timed().timing for key in taken}
        made = Turns.model_validate({"name": name, "started_at": f"2027-01-0{day}", "timings": timings})
        turns.write(made, small.results, machine.describe().slug, "llava-tiny")
        pages += [page(), page()]
    assert pages == ["outdated", "current", *["current"] * 2, *["outdated", "current"] * 2]
