"""What our measured path costs: the same batches through it and through a bare ``model.generate`` loop.

    python benchmarks/overhead.py                       # llava-tiny, 40 rounds, one core
    python benchmarks/overhead.py --model fuyu-tiny --rounds 20

Rounds of both take turns, and who begins alternates, so that a drift of the machine meets both alike. A round
is one pass over all batches: bare, or with everything that a record's window does (hooks that tell the
phases, synchronization, energy checkpoints, marks of the load of others). Prints the ratio of the times with
its 95 % interval, by the wall clock and by the CPU time of the process, which neighbours hardly touch. The
verdict goes by CPU time: within the limit if the whole interval is, exceeded (exit status 1) if the whole
interval is above it; else more rounds, or a quieter machine, have to tell. It takes its turn with sweeps:
nothing else that vlmnb measures runs on this machine meanwhile. How far it is stands on stderr, told between
rounds. A mistake in an option is one line and exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from vlmnb.data import catalogue
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.spec import planning
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals
from vlmnb.sweep import progress

LIMIT = 1.01
"""Highest ratio that is acceptable."""

SAY_S = 10.0
"""In a log, how often it is told how far the rounds are."""


def main() -> int:
    """Look at the options, wait for the turn, measure, print, compare with the limit."""
    parser = _Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llava-tiny")
    fewest = f"{intervals.FEWEST_SAMPLES} or more: with fewer there is no interval of 95 %%"
    parser.add_argument("--rounds", type=_at_least(intervals.FEWEST_SAMPLES), default=40, help=fewest)
    parser.add_argument("--batch-size", type=_at_least(1), default=4)
    parser.add_argument("--batches", type=_at_least(1), default=4)
    try:
        given = parser.parse_args()
        cell = _cell(given.model, given.batch_size, given.batches)
        with slots.by_hand([cell.device], _Once()):
            return _compare(cell, given.rounds)
    except UserError as error:
        print(f"overhead: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("overhead: stopped, nothing was measured to its end", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the mistake as everything else here does."""
        raise UserError(message)


def _at_least(fewest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"takes a whole number, not {text!r}") from None
        if value < fewest:
            raise argparse.ArgumentTypeError(f"must be {fewest} or more, not {value}")
        return value

    return number


def _cell(model: str, batch_size: int, batches: int) -> Cell:
    """The cell whose batches are generated.

    Raises:
        UserError: There is no such model, or the data set has fewer samples.
    """
    parameters = {
        "model": model, "device": "cpu", "samples": batch_size * batches,
        "batch_sizes": [batch_size], "length": "natural", "dataset": "textvqa-mini",
    }  # fmt: skip
    (cell,) = planning.plan("batch_size", parameters).cells
    try:
        catalogue.get(cell.dataset).choose(cell.samples, cell.seed)
    except UserError as error:
        told = str(error).partition(";")[0]
        raise UserError(f"{told}; choose fewer with --batches and --batch-size") from None
    return cell


def _compare(cell: Cell, rounds: int) -> int:
    """Time both ways in turns and print the verdict."""
    core = _pin()

    import torch

    from vlmnb.device import load
    from vlmnb.device.clock import synchronize
    from vlmnb.measure import generation, loading, protocol
    from vlmnb.measure.batches import choose, prepare
    from vlmnb.measure.phases import PhaseClock
    from vlmnb.meters.window import MeteredWindow
    from vlmnb.records.resolved import resolve_cell
    from vlmnb.stats import comparison

    torch.set_num_threads(1)
    resolved = resolve_cell(cell)
    loading.require([resolved])
    loaded = loading.ModelSlot().get(loading.configuration(resolved))
    batches = prepare(cell, loaded, *choose(resolved))
    inputs, samples = [b.inputs for b in batches], [len(b.samples) for b in batches]
    arguments = generation.limits(cell)
    generate = generation.Generator.of(resolved, loaded, inputs)
    vision = loaded.family.vision_modules(loaded.model)
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "measured": []}
    told = _Told(rounds)
    with torch.inference_mode(), MeteredWindow(cell.device) as around:
        marks = [load.reading()]

        def bare() -> None:
            for batch in inputs:
                loaded.model.generate(**batch, **arguments)
            synchronize(cell.device)

        def measured() -> None:
            protocol.one_pass(clock, generate, inputs, samples, around)
            marks.append(load.reading())

        for number in range(rounds + 1):
            order = ("bare", "measured") if number % 2 else ("measured", "bare")
            for name in order:
                if name == "bare":
                    took = _timed(bare)
                else:
                    with PhaseClock(loaded.model, vision, cell.device) as clock:
                        took = _timed(measured)
                if number:  # the first round warms up
                    seconds[name].append(took)
            told.round(number)
    print(f"{cell.model}, {len(batches)} batches of {cell.batch_size}, {rounds} rounds, core {core}")
    for i, what in enumerate(("wall clock", "CPU time")):
        one, other = ([took[i] for took in seconds[name]] for name in ("bare", "measured"))
        found = comparison.compare(one, other, paired=True)
        print(
            f"{what:10} measured / bare {found.ratio:.4f} [{found.low:.4f}, {found.high:.4f}], n = {found.n}"
        )
    verdict = "within" if found.high <= LIMIT else "exceeded" if found.low > LIMIT else "cannot tell"
    print(f"limit {LIMIT}: {verdict}")
    return int(verdict == "exceeded")


class _Once:
    """Says a line on stderr, once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, line: str) -> None:
        """Say it, unless it was said."""
        if line not in self._said:
            print(line, file=sys.stderr, flush=True)
        self._said.add(line)


class _Told:
    """Tells how far the rounds are, from the loop itself: a thread would cost CPU time within the rounds."""

    def __init__(self, rounds: int) -> None:
        self._rounds, self._began_s, self._said_s = rounds, time.monotonic(), 0.0
        self._live = sys.stderr.isatty()

    def round(self, number: int) -> None:
        """Say that a round is done; the first warms up and is number 0."""
        now_s = time.monotonic()
        last = number == self._rounds
        if not (self._live or number == 0 or last or now_s - self._said_s >= SAY_S):
            return
        self._said_s = now_s
        each_s = (now_s - self._began_s) / (number + 1)
        left = "" if last else f", about {progress.duration(each_s * (self._rounds - number))} left"
        line = f"round {number} of {self._rounds}{left}" if number else f"warmed up{left}"
        end = "\n" if last or not self._live else ""
        print(f"\r\x1b[K{line}" if self._live else line, end=end, file=sys.stderr, flush=True)


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
