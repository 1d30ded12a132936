"""Execute the runs of a sweep by its rules: what is tried again, and when to give up.

A Jupyter kernel that dies while it measures a cell gets one more try; after that the cell is recorded as
failed and the rest of its notebook goes on. A cell that exceeds its time limit is recorded as failed at once.
A problem that is not the notebook's fault is tried again. A notebook's own error is not: it would fail again.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent import futures
from datetime import UTC, datetime

from vlmnb.device import slots
from vlmnb.errors import with_name
from vlmnb.files import locks
from vlmnb.files.changes import signature
from vlmnb.records import store
from vlmnb.records.resolved import blank_record, resolve_cell
from vlmnb.spec.cell import words
from vlmnb.sweep import execute, inventory, warm
from vlmnb.sweep.execute import ExecutionOptions, RunResult
from vlmnb.sweep.inventory import CellState, Job, Remeasure
from vlmnb.sweep.progress import Progress

TRIES = 3
"""How often a run is tried if what ends it is not its notebook's fault."""

DEATHS = 2
"""Deaths of the Jupyter kernel in one cell after which the cell is recorded as failed."""

Execute = Callable[[Job, Sequence[str], Callable[[str], None]], RunResult]
"""Executes a job once, given the keys to measure again and what to call with the cell being measured."""


class Stopped(Exception):
    """The sweep is to stop."""


class Sweep:
    """The state of one sweep.

    Attributes:
        stop: Set when it is to stop.
        parents: Warm parents, of which Jupyter kernels on this machine are forked; None starts ordinary ones.
        before_waiting: Called before it waits for another process.
    """

    def __init__(
        self, options: ExecutionOptions, remeasure: Remeasure, progress: Progress,
        parents: warm.Parents | None = None,
    ) -> None:  # fmt: skip
        """Execute nothing yet."""
        self.options, self.remeasure, self.progress = options, remeasure, progress
        self.stop = threading.Event()
        self.parents = parents
        self.before_waiting: Callable[[], None] = lambda: None
        self._runs = locks.Locks(options.runs / ".runs.lock")

    def now(self, job: Job) -> Job:
        """Return the job as the records are now."""
        return inventory.jobs([job.run], self.options.results, self.options.runs)[0]

    def work(self, job: Job, execute_once: Execute, where: str, held: Sequence[str] = ()) -> RunResult | None:
        """Execute a job by the rules; return None if another sweep did it meanwhile or this one is to stop.

        Everybody locks the run first and its device second, here and on a cluster, so that two sweeps never
        wait for each other. The progress calls the device ``where``; a cluster assigns its slots itself.
        """
        if self.stop.is_set():
            return None
        try:
            while not self._runs.take(job.run.name):
                line = f"{slots.WAITING}process {self._runs.holder(job.run.name)} is executing it"
                self.waiting(where, job.run.name, line)
                self.stop.wait(locks.POLL_S)
            if not self.now(job).needs_work(self.remeasure):
                return None
            with slots.held(held, functools.partial(self.waiting, where, job.run.name)):
                fresh = self.now(job)
                if not fresh.needs_work(self.remeasure):
                    return None
                result = self._complete(self._tried(fresh, execute_once, where), fresh)
            if result.kind not in ("ok", "stopped"):
                execute.file_failure(result, self.options, stale=self.remeasure.stale)
        except Stopped:
            return None
        except Exception as error:  # whatever it is, it must not cost the other runs
            result = RunResult(run=job.run, kind="infrastructure", error=with_name(error))
        except BaseException:
            self.stop.set()
            raise
        finally:
            self._runs.release(job.run.name)
            self.progress.leave(where)
        if result.kind == "infrastructure":
            self.progress.stopped_by = self.progress.stopped_by or result.error
        if disk_full(result):
            self.stop.set()
        return result

    def side_by_side(
        self, work: Callable[[Job], RunResult | None], jobs: Sequence[Job], most: int,
        watch: Callable[[], None] = lambda: None,
    ) -> list[RunResult]:  # fmt: skip
        """Execute jobs in so many threads; when this thread is interrupted, the sweep stops.

        ``watch`` is called five times a second; if it raises a ConnectionError, nobody waits for the threads.
        """
        pool = futures.ThreadPoolExecutor(most)
        wait = True
        try:
            working = [pool.submit(work, job) for job in jobs]
            while futures.wait(working, timeout=0.2).not_done:
                watch()
        except BaseException as error:
            self.stop.set()
            wait = not isinstance(error, ConnectionError)
            raise
        finally:
            pool.shutdown(wait)
        return [result for each in working if (result := each.result())]

    def waiting(self, where: str, run: str, line: str) -> None:
        """Show what a run waits for; raise `Stopped` if the sweep is to stop."""
        self.before_waiting()
        self.progress.doing(where, run, line)
        if self.stop.is_set():
            raise Stopped

    def _tried(self, job: Job, execute_once: Execute, where: str) -> RunResult:
        """Execute a job as often as the rules allow."""
        deaths: Counter[str] = Counter()
        tries = 1
        recorded = [c.path for c in job.wanted(self.remeasure) if c.state in ("recorded", "stale")]
        before = {path: signature(path) for path in recorded}
        poll = functools.partial(self.progress.doing, where, job.run.name)
        while not self.stop.is_set():
            again = [path.stem for path, was in before.items() if signature(path) == was]
            result = execute_once(job, again, poll)
            at_work = next((state for state in job.cells if state.key == result.cell), None)
            if result.kind == "cell_limit" and at_work:
                limit_s = self.options.cell_limit_s
                self._fail(at_work, f"took longer than {limit_s:g} s, the limit of a cell (--cell-limit)")
            elif result.kind == "died" and at_work:
                deaths[at_work.key] += 1
                if deaths[at_work.key] >= DEATHS:
                    self._fail(at_work, f"twice in this cell {result.error}")
                else:
                    self.progress.announce(f"{job.run.name}: {result.error}; trying again")
            elif result.kind in ("died", "infrastructure") and tries < TRIES and not disk_full(result):
                tries += 1
                self.progress.announce(f"{job.run.name}: {result.error}; trying again ({tries} of {TRIES})")
            elif result.kind == "died":
                return result.model_copy(update={"kind": "infrastructure"})
            else:
                return result
        return RunResult(run=job.run, kind="stopped", error="stopped")

    def _complete(self, result: RunResult, job: Job) -> RunResult:
        """Mark the page of a run that ended well; a run that leaves cells without a record has failed."""
        if result.kind != "ok":
            return result
        # A run records its cells itself. A page without cells is made from what was there when it began: a
        # record that was added meanwhile leaves it outdated.
        ended = self.now(job) if job.cells else job
        missing = ended.wanted()
        if not missing:
            inventory.mark_page(ended, self.options.runs)
            return result
        error = (
            f"its notebook ended, but {len(missing)} of its cells have no record; "
            f"the first: {words(missing[0].cell)}"
        )
        return result.model_copy(update={"kind": "failed", "error": error})

    def _fail(self, state: CellState, reason: str) -> None:
        """Record a cell as failed."""
        self.progress.announce(f"failed cell: {state.cell.model}, {words(state.cell)}: {reason}")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        record = blank_record(resolve_cell(state.cell), started, "failed", reason)
        store.keep(record, self.options.results)


def disk_full(result: RunResult) -> bool:
    """Check whether a run ended because nothing can be written any more, which would end every other run."""
    numbers = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
    return result.kind == "infrastructure" and any(f"[Errno {n}]" in result.error for n in numbers)
