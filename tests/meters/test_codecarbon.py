"""codecarbon around a window: how its readings came about, its silence, and that nothing stays behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from sensorfakes import CPU, GPU, RAM, FakeCuda, FakeTracker, attach

from vlmnb.device import clock, load, machine, nvml
from vlmnb.device.clock import synchronize
from vlmnb.meters import codecarbon_model, window
from vlmnb.meters.energy import EnergyMeter
from vlmnb.meters.readings import headline

Metered = Callable[..., EnergyMeter]


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> Metered:
    """Make a meter without counters, on a clock on which its window takes 2.5 s."""

    def make(tracker: FakeTracker, device: str = "cpu") -> EnergyMeter:
        attach(monkeypatch, tracker)
        monkeypatch.setattr(clock, "now_s", iter((100.0, 102.5)).__next__)
        return EnergyMeter(device)

    return make


def test_a_window_has_a_length_and_a_reading_per_source(metered: Metered) -> None:
    tracker = FakeTracker(RAM(), CPU(), GPU())
    with metered(tracker) as meter:
        assert tracker.calls == ["start"]
        assert meter.readings == ()
    assert tracker.calls == ["start", "stop"]
    assert meter.duration_s == 2.5
    assert meter.emissions["cpu_energy"] == 1e-6
    # Neither the mean power of the tracker's life nor the total with modelled memory in it is ever used.
    found = {r.source: (r.method, round(r.energy_j, 9), r.detail) for r in meter.readings}
    assert found == {
        "ram": ("model", 10.8, "codecarbon 9.9, constant 10 W, process mode"),
        "cpu": ("model", 3.6, "codecarbon 9.9, cpu_load, process mode, TDP 65 W"),
    }


@pytest.mark.parametrize(
    ("hardware", "method", "words"),
    [
        (CPU("intel_rapl"), "rapl", "intel_rapl, whole package, all processes"),
        (CPU("constant"), "model", "constant, half of TDP x time, TDP 65 W"),
        (CPU(tdp=85), "model", "TDP 85 W (codecarbon's default"),
        (CPU(tdp=4 * (psutil.cpu_count() or 1)), "model", "(4 W per thread, the CPU is not in"),
    ],
)
def test_a_reading_says_how_it_came_about(
    metered: Metered, hardware: object, method: str, words: str
) -> None:
    with metered(FakeTracker(hardware)) as meter:
        pass
    (reading,) = meter.readings
    assert reading.method == method
    assert words in reading.detail


def test_an_error_of_the_work_comes_through(metered: Metered) -> None:
    tracker = FakeTracker(CPU())
    with pytest.raises(KeyError, match="work"), metered(tracker) as meter:
        raise KeyError("work")
    assert tracker.calls == ["start", "stop"]
    assert meter.duration_s == 2.5
    assert meter.readings[0].source == "cpu"


def test_an_error_of_the_work_hides_one_of_the_meter(metered: Metered) -> None:
    with pytest.raises(KeyError, match="work"), metered(FakeTracker(fails=True)):
        raise KeyError("work")
    with pytest.raises(RuntimeError, match="no reading"), metered(FakeTracker(fails=True)):
        pass


def test_a_window_on_a_gpu_begins_and_ends_with_an_idle_gpu(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, cuda = FakeTracker(GPU()), FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, device=str))
    tracker.calls = cuda.calls
    meter = metered(tracker, "cuda")
    cuda.calls.clear()
    with meter:
        cuda.calls.append("work")
    assert cuda.calls == ["synchronize cuda", "start", "work", "synchronize cuda", "stop"]


def test_codecarbon_is_given_the_gpu_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [SimpleNamespace(uuid="GPU-b", index=1), SimpleNamespace(uuid="GPU-a", index=0)]
    monkeypatch.setattr(machine, "describe", lambda: SimpleNamespace(gpus=gpus))
    monkeypatch.setattr(nvml, "gpu_of", lambda device: SimpleNamespace(uuid="GPU-b"))
    assert codecarbon_model._gpu_index("cuda:0") == 1


def test_a_cpu_needs_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    synchronize("cpu")
    assert codecarbon_model._gpu_index("cpu") is None


SETTINGS = {
    "force_cpu_power": 500, "force_ram_power": 500, "force_mode_cpu_load": True, "tracking_mode": "machine",
    "force_carbon_intensity_g_co2e_kwh": 10, "pue": 3, "wue": 2, "gpu_ids": "7", "country_iso_code": "FRA",
    "region": "quebec", "cloud_provider": "gcp", "cloud_region": "us-east1", "output_dir": "/nowhere",
    "output_methods": "csv", "emissions_endpoint": "http://127.0.0.1:9", "electricitymaps_api_token": "t",
    "measure_power_secs": 0.01, "allow_multiple_runs": False, "log_level": "debug", "rapl_include_dram": True,
}  # fmt: skip


@pytest.fixture(params=["home", "folder", "environment", "damaged", "slurm"])
def guarded(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], None]:
    """A place where codecarbon finds a lock taken, settings against us, and no network."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for place in ("home", "folder"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    lines = "".join(f"{name} = {value}\n" for name, value in SETTINGS.items())
    if request.param in ("home", "folder"):
        (tmp_path / request.param / ".codecarbon.config").write_text(f"[codecarbon]\n{lines}")
    elif request.param == "damaged":
        (tmp_path / "folder" / ".codecarbon.config").write_text("no section\n")
    elif request.param == "slurm":
        for module in ("core.util", "external.ram"):
            monkeypatch.setattr(f"codecarbon.{module}.SLURM_JOB_ID", "7")
    else:
        for name, value in SETTINGS.items():
            monkeypatch.setenv(f"CODECARBON_{name.upper()}", str(value))
    before, threads = list(tmp_path.rglob("*")), threading.active_count()

    def check() -> None:
        assert threading.active_count() == threads
        assert list(tmp_path.rglob("*")) == before

    return check


def test_codecarbon_works_in_silence_by_no_settings_and_leaves_nothing(
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
        found = {r.source: r.detail for r in meter.readings}
        assert found.keys() >= {"cpu", "ram"}
        assert all(detail.startswith("codecarbon") and "500 W" not in detail for detail in found.values())
        row = meter.emissions
        fixed = {"pue": 1, "wue": 0, "tracking_mode": "process", "country_iso_code": "USA", "region": None}
        assert fixed | {"cpu_count": psutil.cpu_count(), "cloud_provider": ""} == {
            name: row[name] for name in (*fixed, "cpu_count", "cloud_provider")
        }
        assert row["emissions"] / row["energy_consumed"] == pytest.approx(0.37, abs=0.05), "kg per kWh"
    assert capfd.readouterr() == ("", "")


BURN = "import time\nwhile time.process_time() < {}: pass"


@pytest.mark.parametrize("where", ["here", "in a child that ends", "in a child that goes on"])
def test_modelled_cpu_energy_is_cpu_time_times_tdp_over_cores(where: str) -> None:
    command = [sys.executable, "-c", BURN.format(0.4 if "ends" in where else 1e9)]
    with EnergyMeter() as meter:
        began_s = load.used_s()
        child = None if where == "here" else subprocess.Popen(command)
        while (used_s := load.used_s() - began_s) < 0.4:
            if child and "ends" in where:
                child.wait()
    if child:
        child.kill()
        child.wait()
    found = headline(meter.readings, "cpu")
    assert found is not None
    tdp_w = re.search(r"cpu_load, process mode, TDP ([\d.]+) W", found.detail)
    if tdp_w is None:
        pytest.skip(f"another method here: {found.detail}")
    per_cpu_second = float(tdp_w[1]) / meter.emissions["cpu_count"]
    # Opening and closing cost milliseconds, and CPU time of children is counted in ticks of 10 ms.
    assert used_s - 0.02 <= found.energy_j / per_cpu_second <= used_s + 0.1


def test_a_first_window_is_silent_in_a_fresh_process() -> None:
    code = (
        "from vlmnb.meters.energy import EnergyMeter\nfrom vlmnb.meters.memory import MemoryMeter\n"
        "with EnergyMeter() as e, MemoryMeter() as m: pass\nassert e.readings"
    )
    root = Path(window.__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    assert (told.stdout, told.stderr) == ("", "")


def test_nvml_is_initialized_before_codecarbon_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It initializes NVML when it is imported alone, and a process that kernels fork from undoes that."""
    called: list[str] = []
    tracker = FakeTracker()
    tracker.calls = called
    monkeypatch.setattr(nvml, "initialized", lambda: called.append("NVML"))
    monkeypatch.setattr(codecarbon_model, "_new_tracker", lambda gpu: tracker)
    codecarbon_model.detect.__wrapped__(None)
    assert called == ["NVML", "start", "stop"]
