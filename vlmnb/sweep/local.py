"""Execute jobs on this machine: one at a time per GPU; a job with cells on the CPU has it to itself."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from vlmnb.device import slots
from vlmnb.device.slots import Slot
from vlmnb.sweep import execute
from vlmnb.sweep.execute import RunResult, StartedRun
from vlmnb.sweep.inventory import NOTHING_AGAIN, Job
from vlmnb.sweep.scheduler import Execute, Stopped, Sweep


def local(sweep: Sweep, todo: Sequence[Job]) -> list[RunResult]:
    """Execute jobs on this machine.

    Args:
        sweep: The sweep.
        todo: Its jobs that need work.

    Returns:
        The results of the runs that were executed.
    """
    alone = [job for job in todo if slots.whole_machine([state.cell.device for state in job.cells])]
    shared = [job for job in todo if job not in alone]
    results: list[RunResult | None] = []
    if shared:
        results += _side_by_side(sweep, shared)
    if alone:
        results += _one_by_one(sweep, alone)
    return [result for result in results if result is not None]


class _Relay:
    """Executes runs one after the other; while one draws its page, the next starts up and waits its turn."""

    def __init__(self, sweep: Sweep, slot: Slot) -> None:
        """Execute nothing yet."""
        self._sweep, self._slot = sweep, slot
        self._begun: StartedRun | None = None
        self.following: Job | None = None
        sweep.before_waiting = self.close  # a run that starts up would disturb the one being waited for

    def __call__(
        self, job: Job, again: Sequence[str], on_poll: Callable[[str], None], stop: threading.Event
    ) -> RunResult:
        """Execute."""

        def poll(cell: str) -> None:
            on_poll(cell)
            if not cell and not stop.is_set():
                self._begin_following(job)

        begun, self._begun = self._begun, None
        if begun and (begun.run != job.run or again):
            begun.close()
            begun = None
        return execute.execute(
            job.run, self._sweep.options, slot=self._slot, again=again, begun=begun, on_poll=poll, stop=stop
        )

    def close(self) -> None:
        """End the run that has started up and did not get its turn."""
        begun, self._begun = self._begun, None
        if begun:
            begun.close()

    def _begin_following(self, job: Job) -> None:
        sweep = self._sweep
        if self._begun or not self.following:
            return
        # Which cells to measure again is known only when a run begins, too late for an early start.
        if sweep.remeasure != NOTHING_AGAIN or slots.awaited(slots.everything()):
            return
        if sweep.now(job).wanted():
            return
        following = sweep.now(self.following)
        if following.needs_work():
            with contextlib.suppress(OSError):
                self._begun = StartedRun(following.run, sweep.options, self._slot, ())


def _one_by_one(sweep: Sweep, jobs: Sequence[Job]) -> list[RunResult | None]:
    results: list[RunResult | None] = []
    with contextlib.closing(_Relay(sweep, next(iter(slots.gpus()), slots.CPU))) as relay:
        for job, relay.following in itertools.zip_longest(jobs, jobs[1:]):
            if sweep.stop.is_set():
                break
            on_wait = functools.partial(sweep.waiting, "cpu", job.run.name)
            device = slots.held(slots.everything(), on_wait)
            results.append(sweep.work(job, relay, "cpu", device))
    return results


def _side_by_side(sweep: Sweep, jobs: Sequence[Job]) -> list[RunResult | None]:
    """Run one thread per GPU; each takes the next job when its GPU is free."""
    queue, results = list(jobs), list[RunResult | None]()
    guard = threading.Lock()

    def serve(slot: Slot) -> None:
        while not sweep.stop.is_set():
            with guard:
                if not queue:
                    return
                job = queue.pop(0)
            try:
                device = slots.held([slot.name], functools.partial(sweep.waiting, slot.name, job.run.name))
                result = sweep.work(job, _on(slot, sweep), slot.name, device)
            except Stopped:
                return
            with guard:
                results.append(result)

    with ThreadPoolExecutor(len(slots.gpus())) as pool:
        serving = [pool.submit(serve, slot) for slot in slots.gpus()]
        try:
            done, _ = wait(serving, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                sweep.stop.set()
        except BaseException:
            sweep.stop.set()
            raise
    for future in serving:
        future.result()
    return results


def _on(slot: Slot, sweep: Sweep) -> Execute:
    def once(
        job: Job, again: Sequence[str], on_poll: Callable[[str], None], stop: threading.Event
    ) -> RunResult:
        return execute.execute(job.run, sweep.options, slot=slot, again=again, on_poll=on_poll, stop=stop)

    return once
