"""How long questions about many records take: planning, status, export, and the first use without an index.

    python benchmarks/store.py                 # 100,000 records, in a temporary folder
    python benchmarks/store.py --records 25000 # to see how it grows

Prints one line per question: seconds (of the whole command, the interpreter's start included) and the peak
of its resident memory. The records are made up, of four answers each; nothing of them is published.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from vlmnb import axes, identity, record, spec
from vlmnb.answer import Answer
from vlmnb.flopcount import FlopCount
from vlmnb.readings import EnergyReading, MemoryUsage
from vlmnb.spec import Cell
from vlmnb.timing import Timing

MODELS = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")
ASKED = 3_000
"""Cells that the sweep asks for; the other records are of other sweeps."""

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Make the records, ask the questions, print the answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    wanted = parser.parse_args().records
    with tempfile.TemporaryDirectory(prefix="vlmnb-store-") as folder:
        results, sweep = Path(folder) / "results", Path(folder) / "many.yaml"
        content = {
            "title": "Many", "models": list(MODELS), "parameters": {"samples": 4, "device": "cpu"},
            "axes": {"batch_size": {"batch_sizes": list(range(1, ASKED // len(MODELS) + 1))}},
        }  # fmt: skip
        sweep.write_text(json.dumps(content), encoding="utf-8")
        runs = axes.runs(spec.load_sweep(sweep))
        asked = [cell for run in runs for cell in axes.plan(run.axis, run.parameters).cells]
        cells = [asked[i % len(asked)].model_copy(update={"seed": i // len(asked)}) for i in range(wanted)]
        began = time.perf_counter()
        with ProcessPoolExecutor() as pool:
            list(pool.map(_write, cells, [results] * len(cells), chunksize=500))
        print(f"{wanted} records written in {time.perf_counter() - began:.1f} s", flush=True)
        where = ["--results", str(results), "--runs", str(Path(folder) / "runs")]
        _ask("status, first use (no index yet)", ["status", str(sweep), *where])
        _ask("status", ["status", str(sweep), *where])
        _ask("planning (sweep --dry-run)", ["sweep", str(sweep), "--dry-run", *where])
        _ask("export csv", ["export", "-o", str(Path(folder) / "all.csv"), "--results", str(results)])
        changed = next(iter(results.glob("*/*/*.json")))
        changed.write_bytes(changed.read_bytes())
        _ask("status after a record has changed", ["status", str(sweep), *where])


def _write(cell: Cell, results: Path) -> None:
    os.fsync = lambda _: None  # made-up records need not survive a power cut, and this saves half an hour
    rows = tuple(
        Answer(
            sample_id=str(i), prompt="what does the sign say?", answer="GOOD" if i else "BAD",
            references=("GOOD",), text_tokens=20, image_tokens=64, output_tokens=3,
            word_errors=int(not i), reference_words=1, score=float(i > 0),
        )
        for i in range(4)
    )  # fmt: skip
    made = identity.blank(cell, datetime.now(UTC).isoformat(timespec="seconds")).model_copy(
        update={
            "timing": Timing(warmup_batches=2, latencies_s=(0.5, 0.4), batch_samples=(2, 2),
                             preprocess_s=(0.01, 0.01), first_call_s=0.6),
            "energy": (EnergyReading(source="cpu", method="model", energy_j=8.0, detail="made up"),),
            "memory": MemoryUsage(peak_bytes=2 * 2**20, baseline_bytes=2**20, method="made up"),
            "flops": FlopCount(fvcore=10**6, torch=10**6),
            "answers": rows,
        }
    )  # fmt: skip
    record.write(made, results)


def _ask(what: str, arguments: list[str]) -> None:
    """Time a command, and read its children's peak of resident memory from the kernel."""
    command = [sys.executable, "-m", "vlmnb", *arguments]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    out = process.stdout.read() if process.stdout else b""
    _, code, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert code == 0, out.decode()[-2000:]
    peak = usage.ru_maxrss * 1024 / 2**20
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{what:36} {seconds:7.2f} s   {cpu:7.2f} s of CPU   {peak:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
