"""Execute one run: its notebook in separate processes, then publish the page or file the failure."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.device.slots import Slot
from vlmnb.errors import with_name
from vlmnb.files import temporary
from vlmnb.files.changes import signature
from vlmnb.records import cells_to_measure
from vlmnb.spec.planning import Run
from vlmnb.sweep import supervisor, warm
from vlmnb.types import Frozen

POLL_S, LOOK_S = 0.5, 0.05
"""How often a run is looked at, and whether it has begun or ended a cell."""

TAIL_BYTES = 4000
"""How much of the end of a failed run's stderr is kept."""

Kind = Literal["ok", "failed", "died", "cell_limit", "run_limit", "infrastructure", "stopped"]


class RunResult(Frozen):
    """How a run ended.

    Attributes:
        kind: ``failed``: the notebook raised an error; ``died``: its Jupyter kernel died;
            ``infrastructure``: anything that is not the notebook's fault.
        error: One line; empty if the run succeeded.
        tail: The end of its stderr.
        cell: Key of the cell that was being measured when the run ended, or empty.
    """

    run: Run
    kind: Kind = "ok"
    error: str = ""
    tail: str = ""
    cell: str = ""


class ExecutionOptions(Frozen):
    """Folders, number of torch threads and limits in seconds for every run of a sweep."""

    results: Path
    runs: Path
    threads: int
    run_limit_s: float = 12 * 3600
    cell_limit_s: float = 2 * 3600


def papermill_line(axis: str, parameters: Mapping[str, Any], *, python: str = "") -> str:
    """Return the shell command that executes the notebook of an axis with parameters.

    ``python`` is the interpreter that has papermill; empty if the environment is activated.
    """
    words = [*([python, "-m"] if python else []), "papermill", f"notebooks/{axis}.ipynb", "out.ipynb"]
    lists = {}
    for name, value in parameters.items():
        if isinstance(value, (list, tuple)):
            lists[name] = list(value)
        else:
            words += ["-p", name, str(value)]
    if lists:
        words += ["-y", yaml.safe_dump(lists, default_flow_style=True, width=10_000).strip()]
    return shlex.join(words)


class StartedRun:
    """A run whose processes have started, with a temporary folder ``scratch`` and a supervisor ``process``.

    It measures nothing before it may begin. After `close` no process and no temporary file of it is left.
    """

    def __init__(
        self, run: Run, options: ExecutionOptions, slot: Slot, again: Collection[str],
        parents: warm.Parents | None = None,
    ) -> None:  # fmt: skip
        """Start the processes; the caller holds the slot.

        Args:
            again: Keys of cells to measure again.
            parents: Warm parents of the sweep, to fork the Jupyter kernel from.
        """
        self.run, self.options = run, options
        self._folders = contextlib.ExitStack()
        self.scratch = self._folders.enter_context(temporary.Scratch(temporary.RUN))
        # The Jupyter kernel's sockets need a short path.
        sockets = self._folders.enter_context(temporary.Scratch(temporary.SOCKETS, temporary.short()))
        shared = {
            **os.environ,
            **slots.environment(slot, options.threads),
            **supervisor.with_bytecode(),
            "VLMNB_QUIET": "1",
            "PYTHONUNBUFFERED": "1",
        }
        place = parents.of(shared) if parents else ""
        request = {
            "axis": run.axis,
            "parameters": {**run.parameters, "model": run.model, "results": str(options.results)},
            "scratch": str(self.scratch),
            "sockets": str(sockets),
            "run_limit_s": options.run_limit_s,
            "cell_limit_s": options.cell_limit_s,
            "warm": place,
        }
        environment = {
            **shared,
            cells_to_measure.RATES: str(Path(place).parent) if place else "",
            "IPYTHONDIR": str(self.scratch),
            cells_to_measure.PROGRESS: str(self.scratch / "cell.json"),
            cells_to_measure.AGAIN: str(self.scratch / "again"),
            cells_to_measure.MAY_BEGIN: str(self.scratch / "may-begin"),
        }
        try:
            (self.scratch / "again").write_text("\n".join(again), encoding="utf-8")
            with (self.scratch / "stderr").open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "vlmnb.sweep.supervisor", json.dumps(request)],
                    stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
                )  # fmt: skip
        except OSError:
            self._folders.close()
            raise
        self._mark = supervisor.mark_of(self.process.pid)

    def end(self) -> None:
        """End every process of the run: the supervisor kills what it watches once its input closes."""
        if self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(supervisor.PATIENCE_S + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not (self.scratch / "ended.json").exists():
            supervisor.end_marked(self._mark)
            supervisor.await_guards(self.scratch)

    def close(self) -> None:
        """End every process of the run and remove its files."""
        self.end()
        self._folders.close()


def execute(begun: StartedRun, on_poll: Callable[[str], None], stop: threading.Event) -> RunResult:
    """Let a run measure until it ends or is to stop, and publish its notebook.

    A failed run never replaces a good page. No process of the run outlives this call, nor this process if it
    is killed. About twice a second ``on_poll`` gets a description of the cell being measured, or ``""``.
    """
    with contextlib.closing(begun):
        (begun.scratch / "may-begin").touch()
        while begun.process.poll() is None:
            on_poll(_read(begun.scratch / "cell.json").get("cell", ""))
            if stop.is_set():
                begun.process.terminate()
            _wait(begun.process, begun.scratch / "cell.json")
        begun.end()
        result = _result(begun)
        return _published(result, begun.options, begun.scratch / "out.ipynb")


def _wait(process: subprocess.Popen[bytes], file: Path) -> None:
    """Wait until a process ends or the file changes, a while at most."""
    until, was = time.monotonic() + POLL_S, signature(file)
    while time.monotonic() < until and signature(file) == was:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
            return


def file_failure(result: RunResult, options: ExecutionOptions, *, stale: bool = False) -> None:
    """Keep the error of a failed run, the end of its stderr, and the command that repeats it.

    ``stale`` says that it measured stale cells again.
    """
    run = result.run
    words = ["cd", shlex.quote(str(paths.root())), "&&"]
    words += [f"{slots.THREADS}={options.threads}"] * (options.threads != slots.default_threads())
    words += [f"{cells_to_measure.STALE}=1"] * stale
    repeated = {"model": run.model, **run.parameters, "results": str(options.results)}
    words.append(papermill_line(run.axis, repeated, python=sys.executable))
    report = {
        "model": run.model,
        "axis": run.axis,
        "error": result.error,
        "stderr_tail": result.tail,
        "command": " ".join(words),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    paths.write_atomic(paths.failure(options.runs, run.model, run.axis), json.dumps(report, indent=1) + "\n")


def forget_failure(run: Run, options: ExecutionOptions) -> None:
    """Remove what was kept of an earlier failure of a run."""
    failure = paths.failure(options.runs, run.model, run.axis)
    with contextlib.suppress(OSError):  # no earlier failure, or other runs have failures
        failure.with_suffix(".ipynb").unlink(missing_ok=True)
        failure.unlink()
        failure.parent.rmdir()
        failure.parent.parent.rmdir()


def _published(result: RunResult, options: ExecutionOptions, made: Path) -> RunResult:
    """Copy the notebook of a run to its place, or next to the failure report."""
    run = result.run
    if result.kind == "ok":
        try:
            _copy(made, paths.executed(options.runs, run.model, run.axis))
        except OSError as error:
            return result.model_copy(update={"kind": "infrastructure", "error": str(error)})
        forget_failure(run, options)
    elif made.exists():
        with contextlib.suppress(OSError):
            _copy(made, paths.failure(options.runs, run.model, run.axis).with_suffix(".ipynb"))
    return result


def _copy(made: Path, target: Path) -> None:
    with paths.temporary_beside(target) as written:
        shutil.copyfile(made, written)


def _result(begun: StartedRun) -> RunResult:
    """Read how a run ended from what its supervisor and papermill left in the temporary folder."""
    run, scratch, options = begun.run, begun.scratch, begun.options
    ended, notebook = _read(scratch / "ended.json"), _read(scratch / "result.json")
    why, tail = ended.get("why"), _tail(scratch / "stderr")
    at_work = (ended.get("cell") or {}) if why == "cell_limit" else _read(scratch / "cell.json")
    stopped = {
        "stopped": "stopped",
        "run_limit": f"the run took longer than {options.run_limit_s:g} s (--run-limit)",
        "cell_limit": f"a cell took longer than {options.cell_limit_s:g} s (--cell-limit)",
    }
    if why in stopped:
        kind, error = why, stopped[why]
    elif notebook:
        kind, error = notebook["kind"], notebook["error"]
    elif ended:
        code = ended["code"]
        last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
        how = f"signal {-code}" if isinstance(code, int) and code < 0 else f"exit code {code}"
        kind, error = "infrastructure", f"papermill ended with {how}{': ' if last else ''}{last.strip()}"
    elif (code := begun.process.returncode) > 1:  # the number of a system's error
        kind, error = "infrastructure", with_name(OSError(code, os.strerror(code), str(scratch)))
    else:
        kind, error = "infrastructure", "the run's supervisor was killed"
    return RunResult(run=run, kind=kind, error=error, tail=tail, cell=at_work.get("key", ""))


def _read(file: Path) -> dict[str, Any]:
    """Return the content of a small JSON file; empty if it is missing or half written."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(file.read_text(encoding="utf-8")) or {}
    return {}


def _tail(file: Path) -> str:
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
        return log.read().decode("utf-8", errors="replace")
    return ""
