"""Memory: peaks that are of the window, and parts that add up."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sensorfakes import FakeCuda

from vlmnb.meters import memory
from vlmnb.meters.memory import MemoryMeter


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process in the proc file system."""
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    return tmp_path


def test_memory_of_a_gpu_is_what_torch_allocated_and_reserved(
    monkeypatch: pytest.MonkeyPatch, process: Path
) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    (process / "status").write_text("VmHWM:\t     900 kB\nVmRSS:\t     400 kB\n")
    with MemoryMeter("cuda") as meter:
        assert cuda.calls == ["synchronize cuda", "reset"]
    usage = meter.usage
    assert (usage.baseline_bytes, usage.peak_bytes, usage.over_model_bytes()) == (100, 300, 200)
    assert (usage.reserved_baseline_bytes, usage.reserved_peak_bytes) == (200, 700)
    assert usage.over_model_bytes("reserved_") == 500
    assert (usage.process_baseline_bytes, usage.process_peak_bytes) == (400 * 1024, 900 * 1024)
    assert usage.over_model_bytes("process_") == 500 * 1024


def test_memory_of_a_process_is_read_from_proc(process: Path) -> None:
    (process / "status").write_text("Name:\tpython\nVmHWM:\t     900 kB\nVmRSS:\t     400 kB\n")
    with MemoryMeter() as meter:
        assert (process / "clear_refs").read_text() == "5"
        (process / "status").write_text("VmHWM:\t     700 kB\nVmRSS:\t     500 kB\n")
    assert meter.usage.baseline_bytes == 400 * 1024
    assert meter.usage.peak_bytes == 700 * 1024


@pytest.mark.parametrize("status", [None, "Name:\tpython\n"])
def test_unknown_memory_is_not_made_up(process: Path, status: str | None) -> None:
    if status is not None:
        (process / "status").write_text(status)
    with MemoryMeter() as meter:
        pass
    assert (meter.usage.peak_bytes, meter.usage.baseline_bytes) == (None, None)
    assert meter.usage.method.startswith("no peak of resident memory here")


def test_the_peak_is_that_of_the_window() -> None:
    earlier = b"x" * 200_000_000
    del earlier
    with MemoryMeter() as meter:
        within = b"x" * 60_000_000
        del within
    usage = meter.usage
    if usage.peak_bytes is None or usage.baseline_bytes is None:
        pytest.skip(usage.method)
    assert 55_000_000 < usage.peak_bytes - usage.baseline_bytes < 150_000_000


def test_weights_count_once_however_often_they_are_used() -> None:
    torch = pytest.importorskip("torch")
    table, head = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
    head.weight = table.weight
    model = torch.nn.ModuleList([table, head, torch.nn.BatchNorm1d(3)])
    assert memory.weights_by_type(model) == {"float32": 10 * 4 * 4 + 4 * 3 * 4, "int64": 8}
    assert memory.weights_by_type(model.half()) == {"float16": 10 * 4 * 2 + 4 * 3 * 2, "int64": 8}
