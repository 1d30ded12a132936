"""One run: papermill into a temporary file, then published in one step, or filed as a failure."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from vlmnb import axes, paths
from vlmnb.spec import Frozen, Run

POLL_S = 0.5


class Outcome(Frozen):
    """How a run ended. A run that ended well has an empty error."""

    run: Run
    error: str = ""


def papermill_line(axis: str, parameters: Mapping[str, Any], output: str = "out.ipynb") -> str:
    """The shell command that executes a notebook with parameters."""
    scalars = {k: v for k, v in parameters.items() if not isinstance(v, (list, tuple))}
    lists = {k: list(v) for k, v in parameters.items() if isinstance(v, (list, tuple))}
    words = ["papermill", f"notebooks/{axis}.ipynb", output]
    for name, value in scalars.items():
        words += ["-p", name, str(value)]
    if lists:
        words += ["-y", yaml.safe_dump(lists, default_flow_style=True, width=10_000).strip()]
    return shlex.join(words)


def execute(run: Run, results: Path, runs: Path, *, on_poll: Callable[[], None] = lambda: None) -> Outcome:
    """Execute a run in processes of its own and publish its notebook.

    A failure never replaces a good notebook: it is filed below ``failures`` with its error, the end of
    its stderr and the command to rerun it.

    Args:
        run: What to execute.
        results: Folder of the records.
        runs: Folder of the executed notebooks.
        on_poll: Called about twice a second while the run goes on.
    """
    target = paths.executed(runs, run.model, run.axis)
    filed = paths.failure(runs, run.model, run.axis)
    parameters = {**run.parameters, "model": run.model, "results": str(results)}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vlmnb-") as scratch:
        output, log = Path(scratch) / "out.ipynb", Path(scratch) / "stderr"
        request = {"axis": run.axis, "parameters": parameters, "output": str(output)}
        command = [sys.executable, "-m", "vlmnb.execute", json.dumps(request)]
        environment = {**os.environ, "VLMNB_QUIET": "1", "IPYTHONDIR": scratch, "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=environment
            )
            try:
                while process.poll() is None:
                    on_poll()
                    _wait(process, POLL_S)
            except BaseException:
                process.terminate()
                process.wait()
                raise
        tail = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        error = "" if process.returncode == 0 else _last_line(tail) or f"exit code {process.returncode}"
        if not error:
            with paths.temporary_beside(target) as written:
                written.write_bytes(output.read_bytes())
            filed.unlink(missing_ok=True)
            return Outcome(run=run)
        report = {
            "model": run.model,
            "axis": run.axis,
            "error": error,
            "stderr_tail": tail,
            "command": papermill_line(run.axis, {"model": run.model, **run.parameters}),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        paths.write_atomic(filed, json.dumps(report, indent=1) + "\n")
        if output.exists():
            with paths.temporary_beside(filed.with_suffix(".ipynb")) as written:
                written.write_bytes(output.read_bytes())
        return Outcome(run=run, error=error)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _die_with_parent() -> None:
    """Have the kernel of the operating system end this process when the sweep is killed.

    Without it a killed sweep would leave papermill measuring on, beside the sweep that resumes. The
    notebook's kernel follows by itself: it ends within a second once papermill is gone. Linux only.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _papermill(axis: str, parameters: dict[str, Any], output: str) -> int:
    """The child's work: papermill with a kernel that talks over a socket file of its own."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    axes.plan(axis, parameters)
    # Socket files instead of TCP ports: kernels started at one time would race for the ports. The path
    # must be short and of this run alone.
    with tempfile.TemporaryDirectory(prefix="vk", dir="/tmp" if os.path.isdir("/tmp") else None) as folder:
        settings = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/k"})
        settings.HistoryManager.enabled = False
        try:
            papermill.execute_notebook(
                str(paths.notebook(axis)),
                output,
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                autosave_cell_every=0,
                config=settings,
            )
        except PapermillExecutionError as error:
            print(f"{error.ename}: {' '.join(str(error.evalue).split())}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    _die_with_parent()
    asked = json.loads(sys.argv[1])
    sys.exit(_papermill(asked["axis"], asked["parameters"], asked["output"]))
