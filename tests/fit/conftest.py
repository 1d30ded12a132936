"""What the tests of ``vlmnb fit`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlmnb import cli

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A function that runs ``vlmnb fit`` on an empty results folder and returns what it prints."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> str:
        results = () if "--results" in arguments else ("--results", str(tmp_path))
        monkeypatch.setattr("sys.argv", ["vlmnb", "fit", *arguments, *results])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        assert (stop.value.code or 0) == (2 if captured.err else 0)
        return captured.err or captured.out

    return run
