"""What a user's mistake looks like to somebody who calls papermill by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import papermill.cli
import pytest
import yaml
from papermill.exceptions import PapermillExecutionError

from vlmnb import papermill_engine, paths
from vlmnb.errors import UserError
from vlmnb.sweep import supervisor


def raised(name: str) -> PapermillExecutionError:
    return PapermillExecutionError(1, 2, "source", name, "did you mean 'model'?", ["a stack"])


@pytest.mark.parametrize("program", [["/somewhere/bin/papermill"], ["-m"]])
@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (raised("UserError"), "vlmnb: did you mean 'model'?\n"),
        (UserError("no notebook"), "vlmnb: no notebook\n"),
        (FileNotFoundError(2, "No such file", "x.ipynb"), "No such file: 'x.ipynb'\n"),
    ],
)
def test_a_users_mistake_is_one_line_other_errors_keep_their_stack(
    mistake: Exception,
    line: str,
    program: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [*program, "in.ipynb"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "papermill", "in.ipynb"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    with pytest.raises(SystemExit, match="2"):
        sys.excepthook(type(mistake), mistake, None)
    told = capsys.readouterr().err
    assert told.endswith(line)
    assert told.count("\n") == 1
    sys.excepthook(PapermillExecutionError, raised("ZeroDivisionError"), None)
    assert "a stack" in capsys.readouterr().err


DEEP = "{a: " * 2000 + "1" + "}" * 2000


NO_MAPPING = [(given, "") for given in ("5", "[1, 2]", "text", "{a: &a [*a]}", "{a: b", DEEP)]
NO_NAME = [("{1: 2}", "1"), ("{true: 2}", "True"), ("{class: 3}", "'class'"), ('{"a\\n": 1}', "'a\\n'")]
NO_VALUE = [('{model: !!binary "Ig=="}', "model"), ("{samples: [!!set {'\"'}]}", "samples")]


@pytest.mark.parametrize(("parameters", "named"), NO_MAPPING + NO_NAME + NO_VALUE)
def test_parameters_that_are_no_plain_mapping_are_one_line(
    parameters: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    notebook, out = paths.root() / "notebooks" / "batch_size.ipynb", tmp_path / "out.ipynb"
    command = ["-m", "papermill", str(notebook), str(out), "-y", parameters]
    # One of each kind in a process of its own, the others where papermill is loaded already.
    alone = parameters in (DEEP, NO_NAME[0][0], NO_VALUE[0][0])
    code = subprocess.call([sys.executable, *command]) if alone else _run_here(command, monkeypatch)
    said = capfd.readouterr().err
    *_, line = said.splitlines()
    assert (code, line.startswith(f"vlmnb: {named}")) == (2, True)
    assert "Traceback" not in said
    assert not out.exists()


def _run_here(command: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run papermill as Python does that was started with these words; return the exit code."""
    monkeypatch.setattr(sys, "argv", command[1:])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    with pytest.raises((ValueError, TypeError, UserError, RecursionError, yaml.YAMLError)) as raised:
        papermill.cli.papermill(command[2:])
    with pytest.raises(SystemExit) as stop:
        sys.excepthook(raised.type, raised.value, raised.tb)
    return stop.value.code


@pytest.mark.slow
def test_a_good_run_logs_nothing_of_the_kernels(tmp_path: Path) -> None:
    notebook, out = paths.root() / "notebooks" / "card.ipynb", tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(out), "-p", "results", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Executing" in ended.stderr
    assert "IPKernelApp" not in ended.stderr


@pytest.mark.slow
def test_a_notebook_does_not_show_that_widgets_are_missing() -> None:
    script = """
import types
import ipykernel.zmqshell
from vlmnb import experiment
given = {"results": "results"}
plan = types.SimpleNamespace(source="measured", model="llava-tiny", parameters=given, cells=[])
print(experiment.records(plan))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), "IProgress" in ended.stderr) == ("[]", False)


@pytest.mark.parametrize("program", ["/usr/bin/pytest", "-c", "/x/vlmnb/notebook_run.py"])
def test_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    papermill_engine.install()
    assert sys.excepthook is sys.__excepthook__


def test_processes_keep_their_bytecode_where_this_one_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(paths.bytecode())}
    assert supervisor.with_bytecode() == kept
    monkeypatch.setattr(sys, "pycache_prefix", "a folder of the user's own")
    assert supervisor.with_bytecode() == {}
