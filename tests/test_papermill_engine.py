"""What a wrong parameter looks like to somebody who calls papermill by itself."""

from __future__ import annotations

import sys

import pytest
from papermill.exceptions import PapermillExecutionError

from vlmnb import papermill_engine


def test_a_users_mistake_is_one_line_other_errors_keep_their_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/papermill", "in.ipynb"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    mistake, other = (
        PapermillExecutionError(1, 2, "source", name, "did you mean 'model'?", ["a stack"])
        for name in ("UserError", "ZeroDivisionError")
    )
    with pytest.raises(SystemExit, match="2"):
        sys.excepthook(PapermillExecutionError, mistake, None)
    assert capsys.readouterr().err == "vlmnb: did you mean 'model'?\n"
    sys.excepthook(PapermillExecutionError, other, None)
    assert "a stack" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["/usr/bin/pytest", "-c", "/x/vlmnb/notebook_run.py"])
def test_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    assert sys.excepthook is sys.__excepthook__
