"""The part of a sweep on a Ray cluster that runs on a node: execute a run, send back its records."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb import paths
from vlmnb.device import machine, slots
from vlmnb.device.slots import Slot
from vlmnb.errors import one_line
from vlmnb.files import temporary
from vlmnb.records import content_key
from vlmnb.spec.planning import Run
from vlmnb.sweep import execute, supervisor
from vlmnb.sweep.execute import ExecutionOptions, RunResult
from vlmnb.sweep.scheduler import Stopped

Files = dict[str, bytes]
"""Content by path relative to the results or runs folder."""

STREAM_S = 1.0
"""How often a node looks for new records to send."""


class Report(NamedTuple):
    """What a node sends while a run goes on, and with ``result`` at its end."""

    cell: str
    records: Files
    pages: Files
    result: dict[str, Any] | None


def describe() -> dict[str, Any]:
    """Clean up what killed sweeps left on this node, and describe it."""
    supervisor.end_marked()
    temporary.remove_left()
    return {
        "name": socket.gethostname(),
        "machine": machine.describe().model_dump(mode="json"),
        "code": content_key.measuring_code(),
        "packages": content_key.packages(),
    }


def execute_run(
    run: dict[str, Any], options: dict[str, Any], again: list[str], known: Files
) -> Iterator[Report]:
    """Execute a run in temporary folders and send the files that appear in them.

    ``options`` has the folders of the driver's machine, ``again`` the keys of recorded or stale cells to
    measure again, ``known`` the records that the run can use.
    """
    this = Run.model_validate(run)
    with temporary.Scratch(temporary.NODE) as folder:
        results, runs = folder / "results", folder / "runs"
        results.mkdir()
        store(results, known)
        here = ExecutionOptions.model_validate(options | {"results": results, "runs": runs})
        stop, cells, ended = threading.Event(), [""], list[RunResult]()

        def waiting(line: str) -> None:
            cells[0] = line
            if stop.is_set():
                raise Stopped

        def work() -> None:
            slot, names = slots.CPU, slots.everything()
            # Ray has chosen a GPU and set its index in the environment; here it gets its UUID, if it has one.
            if assigned := os.environ.get("CUDA_VISIBLE_DEVICES"):
                slot = next(iter(slots.gpus()), Slot(name=assigned, visible=assigned))
                names = [gpu.name for gpu in slots.gpus()[:1]]
            try:
                with slots.held(names, waiting):
                    started = execute.StartedRun(this, here, slot, again)
                    result = execute.execute(started, lambda cell: cells.__setitem__(0, cell), stop)
            except Stopped:
                result = RunResult(run=this, kind="stopped", error="stopped")
            except OSError as error:
                result = RunResult(run=this, kind="infrastructure", error=one_line(error))
            ended.append(result)

        worker = threading.Thread(target=work, daemon=True)
        seen = {name: (results / name).stat().st_mtime_ns for name in known}
        worker.start()
        try:
            while worker.is_alive():
                worker.join(STREAM_S)
                yield Report(cells[0], _new(results, seen), {}, None)
            result = ended[0].model_dump(mode="json") if ended else None
            yield Report("", _new(results, seen), _new(runs, {}), result)
        finally:
            stop.set()
            worker.join()


def store(folder: Path, files: Files) -> None:
    """Write files into a folder, each in one step."""
    for name, content in files.items():
        with paths.temporary_beside(folder / name) as written:
            written.write_bytes(content)


def _new(folder: Path, seen: dict[str, int]) -> Files:
    """Return the finished files of a folder that are new or changed, and note them in ``seen``."""
    found = {}
    for path in sorted(folder.rglob("[!.]*.*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".json", ".ipynb") and not any(part.startswith(".") for part in Path(name).parts):
            written = path.stat().st_mtime_ns
            if seen.get(name) != written:
                seen[name], found[name] = written, path.read_bytes()
    return found
