"""One run: its notebook in processes of its own, then published in one step, or filed as a failure."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.device.slots import Slot
from vlmnb.files import temporary as folders
from vlmnb.records import claims
from vlmnb.spec.cell import Run
from vlmnb.sweep import supervisor
from vlmnb.types import Frozen

POLL_S = 0.5
TAIL_BYTES = 4000
"""How much of the end of a failed run's stderr is kept."""

Kind = Literal["ok", "failed", "died", "cell_limit", "run_limit", "infrastructure", "stopped"]


class Limits(Frozen):
    """How long things may take, in seconds."""

    run_s: float = 12 * 3600
    cell_s: float = 2 * 3600


class Outcome(Frozen):
    """How a run ended.

    Attributes:
        kind: ``failed`` is the notebook's own error; ``died`` its kernel's death; ``infrastructure``
            everything that is no fault of the notebook.
        error: One line; empty where the run ended well.
        tail: The end of its stderr.
        cell: Key of the cell that was being measured when it ended, or empty.
    """

    run: Run
    kind: Kind = "ok"
    error: str = ""
    tail: str = ""
    cell: str = ""


class Setting(Frozen):
    """In which way runs are executed.

    Attributes:
        threads: Threads that torch computes with.
    """

    results: Path
    runs: Path
    threads: int
    limits: Limits = Limits()


def papermill_line(
    axis: str, parameters: Mapping[str, Any], output: str = "out.ipynb", *, python: str = ""
) -> str:
    """The shell command that executes a notebook with parameters.

    Args:
        axis: Name of the notebook.
        parameters: Its parameters.
        output: The executed notebook.
        python: Interpreter that has papermill; empty where the environment is activated.
    """
    scalars = {k: v for k, v in parameters.items() if not isinstance(v, (list, tuple))}
    lists = {k: list(v) for k, v in parameters.items() if isinstance(v, (list, tuple))}
    words = [*([python, "-m"] if python else []), "papermill", f"notebooks/{axis}.ipynb", output]
    for name, value in scalars.items():
        words += ["-p", name, str(value)]
    if lists:
        words += ["-y", yaml.safe_dump(lists, default_flow_style=True, width=10_000).strip()]
    return shlex.join(words)


class Begun:
    """A run whose processes have started up. It measures nothing before its turn.

    Nothing of it is left, neither process nor file, once it is closed.

    Attributes:
        run: What it executes.
        scratch: Its temporary folder.
        process: Its supervisor.
    """

    def __init__(self, run: Run, setting: Setting, slot: Slot, again: Collection[str]) -> None:
        """Start the processes.

        Args:
            run: What to execute.
            setting: Folders, threads and limits.
            slot: Device of the run, which the caller holds.
            again: Keys of recorded or stale cells that are to be measured again.
        """
        self.run = run
        self._folder = folders.Scratch(folders.RUN)
        # Sockets of the kernel, whose path must be short.
        self._sockets = folders.Scratch(folders.SOCKETS, folders.short())
        self.scratch = self._folder.path
        request = {
            "scratch": str(self.scratch),
            "run_limit_s": setting.limits.run_s,
            "cell_limit_s": setting.limits.cell_s,
            "run": {
                "axis": run.axis,
                "parameters": {**run.parameters, "model": run.model, "results": str(setting.results)},
                "output": str(self.scratch / "out.ipynb"),
                "outcome": str(self.scratch / "outcome.json"),
                "sockets": str(self._sockets.path),
            },
        }
        environment = {
            **os.environ,
            **slots.environment(slot, setting.threads),
            "VLMNB_QUIET": "1",
            "IPYTHONDIR": str(self.scratch),
            "PYTHONUNBUFFERED": "1",
            claims.PROGRESS: str(self.scratch / "cell.json"),
            claims.AGAIN: str(self.scratch / "again"),
            claims.TURN: str(self.scratch / "turn"),
        }
        try:
            (self.scratch / "again").write_text("\n".join(again), encoding="utf-8")
            with (self.scratch / "stderr").open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "vlmnb.sweep.supervisor", json.dumps(request)],
                    stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
                )  # fmt: skip
        except OSError:
            self._remove()
            raise
        self._mark = _mark(self.process)

    @property
    def cell(self) -> str:
        """Words of the cell being measured, or empty."""
        return str(_read(self.scratch / "cell.json").get("cell", ""))

    def turn(self) -> None:
        """Let it measure."""
        (self.scratch / "turn").touch()

    def end(self) -> None:
        """Leave no process of it."""
        _end(self.process)
        if not (self.scratch / "ended.json").exists():
            supervisor.end_marked(self._mark)

    def close(self) -> None:
        """Leave nothing of it."""
        self.end()
        self._remove()

    def _remove(self) -> None:
        self._folder.remove()
        self._sockets.remove()


def execute(
    run: Run,
    setting: Setting,
    *,
    slot: Slot = slots.CPU,
    again: Collection[str] = (),
    begun: Begun | None = None,
    on_poll: Callable[[str], None] = lambda cell: None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Execute a run in processes of its own and publish its notebook.

    A failure never replaces a good notebook. Whatever happens, no process of the run is left when this
    returns, nor when this process is killed.

    Args:
        run: What to execute.
        setting: Folders, threads and limits.
        slot: Device of the run, which the caller holds.
        again: Keys of recorded or stale cells that are to be measured again.
        begun: The run, where it has started up already.
        on_poll: Called about twice a second with the words of the cell being measured, or ``""``.
        stop: Ends the run when it is set.
    """
    begun = begun or Begun(run, setting, slot, again)
    with contextlib.closing(begun):
        begun.turn()
        while begun.process.poll() is None:
            on_poll(begun.cell)
            if stop is not None and stop.is_set():
                begun.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                begun.process.wait(POLL_S)
        begun.end()
        return _published(_outcome(run, begun.scratch, setting.limits), setting, begun.scratch / "out.ipynb")


def _published(outcome: Outcome, setting: Setting, made: Path) -> Outcome:
    """Put the notebook of a run in its place, or beside the report of its failure."""
    run = outcome.run
    failure = paths.failure(setting.runs, run.model, run.axis)
    if outcome.kind == "ok":
        try:
            _publish(made, paths.executed(setting.runs, run.model, run.axis))
        except OSError as error:
            return outcome.model_copy(update={"kind": "infrastructure", "error": str(error)})
        with contextlib.suppress(OSError):  # there was none, or others have failed
            failure.with_suffix(".ipynb").unlink(missing_ok=True)
            failure.unlink()
            failure.parent.rmdir()
            failure.parent.parent.rmdir()
    elif made.exists():
        with contextlib.suppress(OSError):
            _publish(made, failure.with_suffix(".ipynb"))
    return outcome


def file_failure(outcome: Outcome, setting: Setting, *, stale: bool = False) -> None:
    """Keep what is known of a failed run: its error, the end of its stderr, how to repeat it.

    Args:
        outcome: How it ended.
        setting: In which way it was executed.
        stale: Whether it measured stale cells again.
    """
    run = outcome.run
    given = {slots.THREADS: str(setting.threads)} if setting.threads != slots.default_threads() else {}
    given |= {claims.STALE: "1"} if stale else {}
    environment = "".join(f"{name}={value} " for name, value in given.items())
    repeated = {"model": run.model, **run.parameters, "results": str(setting.results)}
    report = {
        "model": run.model,
        "axis": run.axis,
        "error": outcome.error,
        "stderr_tail": outcome.tail,
        "command": f"cd {shlex.quote(str(paths.root()))} && "
        f"{environment}{papermill_line(run.axis, repeated, python=sys.executable)}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    paths.write_atomic(paths.failure(setting.runs, run.model, run.axis), json.dumps(report, indent=1) + "\n")


def _publish(made: Path, target: Path) -> None:
    with paths.temporary_beside(target) as written:
        shutil.copyfile(made, written)


def _mark(process: subprocess.Popen[bytes]) -> str:
    try:
        return supervisor.mark_of(process.pid)
    except Exception:  # it has ended already
        return f"{process.pid}:"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the supervisor kill what it watches, and wait for it."""
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(supervisor.PATIENCE_S + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _outcome(run: Run, scratch: Path, limits: Limits) -> Outcome:
    ended, told = _read(scratch / "ended.json"), _read(scratch / "outcome.json")
    cell = (ended.get("cell") or {}).get("key", "")
    if ended.get("why") != "cell_limit":
        cell = _read(scratch / "cell.json").get("key", "")
    tail = _tail(scratch / "stderr")
    said = {
        "stopped": ("stopped", "stopped"),
        "run_limit": ("run_limit", f"the run took longer than {limits.run_s:g} s (--run-limit)"),
        "cell_limit": ("cell_limit", f"a cell took longer than {limits.cell_s:g} s (--cell-limit)"),
    }
    if ended.get("why") in said:
        kind, error = said[ended["why"]]
    elif told:
        kind, error = told["kind"], told["error"]
    elif ended:
        code = ended["code"]
        last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
        how = f"signal {-code}" if isinstance(code, int) and code < 0 else f"exit code {code}"
        kind, error = "infrastructure", f"papermill ended with {how}{': ' if last else ''}{last.strip()}"
    else:
        kind, error = "infrastructure", "the run's supervisor was killed"
    return Outcome.model_validate({"run": run, "kind": kind, "error": error, "tail": tail, "cell": cell})


def _read(file: Path) -> dict[str, Any]:
    """Content of a small JSON file, empty where it is missing or half written."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(file.read_text(encoding="utf-8")) or {}
    return {}


def _tail(file: Path) -> str:
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
        return log.read().decode("utf-8", errors="replace")
    return ""
