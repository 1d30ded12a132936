"""Jupyter kernels forked from a warm parent: as apart from each other as ordinary ones, and read the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from fakes import MEASURE, PARAMETERS, Checkout, processes_of, wait_for

from vlmnb.sweep import fork_server, warm

pytestmark = pytest.mark.slow

OBSERVE = """
import os, pathlib, random, sys
import torch, vlmnb.measure.ahead
from vlmnb import experiment, paths
from vlmnb.meters.memory import MemoryMeter

def status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":")[1].split()[0] for line in lines if line.startswith(name))

def mapped():
    return [line.split()[:2] for line in pathlib.Path("/proc/self/smaps").read_text().splitlines()]

def of_mappings(name):
    return sum(int(size) for field, size in (pair for pair in mapped() if len(pair) == 2) if field == name)

at_first = {
    "warm": "vlmnb.sweep.fork_server" in sys.orig_argv,
    "rss": int(status("VmRSS")), "hwm": int(status("VmHWM")),
    "shared_dirty": of_mappings("Shared_Dirty:"), "session": os.getsid(0) == os.getpid(),
    "torch_threads": torch.get_num_threads(), "blocked": status("SigBlk"), "ignored": status("SigIgn"),
    "environment": {n: os.environ.get(n) for n in (*__import__("vlmnb.device.slots").device.slots.TUNING,
                    "OMP_NUM_THREADS", "VLMNB_THREADS", "CUDA_VISIBLE_DEVICES", "JPY_PARENT_PID")},
    "streams": [os.path.basename(os.readlink(f"/proc/self/fd/{n}")) for n in (1, 2)],
    "random": random.random(), "path": sys.path, "allocated": sys.getallocatedblocks(),
}
with MemoryMeter() as meter:
    torch.ones(64, 1024, 1024).sum()  # 256 MiB
usage = meter.usage
at_first |= {
    "window": usage.peak_bytes - usage.baseline_bytes, "computing": len(os.listdir("/proc/self/task")),
    "sum": float((torch.arange(1e6) / 7).sin().sum()),
}
(paths.root() / f"seen-{model}-{os.getpid()}.json").write_text(json.dumps(at_first))
"""


def template(checkout: Checkout, *codes: str) -> None:
    """Make the checkout's notebook of these cells."""
    cells = [nbformat.v4.new_code_cell(code) for code in (PARAMETERS, *codes)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, checkout.root / "notebooks" / "batch_size.ipynb")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What two kernels of one parent and an ordinary one see of themselves."""
    found = {}
    for how, models in (("1", ["llava-tiny", "fuyu-tiny"]), ("0", ["llava-tiny"])):
        checkout = Checkout(tmp_path_factory.mktemp("seen"))
        checkout.warm = how
        checkout.spec(models, [1])
        template(checkout, MEASURE, OBSERVE)
        checkout.sweep()
        found[how] = [json.loads(path.read_text()) for path in sorted(checkout.root.glob("seen-*.json"))]
        assert processes_of(checkout.root) == []
    return found


def test_a_forked_kernel_is_as_an_ordinary_one(seen: dict[str, list[dict[str, Any]]]) -> None:
    (one, other), (ordinary,) = seen["1"], seen["0"]
    assert (one["warm"], other["warm"], ordinary["warm"]) == (True, True, False)
    for forked in (one, other):
        same = ("session", "torch_threads", "blocked", "ignored", "streams", "computing", "sum")
        assert {name: forked[name] for name in same} == {name: ordinary[name] for name in same}
        assert forked["environment"].keys() == ordinary["environment"].keys()
        assert {**forked["environment"], "JPY_PARENT_PID": 0} == {
            **ordinary["environment"],
            "JPY_PARENT_PID": 0,
        }
    assert one["random"] != other["random"]


def test_its_memory_is_its_own_and_reads_the_same(seen: dict[str, list[dict[str, Any]]]) -> None:
    (one, other), (ordinary,) = seen["1"], seen["0"]
    for forked in (one, other):
        assert forked["rss"] == pytest.approx(ordinary["rss"], rel=0.03)
        assert forked["hwm"] == pytest.approx(ordinary["hwm"], rel=0.08), (
            "the highest of imports, which varies"
        )
        assert forked["window"] == pytest.approx(ordinary["window"], rel=0.02)
        assert forked["window"] == pytest.approx(2**28, rel=0.05)
        assert forked["shared_dirty"] < 8192, "KiB: what could be written was copied before it began"


@pytest.fixture
def warm_checkout(checkout: Checkout) -> Checkout:
    """A project whose Jupyter kernels are forked, from a parent that leaves out torch: no cell needs it."""
    checkout.warm = "1"
    ahead = "vlmnb.measure.ahead"
    without = f"import sys, types; sys.modules[{ahead!r}] = types.ModuleType({ahead!r})"
    (checkout.root / "sitecustomize.py").write_text(without)
    return checkout


@pytest.mark.long
def test_a_killed_kernel_costs_only_itself_and_a_hanging_one_leaves_nothing(warm_checkout: Checkout) -> None:
    warm_checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2, 3])
    warm_checkout.behave({1: "die once", 2: "segfault", 3: "hang"})
    said = warm_checkout.sweep("--cell-limit", "8", code=1).stdout
    assert "signal 9" in said
    reasons = {which: reason for which, (_, reason) in warm_checkout.statuses().items()}
    assert all(reasons[model, 1] == "" for model in ("llava-tiny", "fuyu-tiny"))
    assert all("signal 11" in reasons[model, 2] for model in ("llava-tiny", "fuyu-tiny"))
    assert all("longer than 8 s" in reasons[model, 3] for model in ("llava-tiny", "fuyu-tiny"))
    assert list(warm_checkout.root.glob("stubborn*")), "it had children that ignore SIGTERM"
    assert processes_of(warm_checkout.root) == []
    assert list(warm_checkout.root.glob("vlmnb-*")) == []


@pytest.mark.parametrize("victim", ["warm parent", "guard", "papermill", "supervisor", "sweep"])
def test_whatever_is_killed_costs_one_try_at_most(warm_checkout: Checkout, victim: str) -> None:
    sweep = warm_checkout.at_work()
    served = warm_checkout.processes("vlmnb.sweep.fork_server")
    parent = next(p for p in served if p.parent() and p.parent().pid == sweep.pid)
    (guard,) = parent.children()
    (kernel,) = guard.children()
    chosen = {
        "warm parent": parent, "guard": guard, "sweep": psutil.Process(sweep.pid),
        "papermill": warm_checkout.processes("vlmnb.sweep.notebook_process")[0],
        "supervisor": warm_checkout.processes("vlmnb.sweep.supervisor")[0],
    }  # fmt: skip
    chosen[victim].send_signal(signal.SIGKILL)
    if victim == "sweep":
        sweep.communicate()
        wait_for(lambda: processes_of(warm_checkout.root) == [])
        return
    if victim != "warm parent":
        wait_for(lambda: not kernel.is_running())
        wait_for(lambda: warm_checkout.measured() == [1, 2, 2])
    (warm_checkout.root / "go").touch()
    out, error = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, out + error
    assert warm_checkout.measured() == ([1, 2, 3] if victim == "warm parent" else [1, 2, 2, 3])
    assert processes_of(warm_checkout.root) == []


ON_A_GPU = """
import importlib, sys
import pynvml, torch, torch._dynamo.device_interface
asked, held = [], []
torch.cuda._is_compiled = lambda: True
torch._C._cuda_getDeviceCount = lambda: asked.append("driver") or 1
torch.cuda._lazy_init = lambda: asked.append("CUDA")
torch._C._cuda_getDevice = lambda: 0
torch.cuda.get_device_properties = lambda *_: torch.cuda._lazy_init()
torch.cuda.get_device_capability = lambda *_: torch.cuda._lazy_init() or (9, 0)
torch.version.cuda = "13.0"
pynvml.nvmlInit, pynvml.nvmlShutdown = lambda: held.append("NVML"), lambda: held.pop()
for name in sys.argv[1:]:
    importlib.import_module(name)
import torchao
print(asked, held)
"""


def test_a_warm_parent_leaves_the_gpu_alone() -> None:
    """A process forked from one that has initialized CUDA cannot use it, and would share NVML's state."""
    own = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", ON_A_GPU, *warm.MODULES]
    done = subprocess.run(command, env=own | warm.NO_GPU, capture_output=True, text=True, timeout=100)
    assert done.stdout == "[] []\n", done.stderr
    # What the test is about: without the variables torchao asks CUDA when transformers imports it.
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=100)
    assert "'CUDA'" in done.stdout, done.stderr


def test_a_parent_that_has_initialized_cuda_forks_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("class cuda:\n    _is_in_bad_fork = lambda: True\n")
    monkeypatch.setattr(warm, "MODULES", ("torch",))
    parents = warm.Parents()
    place = parents.of({**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(warm.__file__).parents[2]}"})
    with pytest.raises(OSError, match=r"ended|reset|pipe"):  # the caller then starts an ordinary kernel
        warm.ForkedKernel(place, [], {}, "")
    parents.close()


def test_a_parent_that_cannot_serve_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "MODULES", ("no_such_module",))
    parents = warm.Parents()
    with pytest.raises((ConnectionError, FileNotFoundError)):  # the caller then starts an ordinary kernel
        warm.ForkedKernel(parents.of(os.environ), [], {}, "")
    assert parents.of({warm.SWITCH: "0"}) == ""
    parents.close()


@pytest.mark.parametrize(("place", "name"), [(fork_server, "Memory"), (os, "pidfd_open")])
def test_a_system_that_cannot_fork_kernels_is_found_before_imports(
    place: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("not in this system")

    monkeypatch.setattr(place, name, refused)
    with pytest.raises(OSError, match="not in this system"):
        fork_server.main(str(tmp_path / "s"), ["no_such_module"])


def test_runs_of_another_environment_have_a_parent_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "MODULES", ("json",))
    parents = warm.Parents()
    places = [parents.of({"OMP_NUM_THREADS": number, "PATH": "/bin"}) for number in ("1", "2", "1")]
    assert places[0] == places[2] != places[1]
    parents.close()
    assert not any(Path(place).parent.exists() for place in places)
