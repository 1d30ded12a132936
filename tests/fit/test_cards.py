"""Pages of model cards: outdated when what they are made from has changed, and only then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import factory
import pytest
from fakes import PROJECT

from vlmnb import paths
from vlmnb.records import record_file
from vlmnb.records.record import Record
from vlmnb.sweep import inventory

MODELS = ("llava-tiny", "fuyu-tiny")


def measured(model: str = "llava-tiny", optimization: str = "fp16", **changes: Any) -> Record:
    """A record of a GPU of the catalogue."""
    cell = factory.cell(model=model, device="cuda", dtype="fp16", optimization=optimization)
    machine = {"gpus": [{"name": changes.pop("gpu", "NVIDIA H200")}]}
    given = {"provenance": {"code": "0" * 16, "machine": machine, "started_at": "2026-01-01T00:00:00+00:00"}}
    return factory.record(cell, **{"hardware": "h200", **given, **changes})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The sweep file of a root of its own with the notebook of cards."""
    for name in ("models", "data", "notebooks"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "sweeps").mkdir()
    file = tmp_path / "sweeps" / "cards.yaml"
    file.write_text(json.dumps({"title": "Cards", "models": list(MODELS), "axes": {"card": {}}}))
    return file


def jobs(sweep: Path) -> list[inventory.Job]:
    root = sweep.parent.parent
    return inventory.jobs(inventory.load(sweep), root / "results", root / "runs")


def pages(sweep: Path) -> dict[str, str]:
    """State of each model's card."""
    return {job.run.model: job.page for job in jobs(sweep)}


def make(sweep: Path) -> None:
    """Mark every card as just made."""
    runs = sweep.parent.parent / "runs"
    for job in jobs(sweep):
        paths.write_atomic(paths.executed(runs, job.run.model, "card"), "{}")
        inventory.mark_page(job, runs)
    assert set(pages(sweep).values()) == {"current"}


@pytest.mark.parametrize(
    ("new", "outdated"),
    [
        (measured(), set(MODELS)),  # both predict fp16 from it
        (measured(optimization="fp16+bnb-4bit"), set(MODELS)),  # now there is something to fit on
        (measured(optimization="compile"), set()),
        (measured(optimization="fp16+prompt_lookup"), set()),
        (measured(gpu="Acme 9000"), set()),
        (measured(status="failed", timing=None, answers=()), set()),
        (measured(source="reports"), set()),
        (factory.record(), set()),  # of a CPU
    ],
)
def test_a_new_record_outdates_the_cards_that_would_use_it(
    new: Record, outdated: set[str], sweep: Path
) -> None:
    make(sweep)
    record_file.write(new, sweep.parent.parent / "results")
    assert {name for name, state in pages(sweep).items() if state == "outdated"} == outdated


def test_a_record_under_another_quantization_outdates_its_own_models_card(sweep: Path) -> None:
    root = sweep.parent.parent
    record_file.write(measured(), root / "results")
    make(sweep)
    record_file.write(measured(optimization="fp16+bnb-4bit", key="b" * 16), root / "results")
    assert pages(sweep) == {"llava-tiny": "outdated", "fuyu-tiny": "current"}


def test_a_changed_record_or_catalogue_or_parameter_outdates_a_card(sweep: Path) -> None:
    root = sweep.parent.parent
    written = record_file.write(measured(), root / "results")
    make(sweep)
    record_file.write(measured(latencies=(0.7, 0.6)), root / "results")
    assert set(pages(sweep).values()) == {"outdated"}
    make(sweep)
    written.unlink()
    assert set(pages(sweep).values()) == {"outdated"}
    make(sweep)
    sweep.write_text(sweep.read_text().replace("{}", '{"quantization": "nf4"}'))
    assert set(pages(sweep).values()) == {"outdated"}


def test_a_changed_catalogue_outdates_every_card(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = sweep.parent.parent
    make(sweep)
    (root / "data").unlink()
    (root / "data").mkdir()
    for file in (PROJECT / "data").glob("*.*"):
        shutil.copy(file, root / "data")
    monkeypatch.setenv("VLMNB_ROOT", str(root))
    assert paths.root() == root
    assert set(pages(sweep).values()) == {"current"}
    with (root / "data" / "gpus.csv").open("a") as file:
        file.write("\n")
    assert set(pages(sweep).values()) == {"outdated"}
