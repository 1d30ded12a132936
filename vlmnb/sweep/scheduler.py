"""A sweep at work: which run goes where, what is tried again, and when to give up.

Rules: a kernel that dies while it measures a cell gets one more try, then the cell is recorded as failed and
the rest of its notebook goes on. A cell that exceeds its limit is recorded as failed at once. What is no
fault of the notebook is tried again. A notebook's own error is not: it would only fail again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from vlmnb.device import slots
from vlmnb.device.slots import Slot
from vlmnb.files import locks
from vlmnb.records import content_key, store
from vlmnb.spec.cell import words
from vlmnb.sweep import execute, inventory
from vlmnb.sweep.execute import Begun, Outcome, Setting
from vlmnb.sweep.inventory import CellState, Job
from vlmnb.sweep.progress import Progress
from vlmnb.types import Frozen

TRIES = 3
"""How often a run is tried that ends by no fault of its notebook."""

DEATHS = 2
"""Deaths of the kernel in one cell after which the cell is recorded as failed."""


INCOMPLETE = ("infrastructure", "stopped")
"""How a run ends that its notebook did not end."""


class Execute(Protocol):
    """Executes a run once: here, or on a cluster."""

    def __call__(
        self, job: Job, again: Sequence[str], on_poll: Callable[[str], None], stop: threading.Event
    ) -> Outcome:
        """Execute."""


class Stopped(Exception):
    """The sweep is to stop."""


class Wish(Frozen):
    """What a sweep measures beyond what is missing."""

    stale: bool = False
    retry_failed: bool = False


class Sweep:
    """The state of one sweep: folders, wishes, progress, and whether to stop.

    Attributes:
        before_waiting: Called before it waits for anybody.
    """

    def __init__(self, setting: Setting, wish: Wish, progress: Progress) -> None:
        """Nothing is executed yet."""
        self.setting, self.wish, self.progress = setting, wish, progress
        self.stop = threading.Event()
        self.before_waiting: Callable[[], None] = lambda: None
        self._runs = locks.Locks(setting.runs / ".runs.lock")

    def needs(self, job: Job) -> bool:
        """Whether a job has cells to measure or a page to make."""
        wanted = job.wanted(stale=self.wish.stale, retry_failed=self.wish.retry_failed)
        return bool(wanted) or job.page != "current"

    def now(self, job: Job) -> Job:
        """The job as the records are now."""
        (fresh,) = inventory.jobs([job.run], self.setting.results, self.setting.runs)
        return fresh

    def work(
        self,
        job: Job,
        execute_once: Execute,
        where: str,
        device: AbstractContextManager[None] | None = None,
    ) -> Outcome | None:
        """Execute a job by the rules; None where another sweep has done it meanwhile.

        The run first, then its device, here and on a cluster: who has a device waits for no run, so that
        nobody waits in a circle.

        Args:
            job: The job as planned.
            execute_once: Executes it.
            where: Name of the device, for the progress.
            device: Holds the device; None where the cluster sees to that.
        """
        self._wait_for_run(job.run.name, where)
        try:
            if not self.needs(self.now(job)):
                return None
            with device or contextlib.nullcontext():
                fresh = self.now(job)
                if not self.needs(fresh):
                    return None
                outcome = self._complete(self._tried(fresh, execute_once, where), fresh)
            if outcome.kind not in ("ok", "stopped"):
                execute.file_failure(outcome, self.setting, stale=self.wish.stale)
        except OSError as error:
            outcome = Outcome(run=job.run, kind="infrastructure", error=said(error))
        finally:
            self._runs.release(job.run.name)
            self.progress.leave(where)
        if outcome.kind == "infrastructure":
            self.progress.stopped_by = self.progress.stopped_by or outcome.error
        if full(outcome):
            self.stop.set()
        return outcome

    def waiting(self, where: str, run: str, line: str) -> None:
        """Tell what a run waits for.

        Raises:
            Stopped: The sweep is to stop.
        """
        self.before_waiting()
        self.progress.doing(where, run, line)
        if self.stop.is_set():
            raise Stopped

    def _wait_for_run(self, name: str, where: str) -> None:
        while not self._runs.take(name):
            line = f"{slots.WAITING}process {self._runs.holder(name)} is executing it"
            self.waiting(where, name, line)
            self.stop.wait(locks.POLL_S)

    def _tried(self, job: Job, execute_once: Execute, where: str) -> Outcome:
        deaths: Counter[str] = Counter()
        tries = 0
        wanted = job.wanted(stale=self.wish.stale, retry_failed=self.wish.retry_failed)
        before = {c.path: _signature(c.path) for c in wanted if c.state in ("recorded", "stale")}
        while not self.stop.is_set():
            again = [path.stem for path, was in before.items() if _signature(path) == was]

            def poll(cell: str) -> None:
                self.progress.doing(where, job.run.name, cell)

            outcome = execute_once(job, again, poll, self.stop)
            blamed = next((state for state in job.cells if state.key == outcome.cell), None)
            if outcome.kind == "cell_limit" and blamed:
                reason = (
                    f"took longer than {self.setting.limits.cell_s:g} s, the limit of a cell (--cell-limit)"
                )
                self._fail(blamed, reason)
            elif outcome.kind == "died" and blamed:
                deaths[blamed.key] += 1
                if deaths[blamed.key] >= DEATHS:
                    self._fail(blamed, f"twice in this cell {outcome.error}")
                else:
                    self.progress.tell(f"{job.run.name}: {outcome.error}; trying again")
            elif outcome.kind in ("died", "infrastructure") and tries < TRIES - 1 and not full(outcome):
                tries += 1
                times = f"{tries + 1} of {TRIES} times"
                self.progress.tell(f"{job.run.name}: {outcome.error}; trying again, {times}")
            else:
                if outcome.kind == "died":
                    outcome = outcome.model_copy(update={"kind": "infrastructure"})
                return outcome
        return Outcome(run=job.run, kind="stopped", error="stopped")

    def _complete(self, outcome: Outcome, job: Job) -> Outcome:
        """Of a run that ended well, mark the page; but without its cells it has not ended well.

        Args:
            outcome: How the run ended.
            job: The job as it was when it began.
        """
        if outcome.kind != "ok":
            return outcome
        # Cells are recorded by the run itself. What a page without cells is made from is what was there when
        # it began: a record that came meanwhile leaves it outdated.
        ended = self.now(job) if job.cells else job
        missing = ended.wanted()
        if not missing:
            inventory.mark_page(ended, self.setting.runs)
            return outcome
        error = (
            f"its notebook ended, but records are missing of {len(missing)} of its cells, "
            f"the first: {words(missing[0].cell)}"
        )
        return outcome.model_copy(update={"kind": "failed", "error": error})

    def _fail(self, state: CellState, reason: str) -> None:
        self.progress.tell(f"failed cell: {state.cell.model}, {words(state.cell)}: {reason}")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        store.keep(content_key.blank(state.cell, started, "failed", reason), self.setting.results)


def local(sweep: Sweep, todo: Sequence[Job]) -> list[Outcome]:
    """Execute jobs on this machine: one per GPU at a time; what measures on the CPU alone on the machine.

    Args:
        sweep: The sweep.
        todo: Its jobs that need work.

    Returns:
        How each run ended that was executed.
    """
    alone = [job for job in todo if slots.whole_machine([state.cell.device for state in job.cells])]
    shared = [job for job in todo if job not in alone]
    outcomes: list[Outcome | None] = []
    if shared:
        outcomes += _side_by_side(sweep, shared)
    if alone:
        outcomes += _one_by_one(sweep, alone)
    return [outcome for outcome in outcomes if outcome is not None]


class _Relay:
    """Executes runs one after the other; while one draws its page, the next starts up and waits its turn."""

    def __init__(self, sweep: Sweep, slot: Slot) -> None:
        """Nothing is executed yet."""
        self._sweep, self._slot = sweep, slot
        self._begun: Begun | None = None
        self.following: Job | None = None
        sweep.before_waiting = self.close  # what starts up would disturb who is measuring

    def __call__(
        self, job: Job, again: Sequence[str], on_poll: Callable[[str], None], stop: threading.Event
    ) -> Outcome:
        """Execute."""

        def poll(cell: str) -> None:
            on_poll(cell)
            if not cell and not stop.is_set():
                self._begin_following(job)

        begun, self._begun = self._begun, None
        if begun and (begun.run != job.run or again):
            begun.close()
            begun = None
        setting = self._sweep.setting
        return execute.execute(
            job.run, setting, slot=self._slot, again=again, begun=begun, on_poll=poll, stop=stop
        )

    def close(self) -> None:
        """End what has started up and did not get its turn."""
        begun, self._begun = self._begun, None
        if begun:
            begun.close()

    def _begin_following(self, job: Job) -> None:
        sweep = self._sweep
        # What is measured again is found out when a run begins; then it is too early to begin.
        if self._begun or not self.following or sweep.wish != Wish() or slots.awaited(slots.everything()):
            return
        if sweep.now(job).wanted():
            return
        following = sweep.now(self.following)
        if sweep.needs(following):
            with contextlib.suppress(OSError):
                self._begun = Begun(following.run, sweep.setting, self._slot, ())


def _one_by_one(sweep: Sweep, jobs: Sequence[Job]) -> list[Outcome | None]:
    outcomes: list[Outcome | None] = []
    with contextlib.closing(_Relay(sweep, next(iter(slots.gpus()), slots.CPU))) as relay:
        for job, relay.following in itertools.zip_longest(jobs, jobs[1:]):
            if sweep.stop.is_set():
                break
            on_wait = functools.partial(sweep.waiting, "cpu", job.run.name)
            device = slots.held(slots.everything(), on_wait)
            outcomes.append(sweep.work(job, relay, "cpu", device))
    return outcomes


def _side_by_side(sweep: Sweep, jobs: Sequence[Job]) -> list[Outcome | None]:
    """One thread per GPU, each taking the next job when its GPU is free."""
    queue, outcomes = list(jobs), list[Outcome | None]()
    guard = threading.Lock()

    def serve(slot: Slot) -> None:
        while not sweep.stop.is_set():
            with guard:
                if not queue:
                    return
                job = queue.pop(0)
            try:
                device = slots.held([slot.name], functools.partial(sweep.waiting, slot.name, job.run.name))
                outcome = sweep.work(job, _here(sweep, slot), slot.name, device)
            except Stopped:
                return
            with guard:
                outcomes.append(outcome)

    with ThreadPoolExecutor(len(slots.gpus())) as pool:
        serving: list[Future[None]] = [pool.submit(serve, slot) for slot in slots.gpus()]
        try:
            wait(serving, return_when=FIRST_EXCEPTION)
        finally:
            if any(future.done() and future.exception() for future in serving) or not all(
                future.done() for future in serving
            ):
                sweep.stop.set()
    for future in serving:
        future.result()
    return outcomes


def _here(sweep: Sweep, slot: Slot) -> Execute:
    def once(
        job: Job, again: Sequence[str], on_poll: Callable[[str], None], stop: threading.Event
    ) -> Outcome:
        return execute.execute(job.run, sweep.setting, slot=slot, again=again, on_poll=on_poll, stop=stop)

    return once


def full(outcome: Outcome) -> bool:
    """Whether a run ended because nothing can be written any more; every other run would too."""
    numbers = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
    return outcome.kind == "infrastructure" and any(f"[Errno {n}]" in outcome.error for n in numbers)


def said(error: OSError) -> str:
    """One line about an error of the system."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        told = os.stat(path)
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns
