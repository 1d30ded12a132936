"""What a user's mistake looks like to somebody who calls papermill by itself."""

from __future__ import annotations

import sys

import pytest
from papermill.exceptions import PapermillExecutionError

from vlmnb import papermill_engine
from vlmnb.errors import UserError


def raised(name: str) -> PapermillExecutionError:
    return PapermillExecutionError(1, 2, "source", name, "did you mean 'model'?", ["a stack"])


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (raised("UserError"), "vlmnb: did you mean 'model'?\n"),
        (UserError("no notebook"), "vlmnb: no notebook\n"),
        (FileNotFoundError(2, "No such file", "x.ipynb"), "No such file: 'x.ipynb'\n"),
    ],
)
def test_a_users_mistake_is_one_line_other_errors_keep_their_stack(
    mistake: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/papermill", "in.ipynb"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    with pytest.raises(SystemExit, match="2"):
        sys.excepthook(type(mistake), mistake, None)
    told = capsys.readouterr().err
    assert told.endswith(line)
    assert told.count("\n") == 1
    sys.excepthook(PapermillExecutionError, raised("ZeroDivisionError"), None)
    assert "a stack" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["/usr/bin/pytest", "-c", "/x/vlmnb/notebook_run.py"])
def test_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    assert sys.excepthook is sys.__excepthook__
