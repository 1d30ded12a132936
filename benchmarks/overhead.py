"""What our measured path costs: the same batches through it and through a bare ``model.generate`` loop.

    python benchmarks/overhead.py                       # llava-tiny, 40 rounds, one core
    python benchmarks/overhead.py --model fuyu-tiny --rounds 20

Rounds of both take turns, and who begins alternates, so that a drift of the machine meets both alike. A round
is one pass over all batches: bare, or with everything that a record's window does (hooks that tell the
phases, synchronization, energy checkpoints, marks of the load of others). Prints the ratio of the times with
its 95 % interval, by the wall clock and by the CPU time of the process, which neighbours hardly touch. The
verdict goes by CPU time: within the limit if the whole interval is, exceeded (exit status 1) if the whole
interval is above it; else more rounds, or a quieter machine, have to tell.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

LIMIT = 1.01
"""Highest ratio that is acceptable."""


def main() -> int:
    """Measure, print, compare with the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llava-tiny")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--batches", type=int, default=4)
    given = parser.parse_args()
    core = _pin()

    import torch

    from vlmnb import axes, differences, machine, measure, meters, window
    from vlmnb.loading import ModelSlot, configuration
    from vlmnb.phases import PhaseClock

    torch.set_num_threads(1)
    parameters = {
        "model": given.model, "device": "cpu", "samples": given.batch_size * given.batches,
        "batch_sizes": [given.batch_size], "length": "natural", "dataset": "textvqa-mini",
    }  # fmt: skip
    (cell,) = axes.plan("batch_size", parameters).cells
    loaded = ModelSlot().get(configuration(cell))
    batches = measure.prepare(cell, loaded)
    inputs, samples = [b.inputs for b in batches], [len(b.samples) for b in batches]
    arguments, generate = window.limits(cell), window.Generator.of(cell, loaded, inputs)
    vision = loaded.family.vision_modules(loaded.model)
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "measured": []}
    with torch.inference_mode(), meters.Window(cell.device) as around:
        marks = machine.LoadMarks()

        def bare() -> None:
            for batch in inputs:
                loaded.model.generate(**batch, **arguments)
            meters.synchronize(cell.device)

        def measured() -> None:
            window.one_pass(clock, generate, inputs, samples, around)
            marks.mark()

        for number in range(given.rounds + 1):
            order = ("bare", "measured") if number % 2 else ("measured", "bare")
            for name in order:
                if name == "bare":
                    took = _timed(bare)
                else:
                    with PhaseClock(loaded.model, vision, cell.device) as clock:
                        took = _timed(measured)
                if number:  # the first round warms up
                    seconds[name].append(took)
    print(f"{given.model}, {given.batches} batches of {given.batch_size}, {given.rounds} rounds, core {core}")
    for i, what in enumerate(("wall clock", "CPU time")):
        one, other = ([took[i] for took in seconds[name]] for name in ("bare", "measured"))
        found = differences.compare(one, other, paired=True)
        print(
            f"{what:10} measured / bare {found.ratio:.4f} [{found.low:.4f}, {found.high:.4f}], n = {found.n}"
        )
    verdict = "within" if found.high <= LIMIT else "exceeded" if found.low > LIMIT else "cannot tell"
    print(f"limit {LIMIT}: {verdict}")
    return int(verdict == "exceeded")


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used


def _pin() -> int | None:
    """Keep this process on one core; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


if __name__ == "__main__":
    raise SystemExit(main())
