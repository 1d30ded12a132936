"""Runs on a Ray cluster: one GPU per run by Ray's own assignment, records streamed back to this machine.

A node needs the project at the same place with the same packages, and no shared file system: it is sent the
records that a run can use, and sends back each new one as soon as it is there. When a node is lost, what it
had measured is here, and the run goes on elsewhere.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb import paths
from vlmnb.device import machine, slots
from vlmnb.device.machine import Machine
from vlmnb.device.slots import Slot
from vlmnb.errors import UserError
from vlmnb.files import temporary
from vlmnb.records import content_key, store
from vlmnb.records.record import keep_damaged
from vlmnb.spec.cell import Run
from vlmnb.sweep import execute, supervisor
from vlmnb.sweep.execute import Outcome, Setting
from vlmnb.sweep.inventory import Job
from vlmnb.sweep.ray.head import Head
from vlmnb.sweep.scheduler import Stopped, Sweep

Files = dict[str, bytes]
"""Content by path relative to the results or runs folder."""

STREAM_S = 1.0
"""How often a node looks for new records to send."""


class Node(NamedTuple):
    """A node as its own task describes it."""

    name: str
    node_id: str
    machine: Machine
    code: str
    packages: dict[str, str]
    gpus: float
    cpus: float


class Report(NamedTuple):
    """What a node sends while a run goes on, and with ``outcome`` at its end."""

    cell: str
    records: Files
    pages: Files
    outcome: dict[str, Any] | None


class Cluster:
    """The connection to a Ray cluster, and the hardware of it that a sweep measures on."""

    def __init__(self, hardware: str, setting: Setting) -> None:
        """Connect, look at every node, choose the hardware, and plan as if this machine were it.

        Args:
            hardware: Slug of the machines to measure on; empty where the cluster has one kind.
            setting: As on this machine; threads become those of the chosen hardware unless they were named.

        Raises:
            UserError: Ray is not installed, there is no cluster, or the nodes do not fit.
        """
        self.ray = _connected()
        self._head = Head(self.ray.get_runtime_context().gcs_address)
        self.nodes = _chosen(_described(self.ray), hardware)
        first = self.nodes[0].machine
        machine.assume(first)
        if slots.THREADS not in os.environ:
            os.environ[slots.THREADS] = str(first.physical_cores)
        self.setting = setting.model_copy(update={"threads": slots.threads()})
        self._lost = False

    def __enter__(self) -> Callable[[Sweep, Sequence[Job]], list[Outcome]]:
        """What executes a sweep's jobs."""
        return self.execute

    def __exit__(self, *_: object) -> None:
        """Leave the cluster; where its head is lost, end the process: leaving too would wait for the head."""
        if self._lost:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(3)  # sweep_command.INFRASTRUCTURE
        self.ray.shutdown()

    def execute(self, sweep: Sweep, todo: Sequence[Job]) -> list[Outcome]:
        """Execute jobs side by side, as many as the cluster has room for."""
        outcomes: list[Outcome] = []
        guard = threading.Lock()

        def serve(job: Job) -> None:
            if sweep.stop.is_set():
                return
            try:
                outcome = sweep.work(job, self._once, job.run.name)
            except Stopped:
                return
            if outcome is not None:
                with guard:
                    outcomes.append(outcome)

        pool = ThreadPoolExecutor(max(1, len(todo)))
        serving = [pool.submit(serve, job) for job in todo]
        try:
            while not all(future.done() for future in serving):
                self._head.look()
                time.sleep(0.2)
        except ConnectionError:
            sweep.stop.set()
            self._lost = True
            raise
        except BaseException:
            sweep.stop.set()
            raise
        finally:
            pool.shutdown(wait=not self._lost)  # its threads may be within a call of Ray's
        for future in serving:
            future.result()
        return outcomes

    def _once(
        self, job: Job, again: Sequence[str], on_poll: Callable[[str], None], stop: threading.Event
    ) -> Outcome:
        ray, setting, run = self.ray, self.setting, job.run
        needs_gpu = any(state.cell.device == "cuda" for state in job.cells)
        alone = any(state.cell.device == "cpu" for state in job.cells)
        able = [node for node in self.nodes if node.gpus >= 1 or not needs_gpu]
        if not able:
            return Outcome(
                run=run, kind="failed", error="no node of the cluster has a GPU, which this run needs"
            )
        resources = _resources(able, needs_gpu, alone)
        known = {
            state.answer.relative_to(setting.results).as_posix(): state.answer.read_bytes()
            for state in job.cells
            if state.answer is not None and state.answer.exists()
        } | {
            state.path.relative_to(setting.results).as_posix(): state.path.read_bytes()
            for state in job.cells
            if state.path.exists()
        }
        # The worker ends with its run, and its hold on a GPU; what is tried again the sweep decides.
        task = ray.remote(max_calls=1)(_on_node).options(
            max_retries=0, num_returns="streaming", name=run.name, **resources
        )
        sent = task.remote(run.model_dump(), setting.model_dump(mode="json"), list(again), known)
        try:
            return self._received(sent, run, able, on_poll, stop)
        except ray.exceptions.RayTaskError as error:
            return Outcome(run=run, kind="infrastructure", error=_line(error.cause or error))
        except ray.exceptions.RayError as error:
            return Outcome(
                run=run, kind="infrastructure", error=f"its node or worker was lost: {_line(error)}"
            )

    def _alive(self, nodes: Sequence[Node]) -> bool:
        if not self._head.answers:
            return True  # nobody can tell
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        return any(node.node_id in alive for node in nodes)

    def _received(
        self, sent: Any, run: Run, able: Sequence[Node], on_poll: Callable[[str], None], stop: threading.Event
    ) -> Outcome:
        """Store what a node sends until it says how the run ended."""
        while True:
            ready, _ = self.ray.wait([sent], timeout=STREAM_S)
            if stop.is_set():
                self.ray.cancel(sent)
                return Outcome(run=run, kind="stopped", error="stopped")
            if not ready:
                if not self._alive(able):
                    self.ray.cancel(sent)
                    return Outcome(run=run, kind="infrastructure", error="every node that fits is lost")
                continue
            try:
                report: Report = self.ray.get(next(sent))
            except StopIteration:
                return Outcome(run=run, kind="infrastructure", error="its node ended without saying how")
            for name in report.records:
                keep_damaged(self.setting.results / name)
            _store(self.setting.results, report.records)
            for name in report.records:
                store.enter(self.setting.results / name, self.setting.results)
            _store(self.setting.runs, report.pages)
            on_poll(report.cell)
            if report.outcome is not None:
                outcome = Outcome.model_validate(report.outcome)
                if outcome.kind == "ok":
                    filed = paths.failure(self.setting.runs, run.model, run.axis)
                    filed.unlink(missing_ok=True)
                    filed.with_suffix(".ipynb").unlink(missing_ok=True)
                return outcome


def _connected() -> Any:
    # Measurements are nobody else's business, and a start without network must not wait for one.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--on ray needs Ray: pip install -r requirements-ray.txt, here and on every node"
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False, logging_level="error")
        except ConnectionError:
            raise UserError(
                "there is no Ray cluster here; start one with: ray start --head, and on the other machines: "
                "ray start --address=HEAD:6379 (or set RAY_ADDRESS)"
            ) from None
    return ray


def _described(ray: Any) -> list[Node]:
    """Every living node, by a small task of its own on each."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    asked = [
        ray.remote(_describe).options(
            num_cpus=0, max_retries=0, scheduling_strategy=On(n["NodeID"], soft=False)
        )
        for n in alive
    ]
    try:
        told = ray.get([task.remote() for task in asked], timeout=120)
    except ray.exceptions.RayError as error:
        raise UserError(f"a node of the cluster cannot run the project: {_line(error)}") from None
    return [
        Node(
            name=found["host"], node_id=node["NodeID"], machine=Machine.model_validate(found["machine"]),
            code=found["code"], packages=found["packages"],
            gpus=node["Resources"].get("GPU", 0), cpus=node["Resources"].get("CPU", 0),
        )
        for node, found in zip(alive, told, strict=True)
    ]  # fmt: skip


def _describe() -> dict[str, Any]:
    supervisor.end_marked()
    temporary.remove_left()
    return {
        "host": socket.gethostname(),
        "machine": machine.describe().model_dump(mode="json"),
        "code": content_key.measuring_code(),
        "packages": content_key.packages(),
    }


def _chosen(nodes: Sequence[Node], hardware: str) -> list[Node]:
    """The nodes to measure on: of one kind of hardware, with this machine's code and packages.

    Raises:
        UserError: There are several kinds, none of the named one, or a node has other code or packages.
    """
    kinds = sorted({node.machine.slug for node in nodes})
    chosen = [node for node in nodes if hardware in ("", node.machine.slug)]
    if not chosen:
        raise UserError(f"the cluster has no {hardware!r}; it has: {', '.join(kinds) or 'no node at all'}")
    if len({node.machine.fingerprint for node in chosen}) > 1:
        raise UserError(
            f"the cluster has several kinds of hardware, whose numbers must not be mixed: {', '.join(kinds)};"
            " name one with --hardware"
        )
    for node in chosen:
        if node.code != content_key.measuring_code():
            raise UserError(f"node {node.name} has another version of the project; update it there")
        here = content_key.packages()
        for name in sorted({*node.packages, *here}):
            if node.packages.get(name) != here.get(name):
                raise UserError(
                    f"node {node.name} has {name} {node.packages.get(name, 'missing')}, "
                    f"this machine {here.get(name, 'none')}; install the same requirements on both"
                )
    return chosen


def _resources(able: Sequence[Node], needs_gpu: bool, alone: bool) -> dict[str, Any]:
    """What a run asks of Ray, so that only a node that fits is chosen.

    A run that measures on the CPU asks for all cores of a node and has it to itself.
    """
    return {
        "num_cpus": min(node.cpus for node in able) if alone else 1,
        "num_gpus": 1 if needs_gpu else 0,
        "label_selector": {"ray.io/node-id": f"in({','.join(node.node_id for node in able)})"},
    }


def _on_node(
    run: dict[str, Any], setting: dict[str, Any], again: list[str], known: Files
) -> Iterator[Report]:
    """The task: execute a run in folders of its own and send what appears in them."""
    with temporary.Scratch(temporary.NODE) as folder:
        results, runs = folder / "results", folder / "runs"
        results.mkdir()
        _store(results, known)
        here = Setting.model_validate(setting | {"results": results, "runs": runs})
        stop, cells, ended = threading.Event(), [""], list[Outcome]()

        def work() -> None:
            # Ray has chosen a GPU and named it in the environment; here it gets its UUID, where it has one.
            assigned = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            slot = Slot(name=assigned or "cpu", visible=assigned or None)
            names = slots.everything()
            if assigned:
                slot = next(iter(slots.gpus()), slot)
                names = [gpu.name for gpu in slots.gpus()[:1]]

            def waiting(line: str) -> None:
                cells[0] = line
                if stop.is_set():
                    raise Stopped

            try:
                with slots.held(names, waiting):
                    ended.append(
                        execute.execute(
                            Run.model_validate(run), here, slot=slot, again=again, stop=stop,
                            on_poll=lambda cell: cells.__setitem__(0, cell),
                        )
                    )  # fmt: skip
            except Stopped:
                ended.append(Outcome(run=Run.model_validate(run), kind="stopped", error="stopped"))
            except OSError as error:
                ended.append(Outcome(run=Run.model_validate(run), kind="infrastructure", error=_line(error)))

        worker = threading.Thread(target=work, daemon=True)
        seen = {name: (results / name).stat().st_mtime_ns for name in known}
        worker.start()
        try:
            while worker.is_alive():
                worker.join(STREAM_S)
                yield Report(cells[0], _new(results, seen), {}, None)
            outcome = ended[0].model_dump(mode="json") if ended else None
            yield Report("", _new(results, seen), _new(runs, {}), outcome)
        finally:
            stop.set()
            worker.join()


def _new(folder: Path, seen: dict[str, int]) -> Files:
    """Finished files below a folder that were not there, or changed; takes note of them."""
    found = {}
    for path in sorted(folder.rglob("[!.]*.*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".json", ".ipynb") and not any(part.startswith(".") for part in Path(name).parts):
            written = path.stat().st_mtime_ns
            if seen.get(name) != written:
                seen[name], found[name] = written, path.read_bytes()
    return found


def _store(folder: Path, files: Files) -> None:
    for name, content in files.items():
        with paths.temporary_beside(folder / name) as written:
            written.write_bytes(content)


def _line(error: object) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= 500 else said[:499] + "…"
