"""Windows: what they report, what they leave alone, and that nothing stays behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from vlmnb import machine, meters, record
from vlmnb.meters import EnergyMeter, EnergyReading, MemoryMeter


@dataclass
class Row:
    codecarbon_version: str = "9.9"
    cpu_energy: float = 1e-6
    gpu_energy: float = 2e-6
    ram_energy: float = 3e-6
    ram_power: float = 10.0


class RAM:
    pass


class CPU:
    def __init__(self, mode: str = "cpu_load", tdp: float = 65.0, generic: bool = False) -> None:
        self._mode, self._tdp, self._is_generic_tdp, self._tracking_mode = mode, tdp, generic, "process"


class GPU:
    def __init__(self, counter: bool = True) -> None:
        self.gpu_ids = [1]
        self.devices = SimpleNamespace(devices=[self._device(0, False), self._device(1, counter)])

    @staticmethod
    def _device(index: int, counter: bool) -> Any:
        return SimpleNamespace(
            gpu_index=index,
            _has_counter=counter,
            _use_power_fallback=not counter,
            get_static_details=lambda: {"name": "H200"},
        )


class FakeTracker:
    def __init__(self, *hardware: object, fails: bool = False, forced: float | None = None) -> None:
        self._hardware, self._conf, self.fails = hardware, {"force_cpu_power": forced}, fails
        self.calls: list[str] = []

    def start_task(self) -> None:
        self.calls.append("start")

    def stop_task(self) -> Row:
        self.calls.append("stop")
        if self.fails:
            raise RuntimeError("no reading")
        return Row()


def metered(tracker: FakeTracker, device: str = "cpu") -> EnergyMeter:
    ticks = iter((100.0, 102.5))
    return EnergyMeter(device, tracker_factory=lambda _: tracker, clock=lambda: next(ticks))


def test_a_window_has_a_length_and_a_reading_per_source() -> None:
    tracker = FakeTracker(RAM(), CPU(), GPU())
    with metered(tracker) as meter:
        assert tracker.calls == ["start"]
        assert meter.readings == ()
    assert tracker.calls == ["start", "stop"]
    assert meter.duration_s == 2.5
    assert meter.emissions["cpu_energy"] == 1e-6
    found = {r.source: (r.method, round(r.energy_j, 9), r.detail) for r in meter.readings}
    assert found == {
        "ram": ("model", 10.8, "codecarbon 9.9, constant 10 W, process mode"),
        "cpu": ("model", 3.6, "codecarbon 9.9, cpu_load, process mode, TDP 65 W"),
        "gpu": ("nvml_counter", 7.2, "codecarbon 9.9, energy counter of GPU 1 H200"),
    }


@pytest.mark.parametrize(
    ("hardware", "forced", "method", "words"),
    [
        (CPU("intel_rapl"), None, "rapl", "intel_rapl, whole package, all processes"),
        (CPU("constant"), None, "model", "constant, half of TDP x time, TDP 65 W"),
        (CPU(tdp=85, generic=True), None, "model", "TDP 85 W (codecarbon's default"),
        (CPU(tdp=4 * (psutil.cpu_count() or 1)), None, "model", "(4 W per thread, the CPU is not in"),
        (CPU(tdp=30.0), 30.0, "model", "TDP 30 W (as configured)"),
        (GPU(counter=False), None, "model", "no energy counter"),
    ],
)
def test_a_reading_says_how_it_came_about(
    hardware: object, forced: float | None, method: str, words: str
) -> None:
    with metered(FakeTracker(hardware, forced=forced)) as meter:
        pass
    (reading,) = meter.readings
    assert reading.method == method
    assert words in reading.detail


def test_an_error_of_the_work_comes_through() -> None:
    tracker = FakeTracker(CPU())
    with pytest.raises(KeyError, match="work"), metered(tracker) as meter:
        raise KeyError("work")
    assert tracker.calls == ["start", "stop"]
    assert meter.duration_s == 2.5
    assert meter.readings[0].source == "cpu"


def test_an_error_of_the_work_hides_one_of_the_meter() -> None:
    with pytest.raises(KeyError, match="work"), metered(FakeTracker(fails=True)):
        raise KeyError("work")
    with pytest.raises(RuntimeError, match="no reading"), metered(FakeTracker(fails=True)):
        pass


def reading(source: str, method: str) -> EnergyReading:
    return EnergyReading.model_validate({"source": source, "method": method, "energy_j": 1.0, "detail": ""})


def test_the_headline_is_one_reading_of_the_device_that_worked() -> None:
    ram, cpu, gpu = reading("ram", "model"), reading("cpu", "model"), reading("gpu", "nvml_counter")
    assert record.headline([ram, cpu, gpu], "cpu") is cpu
    assert record.headline([ram, cpu, gpu], "cuda:1") is gpu
    assert record.headline([ram, cpu, reading("gpu", "model")], "cuda") is None
    assert record.headline([ram], "cpu") is None


class FakeCuda:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def synchronize(self, device: str) -> None:
        self.calls.append(f"synchronize {device}")

    def reset_peak_memory_stats(self, device: str) -> None:
        self.calls.append("reset")

    def memory_allocated(self, device: str) -> int:
        return 100

    def max_memory_allocated(self, device: str) -> int:
        return 300

    def get_device_properties(self, device: str) -> Any:
        return SimpleNamespace(uuid="b")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake, device=str))
    return fake


def test_a_window_on_a_gpu_begins_and_ends_with_an_idle_gpu(cuda: FakeCuda) -> None:
    tracker = FakeTracker(GPU())
    tracker.calls = cuda.calls
    with metered(tracker, "cuda"):
        cuda.calls.append("work")
    assert cuda.calls == ["synchronize cuda", "start", "work", "synchronize cuda", "stop"]


def test_a_cpu_needs_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    meters.synchronize("cpu")


def test_the_gpu_in_use_is_found_by_its_identity(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [SimpleNamespace(uuid="GPU-a"), SimpleNamespace(uuid="GPU-b")]
    monkeypatch.setattr(machine, "describe", lambda: SimpleNamespace(gpus=gpus))
    assert meters._gpu_index("cuda:0") == 1
    assert meters._gpu_index("cpu") is None


def test_memory_of_a_gpu_is_what_torch_allocated(cuda: FakeCuda) -> None:
    with MemoryMeter("cuda") as meter:
        assert cuda.calls == ["synchronize cuda", "reset"]
    assert (meter.usage.baseline_bytes, meter.usage.peak_bytes) == (100, 300)


def test_memory_of_a_process_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t     900 kB\nVmRSS:\t     400 kB\n")
    with MemoryMeter(process=tmp_path) as meter:
        assert (tmp_path / "clear_refs").read_text() == "5"
        (tmp_path / "status").write_text("VmHWM:\t     700 kB\nVmRSS:\t     500 kB\n")
    assert meter.usage.baseline_bytes == 400 * 1024
    assert meter.usage.peak_bytes == 700 * 1024


@pytest.mark.parametrize("status", [None, "Name:\tpython\n"])
def test_memory_that_cannot_be_told_is_not_made_up(tmp_path: Path, status: str | None) -> None:
    if status is not None:
        (tmp_path / "status").write_text(status)
    with MemoryMeter(process=tmp_path) as meter:
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


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """A place where codecarbon finds a lock taken, a configuration against us, and no network."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    settings = {"PUE": "3", "OUTPUT_METHODS": "csv", "LOG_LEVEL": "debug", "TRACKING_MODE": "machine"}
    for name, value in {**settings, "ALLOW_MULTIPLE_RUNS": "False"}.items():
        monkeypatch.setenv(f"CODECARBON_{name}", value)
    threads = threading.active_count()

    def check() -> None:
        assert threading.active_count() == threads
        assert list(tmp_path.iterdir()) == []

    return check


def test_codecarbon_works_in_silence_and_leaves_nothing(
    guarded: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with EnergyMeter() as outer:
        monkeypatch.setattr("codecarbon.lock.LOCKFILE", tempfile.gettempdir())
        with EnergyMeter() as inner:
            guarded()
    with pytest.raises(KeyError), EnergyMeter() as failed:
        raise KeyError
    guarded()
    for meter in (outer, inner, failed):
        assert {r.source for r in meter.readings} >= {"cpu", "ram"}
        assert meter.emissions["pue"] == 1
        assert meter.emissions["tracking_mode"] == "process"
    assert "codecarbon" in outer.readings[0].detail
    assert capfd.readouterr() == ("", "")


def test_modelled_cpu_energy_is_cpu_time_times_tdp_over_cores() -> None:
    with EnergyMeter() as meter:
        begun = time.process_time()
        while (used_s := time.process_time() - begun) < 0.4:
            pass
    found = record.headline(meter.readings, "cpu")
    assert found is not None
    tdp_w = re.search(r"cpu_load, process mode, TDP ([\d.]+) W", found.detail)
    if tdp_w is None:
        pytest.skip(f"another method here: {found.detail}")
    per_cpu_second = float(tdp_w[1]) / meter.emissions["cpu_count"]
    # Opening and closing cost milliseconds, and CPU time is counted in ticks of 10 ms.
    assert used_s - 0.02 <= found.energy_j / per_cpu_second <= used_s + 0.1


def test_a_first_window_is_silent_in_a_fresh_process() -> None:
    code = "from vlmnb.meters import *\nwith EnergyMeter() as e, MemoryMeter() as m: pass\nassert e.readings"
    root = Path(meters.__file__).parent.parent
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    assert (told.stdout, told.stderr) == ("", "")
