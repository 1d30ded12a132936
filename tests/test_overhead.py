"""The benchmark of what the measured path costs: its options, its turn, its verdict."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from vlmnb.device import slots


@pytest.fixture
def overhead(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(project / "benchmarks"))
    return importlib.import_module("overhead")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model nope", "unknown model 'nope'"),
        ("--rounds 0", "6 or more, not 0"),
        ("--rounds -3", "6 or more, not -3"),
        ("--rounds 1", "6 or more, not 1"),
        ("--rounds many", "whole number"),
        ("--batch-size 0", "1 or more, not 0"),
        ("--batches 500", "2000 were asked for; choose fewer with --batches and --batch-size"),
        ("--round 6 --what", "--what"),
    ],
)
def test_a_mistake_is_one_line(
    overhead: ModuleType, options: str, said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["overhead.py", *options.split()])
    code = overhead.main()
    out, told = capsys.readouterr()
    assert (code, out, told.count("\n")) == (2, "", 1)
    assert said in told


def test_it_measures_in_its_turn(overhead: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []

    @contextlib.contextmanager
    def held(names: Sequence[str], on_wait: Callable[[str], None]) -> Iterator[None]:
        steps.append(set(names))
        yield
        steps.append("released")

    monkeypatch.setattr(slots, "held", held)
    monkeypatch.delenv(slots.HELD, raising=False)
    monkeypatch.setattr(sys, "argv", ["overhead.py"])
    monkeypatch.setattr(overhead, "_compare", lambda cell, rounds: steps.append("compared"))
    overhead.main()
    assert steps == [set(slots.everything()), "compared", "released"]


@pytest.mark.long
@pytest.mark.slow
def test_it_tells_how_far_it_is_and_a_verdict(project: Path) -> None:
    options = "--rounds 6 --batches 1 --batch-size 1"
    command = [sys.executable, "benchmarks/overhead.py", *options.split()]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "warmed up, about" in done.stderr
    assert "round 6 of 6" in done.stderr
    assert "CPU time   measured / bare" in done.stdout
