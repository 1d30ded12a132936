"""Energy of a window by counters: what is read, what is refused, and what stands in the record."""

from __future__ import annotations

from pathlib import Path

import factory
import pytest
from pydantic import ValidationError
from sensorfakes import CPU, GPU, RAM, Draw, FakeClock, FakeNvml, FakeTracker, attach, rapl_folder

from vlmnb.device import nvml
from vlmnb.meters.counters.counter import EnergyCounter
from vlmnb.meters.counters.nvml_counter import NvmlCounter
from vlmnb.meters.counters.rapl_counter import RaplCounter
from vlmnb.meters.energy import EnergyMeter
from vlmnb.meters.readings import EnergyReading, EnergyRefusal, SensorCard, headline
from vlmnb.records import export_columns, record


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
    assert export_columns.row(made)["energy_j_per_sample"] == pytest.approx(100 / 4)
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

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
        self.clock, self._monkeypatch = clock, monkeypatch
        self.gpu = Draw(self.clock, IDLE_W, PERIOD_S, phase_s=0.037)
        self.cpu = Draw(self.clock, 40.0, 0.001)
        self.nvml = FakeNvml(self.gpu)
        folder = rapl_folder(tmp_path, self.clock, {"package-0": self.cpu}, RANGE_UJ)
        self.counters: list[EnergyCounter] = [
            NvmlCounter(nvml.NvmlGpu(self.nvml, "handle")),
            RaplCounter("cpu", (folder / "intel-rapl:0",)),
        ]
        self.cards = [
            card(counter, period_s, watts)
            for counter, period_s, watts in zip(self.counters, (PERIOD_S, 0.001), (IDLE_W, 40.0), strict=True)
        ]

    def meter(self) -> EnergyMeter:
        tracker = FakeTracker(RAM(), CPU(), GPU())
        attach(self._monkeypatch, tracker, *zip(self.counters, self.cards, strict=True))
        return EnergyMeter()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Rig:
    return Rig(tmp_path, monkeypatch, clock)


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


def test_a_window_too_short_for_a_counter_has_no_reading(rig: Rig) -> None:
    with rig.meter() as meter:
        rig.gpu.work(WORK_W, 0.5)
    assert {reading.source for reading in meter.readings} == {"cpu", "ram"}
    (refusal,) = meter.refused
    assert (refusal.source, refusal.method) == ("gpu", "nvml_counter")
    assert "took 0.5 s" in refusal.reason
    assert "needs 10" in refusal.reason
    made = factory.record(factory.cell(device="cuda"), energy=meter.readings, energy_refused=meter.refused)
    row = export_columns.row(made)
    assert row["energy_j_per_sample"] is None
    assert row["energy_reason"] == refusal.reason


def test_work_repeated_long_enough_is_measured(rig: Rig) -> None:
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
        assert "loaded again" in meter.refused[0].reason
    else:
        assert by_source(meter)["gpu"].energy_j == pytest.approx(WORK_W * 12, rel=0.01)


def test_a_counter_that_stops_is_refused(rig: Rig) -> None:
    with rig.meter() as meter:
        rig.gpu.work(WORK_W, 12.0)
        rig.gpu.period_s = 1e9
    assert "gpu" not in by_source(meter)
    assert "did not move" in meter.refused[0].reason


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
    assert gpu.model_copy(update={"idle_j": gpu.energy_j + 1}).net_j is None, "it was not idle then"


def test_joules_per_batch_sample_and_token_are_of_the_whole_window() -> None:
    gpu = reading("gpu", "nvml_counter", 120.0).model_copy(
        update={"samples": 12, "idle_j": 60.0, "window_s": 2.0}
    )
    made = factory.record(factory.cell(device="cuda"), energy=(gpu,))
    assert made.energy_j_per_sample == pytest.approx(10), "twelve samples: four of them, three times over"
    assert made.energy_net_j_per_sample == pytest.approx(5)
    assert made.energy_j_per_batch == pytest.approx(20), "two samples to a batch"
    assert made.energy_j_per_output_token == pytest.approx(10 / 3), "three tokens to an answer"
    row = export_columns.row(made)
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
