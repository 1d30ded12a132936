"""The process between a sweep and a run: it enforces time limits and leaves no process of the run behind.

A notebook's Jupyter kernel may start processes that start others, leave their group, ignore signals and keep
a GPU. On Linux this process adopts all of them when their parent ends (``prctl(2)``,
PR_SET_CHILD_SUBREAPER), so that at the end it can kill until it has no child left. It also ends the run if
the sweep is killed, because its standard input closes then.

It starts for every run, so it imports only the standard library, psutil and light modules of this package.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from vlmnb import paths
from vlmnb.files.temporary import remove_left

MARK = "VLMNB_SUPERVISOR"
"""Environment variable of all processes of a run: process id and start time of their supervisor."""

POLL_S = 0.2
PATIENCE_S = 20.0
"""How long killed processes may take to disappear; one inside a driver call takes long."""


def main(request: dict[str, Any]) -> int:
    """Run papermill, watch it, clean up, write to ``ended.json`` how it ended; return 0 or why it cannot."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the sweep too, which decides
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    if sys.platform == "linux":
        pr_set_child_subreaper = 36  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)
    scratch = Path(request["scratch"])
    environment = {**os.environ, MARK: mark_of(os.getpid())}
    child = subprocess.Popen(
        [sys.executable, "-m", "vlmnb.sweep.notebook_process", json.dumps(request)],
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    watch, why = Watch(request["run_limit_s"], request["cell_limit_s"], scratch / "cell.json"), ""
    ended = [os.pidfd_open(child.pid)] if sys.platform == "linux" else []  # its end is seen at once
    while child.poll() is None and not why:
        if asked_to_stop:
            why = "stopped"
        elif sys.stdin in select.select([sys.stdin, *ended], [], [], POLL_S)[0] and not os.read(0, 1):
            why = "orphaned"
        else:
            why = watch.exceeded()
    end_all()
    await_guards(scratch)
    report = {"why": why, "code": child.returncode, "cell": watch.cell}
    if why == "orphaned":
        for folder in (scratch, request["sockets"]):
            shutil.rmtree(folder, ignore_errors=True)
        remove_left()  # other folders of the killed sweep, or of the node
    else:
        try:
            (scratch / "ended.json").write_text(json.dumps(report), encoding="utf-8")
        except OSError as error:
            return error.errno or 0
    return 0


class Watch:
    """The clocks of a run and of the cell that it measures."""

    def __init__(self, run_limit_s: float, cell_limit_s: float, file: Path) -> None:
        """Start the clocks; ``file`` names the cell that is being measured, none while cells take turns."""
        self._run_limit_s, self._cell_limit_s, self._file = run_limit_s, cell_limit_s, file
        self._began = self._cell_began = time.monotonic()
        self.cell: dict[str, str] | None = None

    def exceeded(self) -> str:
        """Return the limit that is exceeded, or an empty text."""
        with contextlib.suppress(OSError, ValueError):
            cell = json.loads(self._file.read_text(encoding="utf-8"))
            if cell != self.cell:
                self.cell, self._cell_began = cell, time.monotonic()
        now = time.monotonic()
        if now - self._began > self._run_limit_s:
            return "run_limit"
        if self.cell and self.cell["key"] and now - self._cell_began > self._cell_limit_s:
            return "cell_limit"
        return ""


def end_all() -> None:
    """Kill every descendant until none is left, or patience ends."""
    until = time.monotonic() + PATIENCE_S
    while (alive := psutil.Process().children(recursive=True)) and time.monotonic() < until:
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=0.1)


def note_guard(scratch: Path, guard: str) -> None:
    """Note the guard of a forked Jupyter kernel, which is no descendant of the run's supervisor."""
    with (scratch / "guards").open("a", encoding="utf-8") as file:
        file.write(f"{guard}\n")


def await_guards(scratch: Path) -> None:
    """Wait until the guards of a run have killed what they watch and ended; after a while, kill it."""
    until = time.monotonic() + PATIENCE_S
    with contextlib.suppress(OSError):
        for guard in (scratch / "guards").read_text(encoding="utf-8").split():
            while _running(guard):
                if time.monotonic() > until:
                    process = psutil.Process(int(guard.partition(":")[0]))
                    for each in [*process.children(recursive=True), process]:
                        with contextlib.suppress(psutil.Error):
                            each.kill()
                time.sleep(0.01)


def with_bytecode() -> dict[str, str]:
    """Return the environment in which processes keep their bytecode, if this one keeps none.

    Containers often set PYTHONDONTWRITEBYTECODE, and every Jupyter kernel would compile all modules anew.
    """
    if not sys.dont_write_bytecode or sys.pycache_prefix:
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(paths.bytecode())}


def mark_of(pid: int) -> str:
    """Identify a process even if its number is used again later."""
    return f"{pid}:{psutil.Process(pid).create_time():.2f}"


def end_marked(mark: str | None = None) -> None:
    """Kill what a killed supervisor left behind: that of a mark, or every one of this user that has ended."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            theirs = process.environ().get(MARK)
            if theirs and theirs == (mark or theirs) and not _running(theirs) and process.pid != os.getpid():
                process.kill()


def _running(mark: str) -> bool:
    try:
        return mark_of(int(mark.partition(":")[0])) == mark
    except (psutil.Error, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
