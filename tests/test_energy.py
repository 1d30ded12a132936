"""Energy of a window: what is read, what is modelled, what is refused, and that nothing stays behind."""

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

import factory
import psutil
import pytest
from pydantic import ValidationError
from sensorfakes import Draw, FakeClock, FakeNvml, rapl_folder

from vlmnb import carbon, machine, meters, nvml, record, rows
from vlmnb.energy import EnergyMeter
from vlmnb.readings import EnergyReading, EnergyRefusal, SensorCard, headline
from vlmnb.sensorcard import Attached
from vlmnb.sensors import EnergyCounter, NvmlCounter, RaplCounter


@dataclass
class Row:
    codecarbon_version: str = "9.9"
    cpu_energy: float = 1e-6
    gpu_energy: float = 2e-6
    ram_energy: float = 3e-6
    energy_consumed: float = 6e-6
    cpu_power: float = 12345.0
    ram_power: float = 10.0


class RAM:
    pass


class CPU:
    def __init__(self, mode: str = "cpu_load", tdp: float = 65.0, generic: bool = False) -> None:
        self._mode, self._tdp, self._is_generic_tdp, self._tracking_mode = mode, tdp, generic, "process"


class GPU:
    """What codecarbon follows of a GPU; it must never become a reading."""


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
    return EnergyMeter(
        device, sensors=lambda _: Attached(), tracker_factory=lambda _: tracker, clock=lambda: next(ticks)
    )


def test_a_window_has_a_length_and_a_reading_per_source() -> None:
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
    ("hardware", "forced", "method", "words"),
    [
        (CPU("intel_rapl"), None, "rapl", "intel_rapl, whole package, all processes"),
        (CPU("constant"), None, "model", "constant, half of TDP x time, TDP 65 W"),
        (CPU(tdp=85, generic=True), None, "model", "TDP 85 W (codecarbon's default"),
        (CPU(tdp=4 * (psutil.cpu_count() or 1)), None, "model", "(4 W per thread, the CPU is not in"),
        (CPU(tdp=30.0), 30.0, "model", "TDP 30 W (as configured)"),
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


def reading(source: str, method: str, energy_j: float = 1.0) -> EnergyReading:
    return EnergyReading.model_validate(
        {"source": source, "method": method, "energy_j": energy_j, "detail": ""}
    )


def test_the_headline_is_one_reading_of_the_device_that_worked() -> None:
    ram, cpu, gpu = reading("ram", "model"), reading("cpu", "model"), reading("gpu", "nvml_counter")
    assert headline([ram, cpu, gpu], "cpu") is cpu
    assert headline([ram, cpu, gpu], "cuda:1") is gpu
    assert headline([ram, cpu, reading("gpu", "model")], "cuda") is None
    assert headline([ram], "cpu") is None


def test_modelled_memory_cannot_get_into_what_was_measured() -> None:
    readings = (
        reading("gpu", "nvml_counter", 100.0),
        reading("cpu", "model", 50.0),
        reading("ram", "model", 900.0),
    )
    made = factory.record(factory.cell(device="cuda"), energy=readings)
    assert made.energy_j_per_sample == pytest.approx(100 / 4)
    assert rows.row(made)["energy_j_per_sample"] == pytest.approx(100 / 4)
    with pytest.raises(TypeError):
        sum(readings)  # type: ignore[call-overload]
    with pytest.raises(ValidationError, match="more than one energy reading"):
        factory.record(energy=(*readings, reading("gpu", "model", 900.0)))


IDLE_W, WORK_W, PERIOD_S = 80.0, 500.0, 0.1


RANGE_UJ = 262_143_328_850


def card(counter: EnergyCounter, period_s: float, watts: float) -> SensorCard:
    return SensorCard(
        sensor=counter.name, source=counter.source, method=counter.method, period_s=period_s,
        step_j=watts * period_s, resolution_s=0.0001, updates=20, idle_power_w=watts,
    )  # fmt: skip


class Rig:
    """A GPU and a processor package that draw power, with an energy meter on both."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RaplCounter, "busy", lambda self: 0.0)
        self.clock = FakeClock()
        self.gpu = Draw(self.clock, IDLE_W, PERIOD_S, phase_s=0.037)
        self.cpu = Draw(self.clock, 40.0, 0.001)
        self.nvml = FakeNvml(self.gpu)
        folder = rapl_folder(tmp_path, self.clock, {"package-0": self.cpu}, RANGE_UJ)
        self.counters: list[EnergyCounter] = [
            NvmlCounter(nvml.NvmlGpu(self.nvml, "handle")),
            RaplCounter("cpu", (folder / "intel-rapl:0",), self.clock),
        ]
        self.cards = [
            card(counter, period_s, watts)
            for counter, period_s, watts in zip(self.counters, (PERIOD_S, 0.001), (IDLE_W, 40.0), strict=True)
        ]
        self.tracker = FakeTracker(RAM(), CPU(), GPU())

    def meter(self) -> EnergyMeter:
        pairs: tuple[tuple[EnergyCounter, SensorCard], ...] = tuple(
            zip(self.counters, self.cards, strict=True)
        )
        return EnergyMeter(
            "cpu",
            sensors=lambda _: Attached(pairs),
            tracker_factory=lambda _: self.tracker,
            clock=self.clock,
            sleep=self.clock.sleep,
        )


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def by_source(meter: EnergyMeter) -> dict[str, EnergyReading]:
    return {reading.source: reading for reading in meter.readings}


def test_each_source_has_the_energy_that_was_drawn_and_its_method(rig: Rig) -> None:
    with rig.meter() as meter:
        true_j = rig.gpu.work(WORK_W, 12.0)
    found = by_source(meter)
    assert {source: r.method for source, r in found.items()} == {
        "gpu": "nvml_counter", "cpu": "rapl", "ram": "model",
    }  # fmt: skip
    gpu, cpu = found["gpu"], found["cpu"]
    assert gpu.energy_j == pytest.approx(true_j, rel=0.005)
    assert gpu.net_j == pytest.approx((WORK_W - IDLE_W) * 12, rel=0.005)
    assert gpu.power_w == pytest.approx(WORK_W, rel=0.01)
    assert gpu.window_s is not None
    assert gpu.window_s == pytest.approx(12, abs=0.11)
    assert cpu.net_j == pytest.approx(0, abs=cpu.energy_j * 0.01), "the processor only idled"
    assert meter.refused == ()
    assert [card.method for card in meter.cards] == ["nvml_counter", "rapl"]


def test_a_window_too_short_for_a_counter_is_refused_and_nothing_stands_in(rig: Rig) -> None:
    with rig.meter() as meter:
        rig.gpu.work(WORK_W, 0.5)
    assert {reading.source for reading in meter.readings} == {"cpu", "ram"}
    (refusal,) = meter.refused
    assert (refusal.source, refusal.method) == ("gpu", "nvml_counter")
    assert "took 0.5 s" in refusal.reason
    assert "needs 10" in refusal.reason
    made = factory.record(factory.cell(device="cuda"), energy=meter.readings, energy_refused=meter.refused)
    row = rows.row(made)
    assert row["energy_j_per_sample"] is None
    assert row["energy_reason"] == refusal.reason


def test_repeated_as_often_as_needed_the_same_work_is_told(rig: Rig) -> None:
    true_j = 0.0
    with rig.meter() as meter:
        while meter.elapsed_s < meter.least_window_s:
            true_j += rig.gpu.work(WORK_W, 0.5)
    assert by_source(meter)["gpu"].energy_j == pytest.approx(true_j, rel=0.02)


def test_power_that_the_device_cannot_draw_is_refused(rig: Rig) -> None:
    with rig.meter() as meter:
        rig.gpu.work(900.0, 12.0)
    assert "gpu" not in by_source(meter)
    assert "cannot draw more than 770 W" in meter.refused[0].reason


@pytest.mark.parametrize("when", ["within", "before"])
def test_a_counter_that_is_reset_counts_nothing(rig: Rig, when: str) -> None:
    meter = rig.meter()
    if when == "before":
        rig.nvml.offset_mj = -5000
    with meter:
        rig.gpu.work(WORK_W, 12.0)
        if when == "within":
            rig.nvml.offset_mj = -10_000_000
    if when == "within":
        assert "gpu" not in by_source(meter)
        assert "loaded anew" in meter.refused[0].reason
    else:
        assert by_source(meter)["gpu"].energy_j == pytest.approx(WORK_W * 12, rel=0.01)


def test_a_counter_that_stops_is_refused(rig: Rig) -> None:
    with rig.meter() as meter:
        rig.gpu.work(WORK_W, 12.0)
        rig.gpu.period_s = 1e9
    assert "gpu" not in by_source(meter)
    assert "stood still" in meter.refused[0].reason


def test_rapl_counts_through_a_long_window_that_is_read_now_and_then(rig: Rig) -> None:
    with rig.meter() as meter:
        for _ in range(5):
            rig.cpu.work(550.0, 400.0)
            meter.checkpoint()
    assert by_source(meter)["cpu"].energy_j == pytest.approx(550 * 5 * 400, rel=0.001), "four times round"
    with rig.meter() as unread:
        rig.cpu.work(550.0, RANGE_UJ / 1e6 / 600 + 1)
    assert "cpu" not in by_source(unread), "neither a counter that may have wrapped nor codecarbon's model"
    assert "wrapped around" in unread.refused[0].reason


def test_without_idle_power_there_is_gross_energy_and_no_net(rig: Rig) -> None:
    rig.cards = [card.model_copy(update={"idle_power_w": None}) for card in rig.cards]
    with rig.meter() as meter:
        rig.gpu.work(WORK_W, 12.0)
    gpu = by_source(meter)["gpu"]
    assert gpu.energy_j > 0
    assert gpu.net_j is None


def test_less_than_idling_is_no_net_energy() -> None:
    busy = reading("gpu", "nvml_counter", 10.0).model_copy(update={"idle_j": 11.0})
    assert busy.net_j is None


def test_joules_per_batch_sample_and_token_are_of_the_whole_window() -> None:
    gpu = reading("gpu", "nvml_counter", 120.0).model_copy(
        update={"samples": 12, "idle_j": 60.0, "window_s": 2.0}
    )
    made = factory.record(factory.cell(device="cuda"), energy=(gpu,))
    assert made.energy_j_per_sample == pytest.approx(10), "twelve samples: four of them, three times over"
    assert made.energy_net_j_per_sample == pytest.approx(5)
    assert made.energy_j_per_batch == pytest.approx(20), "two samples to a batch"
    assert made.energy_j_per_output_token == pytest.approx(10 / 3), "three tokens to an answer"
    row = rows.row(made)
    assert row["energy_power_w"] == pytest.approx(60)
    assert row["energy_j_per_batch"] == pytest.approx(made.cell.batch_size * row["energy_j_per_sample"])
    assert record.Record.model_validate_json(made.model_dump_json()) == made


def test_a_reason_is_given_for_the_device_that_worked_only() -> None:
    refusals = tuple(
        EnergyRefusal.model_validate({"source": source, "method": "rapl", "reason": f"no {source}"})
        for source in ("cpu", "ram")
    )
    assert factory.record(energy=(), energy_refused=refusals).energy_reason == "no cpu"
    assert factory.record(energy_refused=refusals).energy_reason == "", "there is a modelled reading"


class FakeCuda:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def synchronize(self, device: str) -> None:
        self.calls.append(f"synchronize {device}")

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
    meter = metered(tracker, "cuda")
    meter.prepare()
    cuda.calls.clear()
    with meter:
        cuda.calls.append("work")
    assert cuda.calls == ["synchronize cuda", "start", "work", "synchronize cuda", "stop"]


def test_a_cpu_needs_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    meters.synchronize("cpu")


def test_codecarbon_is_given_the_gpu_in_use(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [SimpleNamespace(uuid="GPU-a"), SimpleNamespace(uuid="GPU-b")]
    monkeypatch.setattr(machine, "describe", lambda: SimpleNamespace(gpus=gpus))
    assert carbon.gpu_index("cuda:0") == 1
    assert carbon.gpu_index("cpu") is None


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
    found = headline(meter.readings, "cpu")
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
