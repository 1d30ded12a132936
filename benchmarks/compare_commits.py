"""Compare two commits: the same sweep from nothing in two checkouts, in turns.

    python benchmarks/compare_commits.py 3df0488    # sweeps/quickstart.yaml of 3df0488
    python benchmarks/compare_commits.py 3df0488 --only llava-tiny/batch_size --rounds 3
    python benchmarks/compare_commits.py 3df0488 --sweep my.yaml -o compared.json

Each round sweeps once with each checkout, with records, pages and caches of its own; who begins alternates.
Both use this interpreter. It prints wall and CPU time of the sweeps, the time inside timed windows and the
time in which cells took turns, as medians of the rounds with their ratio. Commits before 2026-11-28 know no
turns: what was swept by both alike is the wall time without them. For each cell it prints the ratio of the
latencies, batch by batch and round by round, with its 95 % interval, the ratio of the joules per sample, and
whether answers, tokens and FLOPs are the same. The exit status is 1 if any of these differ in a cell that
both measured.

Small models depend much on how waiting threads wait (benchmarks/threads.py): give both commits the same, for
instance OMP_WAIT_POLICY=PASSIVE, before you compare their latencies.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb.stats import comparison

ROOT = Path(__file__).resolve().parent.parent


class Swept(NamedTuple):
    """What one sweep took, and its records by cell."""

    wall_s: float
    cpu_s: float
    window_s: float
    turns_s: float
    taking_turns_s: float
    records: dict[str, dict[str, Any]]


def main() -> int:
    """Sweep in turns, print the comparison, return 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--sweep", type=Path, help="a sweep file; default: quickstart.yaml of the base")
    parser.add_argument("--only", action="append", default=[], metavar="RUN")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, help="write all figures as JSON")
    given = parser.parse_args()
    with checkout(given.base) as base:
        spec = (given.sweep or base / "sweeps" / "quickstart.yaml").resolve()
        swept: dict[str, list[Swept]] = {"base": [], "here": []}
        for number in range(given.rounds):
            for name in ("base", "here") if number % 2 == 0 else ("here", "base"):
                done = sweep(base if name == "base" else ROOT, spec, given.only)
                swept[name].append(done)
                said = f"round {number + 1}, {name}: {done.wall_s:.1f} s, {done.cpu_s:.1f} s of CPU"
                print(said, file=sys.stderr, flush=True)
    whole, cells = sweeps(swept), [cell(key, swept) for key in swept["base"][0].records]
    show(given.base, given.rounds, whole, cells)
    if given.output:
        given.output.write_text(json.dumps({"sweeps": whole, "cells": cells}, indent=1) + "\n")
    return int(any(one["same"] is False for one in cells))


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="vlmnb-base-") as folder:
        place = Path(folder) / "base"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)


def sweep(project: Path, spec: Path, only: list[str]) -> Swept:
    """Sweep from nothing with the code of a checkout."""
    with tempfile.TemporaryDirectory(prefix="vlmnb-swept-") as folder:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        swept_into(Path(folder), project, spec, only)
        wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = [json.loads(path.read_text()) for path in Path(folder).glob("results/*/*/[!.]*.json")]
        turns = [json.loads(path.read_text()) for path in Path(folder).glob("results/*/*/turns/*.json")]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    window_s = sum(record["timing"]["loop_s"] for record in found if record["timing"])
    turns_s = sum(sum(timing["latencies_s"]) for one in turns for timing in one["timings"].values())
    taking_s = sum(one["seconds"] or 0.0 for one in turns)
    return Swept(wall_s, cpu_s, window_s, turns_s, taking_s, {name_of(one["cell"]): one for one in found})


def swept_into(folder: Path, project: Path, spec: Path, only: Sequence[str] = ()) -> None:
    """Sweep with the code of a checkout, with records, pages and caches in a folder."""
    command = [sys.executable, "-m", "vlmnb", "sweep", str(spec)]
    command += ["--results", f"{folder}/results", "--runs", f"{folder}/runs"]
    command += [word for name in only for word in ("--only", name)]
    own = {"PYTHONPATH": str(project), "XDG_CACHE_HOME": f"{folder}/cache", "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        command, cwd=project, env=os.environ | own, capture_output=True, text=True, check=False
    )
    if done.returncode > 1:
        sys.exit(f"{project}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def name_of(cell: dict[str, Any]) -> str:
    """Name a cell by what the code of both commits knows: fields that are not set are left out."""
    known = {name: value for name, value in sorted(cell.items()) if value not in ("", 0, False, None)}
    return ", ".join(f"{name} {value}" for name, value in known.items())


def sweeps(swept: dict[str, list[Swept]]) -> dict[str, dict[str, float | None]]:
    """Return the medians of the rounds of each quantity, and their ratio unless the base has none."""
    quantities = {
        "wall time, s": lambda one: one.wall_s,
        "CPU time, s": lambda one: one.cpu_s,
        "inside timed windows, s": lambda one: one.window_s,
        "taking turns, s": lambda one: one.turns_s,
        "wall time without turns and what they need, s": lambda one: one.wall_s - one.taking_turns_s,
        "outside both, s": lambda one: one.wall_s - one.window_s - one.turns_s,
        "share of wall time inside both": lambda one: (one.window_s + one.turns_s) / one.wall_s,
    }
    made = {}
    for what, of in quantities.items():
        base, here = (statistics.median(of(one) for one in swept[name]) for name in ("base", "here"))
        made[what] = {"base": base, "here": here, "ratio": here / base if base else None}
    return made


def cell(key: str, swept: dict[str, list[Swept]]) -> dict[str, Any]:
    """Compare one cell; ``same`` is None if only one commit measured it."""
    rounds = [(a.records.get(key), b.records.get(key)) for a, b in zip(*swept.values(), strict=True)]
    pairs = [(a, b) for a, b in rounds if a and b and a["timing"] and b["timing"]]
    if not pairs:
        statuses = [[record and record["status"] for record in pair] for pair in rounds]
        known = all(all(pair) for pair in statuses)
        return {"cell": key, "same": all(a == b for a, b in statuses) if known else None}
    timed = [batch for a, b in pairs for batch in zip(first_pass(a), first_pass(b), strict=False)]
    found = comparison.compare(*zip(*timed, strict=True), paired=True)
    joules = [joules_of(b) / joules_of(a) for a, b in pairs if joules_of(a) and joules_of(b)]
    return {
        "cell": key, "ratio": found.ratio, "low": found.low, "high": found.high, "n": found.n,
        "joules": statistics.median(joules) if joules else None,
        "same": all(values(a) == values(b) for a, b in pairs),
    }  # fmt: skip


def first_pass(record: dict[str, Any]) -> list[float]:
    """Return the latencies of the first pass: how many passes follow depends on the machine's load."""
    latencies = record["timing"]["latencies_s"]
    return list(latencies[: len(latencies) // record["timing"]["passes"]])


def joules_of(record: dict[str, Any]) -> float:
    """Return the joules per sample of all readings of the CPU and GPU together; 0 if there are none."""
    readings = [one for one in record["energy"] if one["source"] in ("cpu", "gpu") and one["samples"]]
    return float(sum(one["energy_j"] / one["samples"] for one in readings))


def values(record: dict[str, Any]) -> list[Any]:
    """Return what must not depend on the commit: answers, their tokens, and FLOPs."""
    names = ("sample_id", "answer", "text_tokens", "image_tokens", "output_tokens", "word_errors", "score")
    answers = [[answer.get(name) for name in names] for answer in record["answers"]]
    flops = record["flops"] or {}
    return [answers, [flops.get(name) for name in ("formula", "torch", "fvcore")]]


def show(base: str, rounds: int, whole: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    """Print both tables."""
    print(f"{rounds} rounds in turns; load now {os.getloadavg()[0]:.1f}\n")
    print(f"{'':46} {base[:10]:>10} {'here':>10} {'ratio':>7}")
    for what, found in whole.items():
        ratio = "-" if found["ratio"] is None else f"{found['ratio']:.3f}"
        print(f"{what:46} {found['base']:10.2f} {found['here']:10.2f} {ratio:>7}")
    timed = [one for one in cells if "ratio" in one]
    print(f"\n{'latency':>7} {'interval':>16} {'n':>4} {'joules':>7}  same  cell")
    for one in sorted(timed, key=lambda one: one["ratio"]):
        joules = f"{one['joules']:7.3f}" if one["joules"] else f"{'-':>7}"
        interval = f"{one['low']:.3f} to {one['high']:.3f}"
        same = "yes" if one["same"] else "NO"
        print(f"{one['ratio']:7.3f} {interval:>16} {one['n']:4} {joules}  {same:4}  {one['cell']}")
    for one in cells:
        if "ratio" not in one:
            print(f"not timed by both ({'same' if one['same'] else 'another'} status): {one['cell']}")
    differing = sum(one["same"] is False for one in cells)
    if timed:
        middle = statistics.median(one["ratio"] for one in timed)
        print(f"\nmedian ratio of latency {middle:.3f}; values differ in {differing} of {len(cells)} cells")


if __name__ == "__main__":
    sys.exit(main())
