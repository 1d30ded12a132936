"""Conditions of a window: what the machine tells, and what was left out where it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from background import FourCores
from sensorfakes import Draw, FakeClock, FakeNvml

from vlmnb.device import conditions, nvml
from vlmnb.device.conditions import ConditionsMeter


def gpu(*missing: str) -> tuple[nvml.NvmlGpu, FakeNvml]:
    fake = FakeNvml(Draw(FakeClock(), 80.0, 0.1), missing)
    return nvml.NvmlGpu(fake, "handle"), fake


def test_the_state_of_a_gpu_in_si_units() -> None:
    state = gpu()[0].state()
    assert state.sm_clock_hz == 1_980_000_000
    assert state.memory_clock_hz == 3_201_000_000
    assert (state.power_w, state.power_cap_w, state.temperature_c) == (75.5, 700.0, 41)
    assert state.throttle_reasons == ("sw_power_cap", "sw_thermal_slowdown")
    assert state.gpu_processes == 1


def test_an_older_driver_knows_throttle_reasons_by_another_name() -> None:
    found, _ = gpu("nvmlDeviceGetCurrentClocksEventReasons")
    assert found.state().throttle_reasons == ("gpu_idle",)


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    found, _ = gpu("nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperature", "nvmlDeviceGetViolationStatus")
    state = found.state()
    assert (state.sm_clock_hz, state.temperature_c) == (None, None)
    assert state.power_w == 75.5
    assert found.throttled_s() == {}


def test_throttling_is_that_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    found, fake = gpu()
    monkeypatch.setattr(nvml, "gpu_of", lambda device: found)
    cores, watched = FourCores(monkeypatch, others=0.08), ConditionsMeter("cuda")
    watched.start()
    cores.work(50)
    fake.violation_ns[0] += 250_000_000
    fake.answers["nvmlDeviceGetPowerUsage"] = 690_000
    watched.stop()
    noted = watched.conditions()
    assert noted.throttled_s == {"power": 0.25}
    assert (noted.start.power_w, noted.end.power_w) == (75.5, 690)
    assert noted.other_load == pytest.approx(0.02)
    assert not noted.contaminated


def test_a_window_with_background_load_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, watched = FourCores(monkeypatch, others=1.2), ConditionsMeter("cpu")
    watched.start()
    cores.work(50)
    watched.stop()
    assert watched.conditions().contaminated


def test_conditions_of_this_machine() -> None:
    watched = ConditionsMeter("cpu")
    watched.start()
    watched.stop()
    found = watched.conditions()
    assert found.start.sm_clock_hz is None
    assert found.cpus is None or 1 <= found.cpus <= (os.cpu_count() or 1)
    assert 0 <= found.other_load <= 1


def test_clocks_and_governor_are_those_of_the_own_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_own_cpus", lambda: {1, 2})
    for cpu, clock_khz in enumerate((800_000, 2_000_000, 3_000_000)):
        folder = tmp_path / f"cpu{cpu}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{clock_khz}\n")
        (folder / "scaling_governor").write_text("performance\n" if cpu == 1 else "powersave\n")
    assert conditions.cpu_clock_hz(tmp_path) == 2_500_000_000
    assert conditions.cpu_governor(tmp_path) == "performance"


def test_without_cpufreq_the_processor_itself_is_asked(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("cpu MHz\t\t: 2000.5\nother\ncpu MHz\t\t: 3000.5\n")
    assert conditions.cpu_clock_hz(tmp_path, tmp_path / "cpuinfo") == 2_500_500_000
    assert conditions.cpu_clock_hz(tmp_path, tmp_path / "none") is None
    assert conditions.cpu_governor(tmp_path) == ""


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/job/step", {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000"}, 1.5),
        ("0::/job", {"cpu.max": "max 100000"}, None),
        ("0::/job", {}, None),
        ("3:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "200000",
                              "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 2.0),
        ("3:cpu:/\n4:memory:/x", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
                                  "memory/x/cpu.max": "1 2"}, None),
    ],
)  # fmt: skip
def test_the_tightest_limit_on_cpu_time_counts(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: float | None
) -> None:
    (tmp_path / "own").write_text(cgroup + "\n")
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content + "\n")
    assert conditions.cpu_limit(tmp_path / "own", tmp_path / "cgroup") == limit
    assert conditions.cpu_limit(tmp_path / "nowhere", tmp_path) is None
