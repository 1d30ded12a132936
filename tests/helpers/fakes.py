"""A project whose notebook measures nothing: cells take milliseconds and misbehave as a test asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil

from vlmnb.sweep import warm

PROJECT = Path(__file__).resolve().parents[2]

PARAMETERS = """
model: str = "llava-tiny"  # model
samples: int = 4  # samples
batch_sizes: list[int] = [1]  # rows
device: str = ""  # device
length: str = "natural"  # length
results: str = "results"  # records
"""

MEASURE = """
import json, os, pathlib, signal, time
from vlmnb import paths
from vlmnb.records import cells_to_measure
from vlmnb.records.resolved import blank_record
from vlmnb.spec import planning

given = {name: globals()[name] for name in ("model", "samples", "batch_sizes", "device", "length", "results")}
plan = planning.plan("batch_size", given)
root = paths.root()

def behave(cell):
    how = json.loads((root / "behave.json").read_text()).get(str(cell.batch_size), "")
    with (root / "measured.log").open("a") as log:
        log.write(f"{cell.batch_size} {os.environ.get('CUDA_VISIBLE_DEVICES')} {time.time()}\\n")
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "die once" and not (root / "died").exists():
        (root / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.setsid()
                os.fork()
                (root / f"stubborn{os.getpid()}").touch()
                time.sleep(600)
            finally:
                os._exit(0)
        time.sleep(600)
    elif how == "error":
        raise ValueError("no such thing")
    elif how == "full":
        raise OSError(28, "No space left on device")
    elif how.startswith("sleep"):
        time.sleep(float(how.split()[1]))
    elif how == "wait":
        while not (root / "go").exists():
            time.sleep(0.05)
    elif how == "huge":
        return "unsupported", "<script>alert(1)</script>" + "x" * 3_000_000
    elif how == "out of memory":
        return "out_of_memory", "CUDA out of memory"
    return "ok", how if how == "leave out" else ""

(root / f"started-{model}").touch()
records = []
with cells_to_measure.CellsToMeasure(plan.cells, pathlib.Path(results)) as at:
    for cell in at.cells:
        found = at.recorded(cell)
        if found is None:
            with at.claimed(cell):
                found = at.recorded(cell)
                if found is None:
                    found, reason = at.ran_out(cell, records), ""
                    if found is None:
                        status, reason = behave(cell.cell)
                        found = blank_record(cell, "2026-01-01T00:00:00+00:00", status, reason)
                    if reason != "leave out":
                        at.write(found)
        records.append(found)
print(sorted((record.cell.batch_size, record.status) for record in records))
while (root / f"draw-{model}").exists():
    time.sleep(0.05)
if (root / "exit").exists():
    raise SystemExit(0)
if (root / "kill").exists():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def vlmnb(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command line in a folder."""
    command, env = [sys.executable, "-m", "vlmnb", *arguments], os.environ | environment
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


class Checkout:
    """A project of its own with one notebook, and calls of the command line in it.

    Attributes:
        root: The folder; ``results`` and ``runs`` lie in it.
        locks: Folder of the device locks; its own, so that it waits for no other process of this machine.
        warm: Whether Jupyter kernels are forked from a parent that has imported torch, which takes seconds.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.results, self.runs = root, root / "results", root / "runs"
        self.locks = root
        self.warm = "0"
        root.mkdir(exist_ok=True)
        for name in ("models", "data"):
            (root / name).symlink_to(PROJECT / name)
        (root / "notebooks").mkdir()
        (root / "sweeps").mkdir()
        cells = [nbformat.v4.new_code_cell(PARAMETERS), nbformat.v4.new_code_cell(MEASURE)]
        cells[0].metadata["tags"] = ["parameters"]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, root / "notebooks" / "batch_size.ipynb")
        self.behave({})
        self.spec(["llava-tiny"], [1, 2, 3])

    def behave(self, how: dict[int, str]) -> None:
        """Set what measuring does, by batch size."""
        (self.root / "behave.json").write_text(json.dumps(how))

    def spec(self, models: list[str], batch_sizes: list[int], device: str = "cpu") -> None:
        axes = {"batch_size": {"batch_sizes": batch_sizes, "device": device}}
        given = {"samples": 4, "length": "natural"}
        content = {"title": "Fake", "models": models, "parameters": given, "axes": axes}
        (self.root / "sweeps" / "fake.yaml").write_text(json.dumps(content))

    @property
    def environment(self) -> dict[str, str]:
        """What every call has in its environment; temporary files lie in the checkout too."""
        own = {name: str(self.root) for name in ("VLMNB_ROOT", "TMPDIR")} | {"VLMNB_LOCKS": str(self.locks)}
        own[warm.SWITCH] = self.warm
        return {**own, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{PROJECT}:{self.root}"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vlmnb", "sweep", "sweeps/fake.yaml", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=os.environ | self.environment, stdout=pipe, stderr=pipe, text=True
        )

    def at_work(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a sweep and wait until it is in its second cell, which waits for a file ``go``."""
        self.behave({2: "wait"})
        sweep = self.start(*arguments)
        wait_for(lambda: self.measured() == [1, 2])
        return sweep

    def vlmnb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return vlmnb(self.root, *arguments, **self.environment)

    def sweep(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.vlmnb("sweep", "sweeps/fake.yaml", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def statuses(self) -> dict[tuple[str, int], tuple[str, str]]:
        """Status and reason of every record by model and batch size."""
        found = [json.loads(path.read_text()) for path in self.record_files()]
        return {(r["cell"]["model"], r["cell"]["batch_size"]): (r["status"], r["reason"]) for r in found}

    def record_files(self) -> list[Path]:
        return list(self.results.glob("*/*/[!.]*.json"))

    def page(self, model: str = "llava-tiny") -> Path:
        return self.runs / model / "batch_size.ipynb"

    def failure(self) -> dict[str, str]:
        """The report of the failed run of the first model."""
        return dict(json.loads((self.runs / "failures/llava-tiny/batch_size.json").read_text()))

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes with a word in the first part of their command line."""
        found = map(psutil.Process, processes_of(self.root))
        return [p for p in found if any(word in part for part in p.cmdline()[:5])]

    def log(self) -> list[tuple[int, str, float]]:
        """Batch size, ``CUDA_VISIBLE_DEVICES`` and time of every cell that was begun, in order."""
        log = self.root / "measured.log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [(int(size), device, float(at)) for size, device, at in lines]

    def measured(self) -> list[int]:
        """Batch sizes in the order in which measuring began."""
        return [size for size, _, _ in self.log()]


def wait_for(condition: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def processes_of(root: Path) -> list[int]:
    """Processes that have a checkout in their environment, except zombies."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VLMNB_ROOT") == str(root) and process.status() != "zombie":
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
