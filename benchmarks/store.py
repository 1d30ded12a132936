"""How long questions about many records take: planning, status, export, with and without an index.

    python benchmarks/store.py                 # 10,000 and 100,000 records, in a temporary folder
    python benchmarks/store.py --records 20000 # 2,000 and 20,000

Prints one line per question: seconds of the whole command (the interpreter's start included), seconds of CPU
of all its processes, the peak of their resident memory together, and the ratio of the seconds to those for a
tenth of the records (10 is linear, less is start-up). *As measured* is a folder as sweeps leave it: each
record was entered in the index when it was written. *No index* is the first question in a clone, in a copied
folder, or after the code that reads records changed: every file is read, and an export makes every row. The
records are made up, of four answers each, the same in all, and scoring them costs next to nothing: rows of
real records, above all of captions, take longer. A limit that is exceeded makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from vlmnb import paths
from vlmnb.files import hashing
from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import EnergyReading, MemoryUsage
from vlmnb.records import record, record_file, store
from vlmnb.records.parts import Answer, Timing
from vlmnb.records.resolved import blank_record, resolve_cell
from vlmnb.spec import planning, sweep_file
from vlmnb.spec.cell import Cell

MODELS = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")
ASKED = 3_000
"""Cells that the sweep asks for; the other records are of other sweeps."""

CHUNK = 500
LIMIT = (5.0, 1024.0)
FIRST = {"no index: status": (3.0, 300.0), "no index: export csv": (6.0, 300.0)}
"""Seconds and MiB that a question about 100,000 records may take, on two cores; the first one apart."""

ROOT = Path(__file__).resolve().parent.parent


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    cpu_s: float
    peak_mib: float


def main() -> int:
    """Make the records, ask the questions, print the answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    wanted = parser.parse_args().records
    fewer, costs = _measured(wanted // 10), _measured(wanted)
    print(f"\n{wanted} records, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':44} {'seconds':>8} {'of CPU':>8} {'peak MiB':>8} {'growth':>7}")
    too_much = []
    for what, cost in costs.items():
        growth = cost.seconds / fewer[what].seconds
        print(f"{what:44} {cost.seconds:8.2f} {cost.cpu_s:8.2f} {cost.peak_mib:8.0f} {growth:6.1f}x")
        limit_s, limit_mib = FIRST.get(what, LIMIT)
        if cost.seconds > limit_s or cost.peak_mib > limit_mib:
            too_much.append(f"takes more than {limit_s:g} s or {limit_mib:g} MiB: {what}")
    print("\n".join(too_much))
    return int(bool(too_much))


def _measured(wanted: int) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory(prefix="vlmnb-store-") as folder:
        results, sweep = Path(folder) / "results", Path(folder) / "many.yaml"
        content = {
            "title": "Many", "models": list(MODELS), "parameters": {"samples": 4, "device": "cpu"},
            "axes": {"batch_size": {"batch_sizes": list(range(1, ASKED // len(MODELS) // 2 + 1))}},
        }  # fmt: skip
        sweep.write_text(json.dumps(content), encoding="utf-8")
        runs = planning.runs(sweep_file.load_sweep(sweep))
        asked = [cell for run in runs for cell in run.plan.cells]
        assert len(asked) == ASKED
        began = time.perf_counter()
        with ProcessPoolExecutor() as pool:
            list(pool.map(_write, *zip(*_chunks(asked, wanted, results), strict=True)))
        print(f"{wanted} records written in {time.perf_counter() - began:.1f} s", flush=True)
        where = ["--results", str(results), "--runs", str(Path(folder) / "runs")]
        status, dry_run = ["status", str(sweep), *where], ["sweep", str(sweep), "--dry-run", *where]
        export = ["export", "--results", str(results), "-o", str(Path(folder) / "all")]

        def first(question: Sequence[str]) -> Cost:
            (results / store.INDEX).unlink()
            return _ask(question)

        def changed(question: Sequence[str]) -> Cost:
            for path in sorted(results.glob("*/*/*.json"))[: wanted // 100]:
                path.write_bytes(path.read_bytes())
            return _ask(question)

        costs = {
            "as measured: status": _ask(status),
            "as measured: planning (sweep --dry-run)": _ask(dry_run),
            "as measured: export csv": _ask(export),
            "as measured: export json": _ask([*export, "--format", "json"]),
            "as measured: export parquet": _ask([*export, "--format", "parquet"]),
            "as measured: status, one record in 100 changed": changed(status),
            "no index: status": first(status),
            "no index: export csv": first(export),
        }
        with Path(export[-1]).open(encoding="utf-8") as table:
            assert sum(1 for _ in table) == wanted + 1
        return costs


def _chunks(asked: Sequence[Cell], wanted: int, results: Path) -> list[tuple[Path, int, list[Cell]]]:
    """Cells of records: those asked for, then the same with other seeds, which nobody asks for."""
    cells = [asked[i % ASKED].model_copy(update={"seed": i // ASKED}) for i in range(wanted)]
    return [(results, i, cells[i : i + CHUNK]) for i in range(0, wanted, CHUNK)]


def _write(results: Path, first: int, cells: Sequence[Cell]) -> None:
    """Write records whose numbers are all the same, without waiting for the disk."""
    made = _made_up(cells[0])
    content: dict[str, Any] = json.loads(made.model_dump_json())
    for i, cell in enumerate(cells, start=first):
        # A key takes longer than the record; only those of cells that are asked for are looked for.
        key = resolve_cell(cell).key if i < ASKED else hashing.digest(i)
        content |= {"key": key, "cell": cell.model_dump(mode="json")}
        path = paths.record(results, made.hardware, cell.model, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record_file.text(content), encoding="utf-8")
        store.enter(path, results)
    record_file.read(path)


def _made_up(cell: Cell) -> record.Record:
    rows = tuple(
        Answer(
            sample_id=str(i), prompt="what does the sign say?", answer="GOOD" if i else "BAD",
            references=("GOOD",), text_tokens=20, image_tokens=64, output_tokens=3,
            word_errors=int(not i), reference_words=1, score=float(i > 0),
        )
        for i in range(4)
    )  # fmt: skip
    return blank_record(resolve_cell(cell), datetime.now(UTC).isoformat(timespec="seconds")).model_copy(
        update={
            "timing": Timing(warmup_batches=2, latencies_s=(0.5, 0.4), batch_samples=(2, 2),
                             preprocess_s=(0.01, 0.01), first_call_s=0.6, pass_loads=(0.0,),
                             contaminated=(False,), loop_s=0.91),
            "energy": (EnergyReading(source="cpu", method="model", energy_j=8.0, detail="made up"),),
            "memory": MemoryUsage(peak_bytes=2 * 2**20, baseline_bytes=2**20, method="made up"),
            "flops": FlopCount(fvcore=10**6, torch=10**6),
            "answers": rows,
        }
    )  # fmt: skip


def _ask(arguments: list[str]) -> Cost:
    """Time a command; CPU time from the kernel, memory of it and its children by looking often."""
    command = [sys.executable, "-m", "vlmnb", *arguments]
    began, peaks = time.perf_counter(), [0.0]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks))
        watcher.start()
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        seconds = time.perf_counter() - began
        watcher.join()
        out.seek(0)
        assert code == 0, out.read().decode()[-2000:]
    peak = max(*peaks, usage.ru_maxrss * 1024 / 2**20)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak)


def _watch(pid: int, peaks: list[float]) -> None:
    """Note resident memory of a process and its children, what they share counted once for each."""
    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            family = [process, *process.children(recursive=True)]
            peaks.append(sum(each.memory_info().rss for each in family) / 2**20)
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        pass


if __name__ == "__main__":
    sys.exit(main())
