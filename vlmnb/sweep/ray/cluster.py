"""Execute runs on a Ray cluster: Ray assigns one GPU per run, nodes stream their records to this machine.

A node needs the project at the same path with the same packages, but no shared file system: it is sent the
records that a run can use, and sends back each new one at once. When a node is lost, its records are here
already, and the run goes on on another node.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

from vlmnb.device import machine, slots
from vlmnb.device.machine import Machine
from vlmnb.errors import UserError, one_line
from vlmnb.records import content_key, store
from vlmnb.records.record_file import keep_damaged
from vlmnb.spec.planning import Run
from vlmnb.sweep.execute import ExecutionOptions, RunResult, forget_failure
from vlmnb.sweep.inventory import Job
from vlmnb.sweep.ray import node as on_node
from vlmnb.sweep.scheduler import Sweep
from vlmnb.types import Frozen

ASK_S, PATIENCE_S = 1.0, 30.0
"""The head of the cluster is asked at most once in so many seconds, and may be away for so many."""


class Node(Frozen):
    """A node: its identity and resources by Ray, and what `on_node.describe` returns on it."""

    node_id: str
    gpus: float
    cpus: float
    name: str
    machine: Machine
    code: str
    packages: dict[str, str]


class Head:
    """Checks without Ray whether the head of a cluster, by host and port of its control service, is alive.

    Ray's own calls wait for a lost head for a minute (RAY_gcs_rpc_server_reconnect_timeout_s); then Ray ends
    the process without saying how to continue.

    Attributes:
        answers: Whether it answered last time.
        lost: Whether it has been away for too long.
    """

    def __init__(self, address: str) -> None:
        """Ask nothing yet."""
        self._address = address
        self._answered_at = self._asked_at = time.monotonic()
        self.answers, self.lost = True, False

    def look(self) -> None:
        """Ask whether it is alive, once a second at most; raise a ConnectionError if it is lost."""
        if time.monotonic() - self._asked_at < ASK_S:
            return
        self._asked_at, self.answers = time.monotonic(), False
        host, _, port = self._address.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            self._answered_at, self.answers = self._asked_at, True
        self.lost = self._asked_at - self._answered_at > PATIENCE_S
        if self.lost:
            raise ConnectionError(
                f"the head of the Ray cluster, {self._address}, has not answered for {PATIENCE_S:.0f} s"
            )


class Cluster:
    """The connection to a Ray cluster, and the nodes that a sweep measures on."""

    def __init__(self, hardware: str, options: ExecutionOptions) -> None:
        """Connect, describe every node, choose the hardware, and plan from here as if on that hardware.

        Unless threads were given, they become those of that hardware. Its slug can be left empty if the
        cluster has one kind.
        """
        self.ray = _connected()
        self._head = Head(self.ray.get_runtime_context().gcs_address)
        self.nodes = _chosen(_described(self.ray), hardware)
        first = self.nodes[0].machine
        machine.assume(first)
        if slots.THREADS not in os.environ:
            os.environ[slots.THREADS] = str(first.physical_cores)
        self.options = options.model_copy(update={"threads": slots.threads()})

    def __enter__(self) -> Callable[[Sweep, Sequence[Job]], list[RunResult]]:
        """Return the function that executes a sweep's jobs."""
        return self.execute

    def __exit__(self, *_: object) -> None:
        """Leave the cluster; end the process if its head is lost, because leaving would wait for it."""
        if self._head.lost:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(3)  # cli.sweep_command.INFRASTRUCTURE
        self.ray.shutdown()

    def execute(self, sweep: Sweep, todo: Sequence[Job]) -> list[RunResult]:
        """Execute as many jobs at the same time as the cluster has room for."""
        once = functools.partial(self._once, sweep.stop)
        return sweep.side_by_side(
            lambda job: sweep.work(job, once, job.run.name), todo, max(1, len(todo)), self._head.look
        )

    def _once(self, stop: Event, job: Job, again: Sequence[str], on_poll: Callable[[str], None]) -> RunResult:
        ray, options, run = self.ray, self.options, job.run
        devices = {state.cell.device for state in job.cells}
        able = [node for node in self.nodes if node.gpus >= 1 or "cuda" not in devices]
        if not able:
            return RunResult(run=run, kind="failed", error="this run needs a GPU; no node has one")
        files = {path for state in job.cells for path in (state.answer, state.path) if path and path.exists()}
        known = {path.relative_to(options.results).as_posix(): path.read_bytes() for path in files}
        # One call per worker, so that it releases its GPU. Retries are decided by the sweep, not by Ray.
        task = ray.remote(max_calls=1)(on_node.execute_run).options(
            max_retries=0,
            num_returns="streaming",
            name=run.name,
            # A run that measures on the CPU requests all cores of a node and has it to itself.
            num_cpus=min(node.cpus for node in able) if "cpu" in devices else 1,
            num_gpus=int("cuda" in devices),
            label_selector={"ray.io/node-id": f"in({','.join(node.node_id for node in able)})"},
        )
        sent = task.remote(run.model_dump(), options.model_dump(mode="json"), list(again), known)
        try:
            return self._received(sent, run, able, on_poll, stop)
        except ray.exceptions.RayTaskError as error:
            return _lost(run, one_line(error.cause or error))
        except ray.exceptions.RayError as error:
            return _lost(run, f"its node or worker was lost: {one_line(error)}")

    def _received(
        self, sent: Any, run: Run, able: Sequence[Node], on_poll: Callable[[str], None], stop: Event
    ) -> RunResult:
        """Store what a node sends until it reports how the run ended."""
        while True:
            ready, _ = self.ray.wait([sent], timeout=on_node.STREAM_S)
            if stop.is_set():
                self.ray.cancel(sent)
                return RunResult(run=run, kind="stopped", error="stopped")
            if not ready:
                # A head that does not answer cannot say which nodes are alive.
                if self._head.answers and _alive(self.ray).keys().isdisjoint(node.node_id for node in able):
                    self.ray.cancel(sent)
                    return _lost(run, "every suitable node is lost")
                continue
            try:
                report: on_node.Report = self.ray.get(next(sent))
            except StopIteration:
                return _lost(run, "its node ended without a result")
            options = self.options
            for name in report.records:
                keep_damaged(options.results / name)
            on_node.store(options.results, report.records)
            for name in report.records:
                store.enter(options.results / name, options.results)
            on_node.store(options.runs, report.pages)
            on_poll(report.cell)
            if report.result is not None:
                result = RunResult.model_validate(report.result)
                if result.kind == "ok":
                    forget_failure(run, options)
                return result


def _lost(run: Run, error: str) -> RunResult:
    return RunResult(run=run, kind="infrastructure", error=error)


def _connected() -> Any:
    # No usage statistics: measurements are private, and a start without network must not wait for one.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--on ray needs Ray: pip install -r requirements-ray.txt, here and on every node"
        ) from None
    try:
        ray.init(address="auto", log_to_driver=False, logging_level="error")
    except ConnectionError:
        raise UserError(
            "there is no Ray cluster here; start one with: ray start --head, and on the other machines: "
            "ray start --address=HEAD:6379 (or set RAY_ADDRESS)"
        ) from None
    return ray


def _alive(ray: Any) -> dict[str, dict[str, float]]:
    """Return the resources of every living node by its id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _described(ray: Any) -> list[Node]:
    """Describe every living node, by a small task on each."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    alive = {node: has for node, has in _alive(ray).items() if has.get("CPU", 0) >= 1}
    task = ray.remote(num_cpus=0, max_retries=0)(on_node.describe)
    try:
        found = ray.get(
            [task.options(scheduling_strategy=On(node, soft=False)).remote() for node in alive], timeout=120
        )
    except ray.exceptions.RayError as error:
        raise UserError(f"a node of the cluster cannot run the project: {one_line(error)}") from None
    return [
        Node(node_id=node, gpus=has.get("GPU", 0), cpus=has["CPU"], **own)
        for (node, has), own in zip(alive.items(), found, strict=True)
    ]


def _chosen(nodes: Sequence[Node], hardware: str) -> list[Node]:
    """Return the nodes to measure on: one kind of hardware, with this machine's code and packages."""
    kinds = sorted({node.machine.slug for node in nodes})
    chosen = [node for node in nodes if hardware in ("", node.machine.slug)]
    if not chosen:
        raise UserError(f"the cluster has no {hardware!r}; it has: {', '.join(kinds) or 'no node at all'}")
    if len({node.machine.fingerprint for node in chosen}) > 1:
        raise UserError(
            f"the cluster has several kinds of hardware, whose numbers must not be mixed: {', '.join(kinds)};"
            " name one with --hardware"
        )
    here = content_key.packages()
    for node in chosen:
        if node.code != content_key.measuring_code():
            raise UserError(f"node {node.name} has another version of the project; update it there")
        for name in sorted({*node.packages, *here}):
            if node.packages.get(name) != here.get(name):
                raise UserError(
                    f"node {node.name} has {name} {node.packages.get(name, 'missing')}, "
                    f"this machine {here.get(name, 'none')}; install the same requirements on both"
                )
    return chosen
