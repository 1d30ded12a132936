"""Counters of energy: what they read, when they refuse, and the card that is measured of each."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sensorfakes import Draw, FakeClock, FakeNvml, rapl_folder

from vlmnb.device import nvml
from vlmnb.device.load import HIGH_LOAD, is_high
from vlmnb.meters.counters import calibration, nvml_counter, rapl_counter
from vlmnb.meters.counters.counter import SensorError
from vlmnb.meters.counters.nvml_counter import NvmlCounter
from vlmnb.meters.counters.rapl_counter import RaplCounter
from vlmnb.meters.readings import SensorCard


@pytest.fixture(autouse=True)
def _powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rapl_counter, "POWERCAP", tmp_path)


def gpu_counter(draw: Draw, **changes: object) -> tuple[NvmlCounter, FakeNvml]:
    fake = FakeNvml(draw)
    fake.answers |= changes
    return NvmlCounter(nvml.NvmlGpu(fake, "handle")), fake


def rapl(folder: Path) -> RaplCounter:
    return RaplCounter("cpu", (folder / "intel-rapl:0",))


@pytest.mark.parametrize("period_s", [0.02, 0.1])
def test_a_card_of_a_gpu_is_what_its_counter_does(period_s: float, clock: FakeClock) -> None:
    counter, _ = gpu_counter(Draw(clock, 80.0, period_s))
    card = calibration.measure_card(counter)
    assert card.period_s == pytest.approx(period_s, rel=0.03)
    assert card.step_j == pytest.approx(80 * period_s, rel=0.03)
    assert card.idle_power_w == pytest.approx(80, rel=0.005)
    assert card.resolution_s < period_s / 10
    assert card.updates == calibration.FEWEST_UPDATES
    assert card.sensor == "energy counter of NVIDIA H200 GPU-b, driver 580.1"


def test_a_card_of_rapl_is_what_its_counter_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr(RaplCounter, "busy", lambda self: 0.0)
    draw = Draw(clock, 30.0, 0.001, start_j=1900.0)
    folder = rapl_folder(tmp_path, clock, {"package-0": draw}, range_uj=2_000_000_000)
    card = calibration.measure_card(rapl(folder))
    assert card.period_s == pytest.approx(0.001, rel=0.05)
    assert card.idle_power_w == pytest.approx(30, rel=0.005), "the counter wraps around meanwhile"


def test_a_device_in_use_has_no_idle_power(clock: FakeClock) -> None:
    busy = SimpleNamespace(gpu=40)
    counter, _ = gpu_counter(Draw(clock, 300.0, 0.1), nvmlDeviceGetUtilizationRates=busy)
    card = calibration.measure_card(counter)
    assert card.idle_power_w is None
    assert "40%" in card.note
    assert card.period_s == pytest.approx(0.1, rel=0.03)


def test_a_counter_that_does_not_move_has_no_calibration(clock: FakeClock) -> None:
    counter, _ = gpu_counter(Draw(clock, 0.0, 0.1))
    with pytest.raises(SensorError, match="moved 0 times"):
        calibration.measure_card(counter)


@pytest.mark.parametrize("phase_s", [0.0, 0.031, 0.077, 0.099])
def test_the_window_bound_holds_without_waiting_for_the_counter(phase_s: float, clock: FakeClock) -> None:
    draw = Draw(clock, 80.0, 0.1, phase_s)
    counter, _ = gpu_counter(draw)
    card = SensorCard(
        sensor="s", source="gpu", method="nvml_counter", period_s=0.1, step_j=1.0, resolution_s=0.001,
        updates=20, idle_power_w=80.0,
    )  # fmt: skip
    least_s = calibration.min_window_s(card)
    assert least_s == pytest.approx(10.0)
    before_j = counter.read_j()
    true_j = draw.work(500.0, least_s)
    assert counter.read_j() - before_j == pytest.approx(true_j, rel=0.02)


def test_rapl_goes_on_when_it_wraps_around(tmp_path: Path, clock: FakeClock) -> None:
    draw = Draw(clock, 100.0, 0.001)
    counter = rapl(rapl_folder(tmp_path, clock, {"package-0": draw}, range_uj=65_000_000))
    before_j, counted = counter.read_j(), []
    for _ in range(20):
        clock.sleep(0.1)
        counted.append(counter.read_j())
    assert counted[-1] - before_j == pytest.approx(200, rel=0.01), "three times round a counter of 65 J"
    assert counted == sorted(counted)


def test_rapl_that_may_have_wrapped_twice_is_refused_then_resumes(tmp_path: Path, clock: FakeClock) -> None:
    folder = rapl_folder(tmp_path, clock, {"package-0": Draw(clock, 100.0, 0.001)}, range_uj=60_000_000)
    counter = rapl(folder)
    assert counter.longest_gap_s == pytest.approx(0.1)
    clock.sleep(1.3)
    with pytest.raises(SensorError, match="wrapped around more than once"):
        counter.read_j()
    clock.sleep(1.3)
    counter.resume()
    before_j = counter.read_j()
    clock.sleep(0.05)
    assert counter.read_j() - before_j == pytest.approx(5, rel=0.05)


def test_rapl_counts_packages_and_memory_but_not_the_platform(tmp_path: Path, clock: FakeClock) -> None:
    names = ("package-0", "package-1", "core", "dram", "psys")
    rapl_folder(tmp_path, clock, {name: Draw(clock, 10.0, 0.001) for name in names})
    found, refused = rapl_counter.attach("cpu")
    assert [(c.source, c.name) for c in found] == [("cpu", "RAPL package-0, package-1"), ("ram", "RAPL dram")]
    assert refused == []
    before_j = [counter.read_j() for counter in found]
    clock.sleep(1.0)
    now_j = [counter.read_j() for counter in found]
    assert [b - a for a, b in zip(before_j, now_j, strict=True)] == pytest.approx([20, 10], rel=0.01)


def test_rapl_for_root_alone_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    rapl_folder(tmp_path, clock, {"package-0": Draw(clock, 10.0, 0.001)})
    read = Path.read_text

    def forbidden(file: Path, *arguments: str) -> str:
        if file.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(file, *arguments)

    monkeypatch.setattr(Path, "read_text", forbidden)
    found, (refused,) = rapl_counter.attach("cpu")
    assert found == []
    assert (refused.source, refused.method) == ("cpu", "rapl")
    assert "root alone" in refused.reason
    assert "sudo chmod a+r" in refused.reason


def test_no_rapl_is_nothing_to_complain_about() -> None:
    assert rapl_counter.attach("cpu") == ([], [])


def test_a_driver_loaded_again_is_no_energy(clock: FakeClock) -> None:
    counter, fake = gpu_counter(Draw(clock, 80.0, 0.1))
    counter.read_j()
    fake.offset_mj = -4000
    with pytest.raises(SensorError, match="loaded again"):
        counter.read_j()
    counter.resume()
    assert counter.read_j() == pytest.approx(1.0)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> FakeNvml:
    fake = FakeNvml(Draw(clock, 80.0, 0.1))
    fake.answers |= {"nvmlInit": None, "nvmlDeviceGetHandleByUUID": "handle of GPU-b"}
    # torch on a machine where CUDA_VISIBLE_DEVICES leaves one GPU, which NVML calls the second.
    cuda = SimpleNamespace(get_device_properties=lambda device: SimpleNamespace(uuid="b"))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, device=str))
    nvml.gpu_of.cache_clear()
    yield fake
    nvml.gpu_of.cache_clear()


def test_the_counter_is_that_of_the_gpu_torch_uses(driver: FakeNvml) -> None:
    asked = []
    driver.nvmlDeviceGetHandleByUUID = lambda uuid: asked.append(uuid)  # type: ignore[method-assign]
    ((counter,), refused) = nvml_counter.attach("cuda:0")
    assert (counter.read_j(), refused) == (5.0, [])
    assert asked == ["GPU-b"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("nvmlDeviceGetTotalEnergyConsumption", "cannot be read"),
        ("nvmlDeviceGetHandleByUUID", "does not know the GPU GPU-b"),
        ("nvmlInit", "NVML cannot be used"),
        ("", "MIG"),
    ],
)
def test_a_gpu_or_a_part_of_one_without_a_counter_says_why(driver: FakeNvml, missing: str, said: str) -> None:
    driver.missing = (missing,)
    if said == "MIG":
        driver.answers["nvmlDeviceGetMigMode"] = [1, 1]
    found, (refused,) = nvml_counter.attach("cuda")
    assert found == []
    assert said in refused.reason


def test_refused_counters_are_listed_and_not_attached(driver: FakeNvml) -> None:
    driver.missing = ("nvmlDeviceGetTotalEnergyConsumption",)
    found = calibration.attached.__wrapped__("cuda")
    assert found.counters == ()
    assert [(r.source, r.method) for r in found.refused] == [("gpu", "nvml_counter")]
    assert calibration.attached.__wrapped__("cpu") == calibration.Attached()


def test_a_little_background_load_is_accepted() -> None:
    assert [is_high(share) for share in (0.0, HIGH_LOAD, HIGH_LOAD + 0.01)] == [False, False, True]
