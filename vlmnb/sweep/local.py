"""Execute jobs on this machine: one at a time per GPU; a job with cells on the CPU has it to itself."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Sequence

from vlmnb.device import slots
from vlmnb.device.slots import Slot
from vlmnb.sweep import execute
from vlmnb.sweep.execute import RunResult, StartedRun
from vlmnb.sweep.inventory import NOTHING_AGAIN, Job
from vlmnb.sweep.scheduler import Sweep


def local(sweep: Sweep, todo: Sequence[Job]) -> list[RunResult]:
    """Execute jobs on this machine and return the results of those that no other sweep has done meanwhile."""
    alone = [job for job in todo if slots.whole_machine([state.cell.device for state in job.cells])]
    return _side_by_side(sweep, [job for job in todo if job not in alone]) + _one_by_one(sweep, alone)


class _Relay:
    """Executes runs one after the other; while one draws its page, the next starts up and waits for it."""

    def __init__(self, sweep: Sweep, slot: Slot) -> None:
        """Execute nothing yet."""
        self._sweep, self._slot = sweep, slot
        self._begun: StartedRun | None = None
        self.following: Job | None = None
        sweep.before_waiting = self.close  # a run that starts up would disturb the one being waited for

    def __call__(self, job: Job, again: Sequence[str], on_poll: Callable[[str], None]) -> RunResult:
        """Execute a job."""
        sweep = self._sweep

        def poll(cell: str) -> None:
            on_poll(cell)
            if not cell and not again and not sweep.stop.is_set():
                self._begin_following(job)

        if self._begun and (self._begun.run != job.run or again):
            self.close()
        begun = self._begun or StartedRun(job.run, sweep.options, self._slot, again, sweep.parents)
        self._begun = None
        return execute.execute(begun, poll, sweep.stop)

    def close(self) -> None:
        """End the run that has started up and was not let begin."""
        if self._begun:
            self._begun.close()
            self._begun = None

    def _begin_following(self, job: Job) -> None:
        sweep = self._sweep
        if self._begun or not self.following:
            return
        if slots.awaited(slots.everything()) or sweep.now(job).wanted():
            return
        following = sweep.now(self.following)
        # Which cells to measure again is known only when a run begins, too late for an early start.
        late = sweep.remeasure != NOTHING_AGAIN and following.wanted(sweep.remeasure)
        if following.needs_work() and not late:
            with contextlib.suppress(OSError):
                self._begun = StartedRun(following.run, sweep.options, self._slot, (), sweep.parents)


def _one_by_one(sweep: Sweep, jobs: Sequence[Job]) -> list[RunResult]:
    results = []
    with contextlib.closing(_Relay(sweep, next(iter(slots.gpus()), slots.CPU))) as relay:
        for job, relay.following in itertools.zip_longest(jobs, jobs[1:]):
            results.append(sweep.work(job, relay, "cpu", slots.everything()))
    return [result for result in results if result]


def _side_by_side(sweep: Sweep, jobs: Sequence[Job]) -> list[RunResult]:
    """Execute one job per GPU at a time."""
    free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
    for slot in slots.gpus():
        free.put(slot)

    def work(job: Job) -> RunResult | None:
        slot = free.get()
        try:
            return sweep.work(job, _Relay(sweep, slot), slot.name, [slot.name])
        finally:
            free.put(slot)

    return sweep.side_by_side(work, jobs, len(slots.gpus())) if jobs else []
