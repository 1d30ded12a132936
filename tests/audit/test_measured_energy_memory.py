"""Rules over energy and memory of a measured record."""

from __future__ import annotations

from typing import Any

import pytest
from auditing import (
    busy,
    calibration,
    changed,
    gpu,
    held_by,
    layered,
    levels,
    metered,
    of_machine,
    shown_as,
    with_energy,
)
from factory import record, timed

from vlmnb.device.state import Conditions, DeviceState
from vlmnb.fit import shape
from vlmnb.meters.readings import EnergyReading, MemoryUsage
from vlmnb.records.record import Record


def test_energy_of_another_window() -> None:
    def read(**changes: Any) -> Record:
        reading = {"source": "cpu", "method": "rapl", "energy_j": 99.0, "detail": "test", "window_s": 7.0}
        return timed(energy=(EnergyReading.model_validate(reading | changes),))

    assert levels("energy-is-of-the-window", read(), read(samples=24), record()) == []
    assert levels("energy-is-of-the-window", read(window_s=3.0)) == ["error"]
    assert levels("energy-is-of-the-window", read(samples=12)) == ["error"]


@pytest.mark.parametrize(("watts", "expected"), [(300, []), (405, []), (500, ["error"]), (30, ["warning"])])
def test_power_outside_idle_and_limit(watts: float, expected: list[str]) -> None:
    assert levels("power-between-idle-and-limit", gpu(watts)) == expected


def test_idle_power_of_the_calibration_counts_too() -> None:
    found = changed(gpu(50), "provenance", sensors=(calibration(100.0),))
    assert levels("power-between-idle-and-limit", with_energy(found, idle_j=None)) == ["warning"]


def test_a_counter_that_does_not_fit_the_power_of_the_gpu() -> None:
    def reporting(watts: float) -> Record:
        state = DeviceState(power_w=watts)
        around = Conditions(start=state, end=state, other_load=0.0, contaminated=False)
        return changed(gpu(), "provenance", conditions=around)

    check = "counter-fits-the-power"
    assert levels(check, gpu(), reporting(280), timed()) == []
    assert levels(check, reporting(0.3)) == levels(check, reporting(700)) == ["warning"]
    assert levels(check, with_energy(reporting(300), energy_j=1.0, window_s=1.0)) == [], "a short window"


def test_counter_and_codecarbon_disagree() -> None:
    joules = 3000 / 3.6e6
    assert levels("counters-agree", gpu(codecarbon={"gpu_energy": joules}), gpu()) == []
    assert levels("counters-agree", gpu(codecarbon={"gpu_energy": 2 * joules})) == ["warning"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"peak_bytes": 50}, ["error"]),
        ({"weights_bytes": 900, "cache_bytes": 200}, ["error"]),
        ({"reserved_peak_bytes": 500}, ["error"]),
    ],
)
def test_a_peak_that_cannot_be(changes: dict[str, int], expected: list[str]) -> None:
    usage = MemoryUsage(
        peak_bytes=1000, baseline_bytes=800, method="test", weights_bytes=700, cache_bytes=100
    )
    found = gpu(memory=usage.model_copy(update=changes))
    assert levels("peak-holds-its-parts", found) == expected


@pytest.mark.parametrize("factor", [2.0, 1000.0, 1 / 6])
def test_joules_that_codecarbon_contradicts(factor: float) -> None:
    check = "modelled-energy-is-codecarbons"
    good = metered()
    assert levels(check, good, gpu(), timed()) == []

    def multiplied(row: bool = False, power: bool = False) -> Record:
        names = ["cpu_energy"] * row + ["cpu_power"] * power
        values = {n: factor * v if n in names else v for n, v in good.codecarbon.items()}
        found = with_energy(good, energy_j=factor * good.energy[0].energy_j)
        return found.model_copy(update={"codecarbon": values})

    assert levels(check, multiplied()) == ["error"]
    assert levels(check, multiplied(row=True)) == ["error"], "energy is power times time"
    beyond = ["error"] * (factor > 8)  # 2 W of a TDP of 8 W
    assert levels(check, multiplied(row=True, power=True)) == beyond
    assert levels(check, good.model_copy(update={"codecarbon": {}})) == ["error"]


def test_meters_that_closed_late_under_load_are_no_error() -> None:
    late = metered(duration=2.6, loop_s=2.46)
    row = late.codecarbon | {"cpu_energy": 2 * 1.9 / 3.6e6}
    late = with_energy(late, energy_j=2 * 1.9).model_copy(update={"codecarbon": row})
    assert levels("modelled-energy-is-codecarbons", late) == ["error"]
    assert levels("modelled-energy-is-codecarbons", busy(late)) == []


def test_a_model_that_is_called_a_counter() -> None:
    check = "energy-names-its-counter"
    good = of_machine(metered())
    assert levels(check, good, gpu(), timed()) == []

    counted = {"method": "rapl", "detail": "codecarbon 3, intel_rapl, whole package"}
    assert levels(check, with_energy(good, **counted)) == []
    for wrong in (
        {"method": "nvml_counter"},
        {"method": "rapl"},
        {"method": "rapl", "detail": "RAPL package-0", "window_s": 7.0},
        {"source": "gpu", "method": "nvml_counter", "window_s": 7.0},
        {"window_s": 7.0},
    ):
        assert levels(check, with_energy(good, **wrong)) == ["error"], wrong


def test_a_counter_that_is_called_a_model_or_has_another_idle_energy() -> None:
    modelled = {"detail": "codecarbon 3, cpu_load, TDP 8 W", "source": "cpu", "method": "model"}
    for wrong in ({"method": "model"}, {"idle_j": 6000.0}, modelled):
        assert levels("energy-names-its-counter", with_energy(gpu(), **wrong)) == ["error"], wrong


def test_energy_of_a_part_that_is_of_another_time() -> None:
    def parted(factor: float = 1.0, *, cpu_w: float = 4.0, method: str = "model") -> Record:
        found = layered()
        assert found.layers is not None
        seconds = factor * 0.8  # 8 replays of 0.1 s
        models = (("cpu", cpu_w, "cpu_load, TDP 8 W"), ("ram", 10.0, "constant 10 W, process mode"))
        energy = tuple(
            EnergyReading.model_validate(
                {"source": s, "method": method, "energy_j": w * seconds, "detail": f"codecarbon, {d}"}
            )
            for s, w, d in models
        )
        parts = tuple(part.model_copy(update={"energy": energy}) for part in found.layers.parts)
        return changed(found, "layers", parts=parts)

    check = "energy-is-of-the-replays"
    assert levels(check, parted(), parted(1.6), layered(), timed()) == []
    assert levels(check, parted(10)) == levels(check, parted(0.1)) == ["error"]
    assert levels(check, parted(cpu_w=40.0)) == ["error"]
    assert levels(check, busy(parted(10))) == []
    assert levels("energy-names-its-counter", parted()) == []
    assert "error" in levels("energy-names-its-counter", parted(method="rapl"))


def test_a_peak_that_is_not_of_the_process() -> None:
    check = "memory-of-a-cpu-is-the-process"
    assert levels(check, held_by(), timed(), gpu()) == []
    assert levels(check, held_by(peak_bytes=10**5)) == ["error"]
    assert levels(check, held_by(baseline_bytes=10**5)) == ["error"]
    shrunk = {
        f"{name}_bytes": 10**8 // 1024 for name in ("peak", "process_peak", "baseline", "process_baseline")
    }
    assert levels(check, held_by(**shrunk)) == ["error"]


def test_a_cache_that_is_not_of_its_tokens() -> None:
    # Keys and values of two samples, of 20 + 64 tokens and two of three new ones, in fp32.
    decoder = shape.of("llava-tiny").decoder
    right = 2 * decoder.layers * decoder.kv_heads * decoder.head_size * 86 * 2 * 4
    check = "cache-is-of-its-tokens"
    assert levels(check, held_by(cache_bytes=right), held_by(), gpu()) == []
    assert levels(check, held_by(cache_bytes=right // 2)) == ["error"]


def test_weights_of_two_sizes() -> None:
    check = "weights-do-not-depend-on-the-work"
    other = changed(held_by(), "cell", batch_size=4)
    assert levels(check, held_by(), other, timed()) == []
    assert levels(check, held_by(), changed(other, "memory", weights_bytes=2 * 10**7)) == ["error"]
    assert levels(check, held_by(decode_weights_bytes=10**9)) == ["error"]
    half = changed(changed(other, "memory", weights_bytes=5 * 10**6), "cell", optimization="bnb-4bit")
    assert levels(check, held_by(), half) == [], "another optimization"


def test_joules_that_are_not_those_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels("samples-times-joules-is-the-window", timed(), gpu(), record(), record(energy=())) == []
    reading = EnergyReading(source="cpu", method="rapl", energy_j=8.0, detail="test", samples=96)
    assert levels("samples-times-joules-is-the-window", timed(energy=(reading,))) == ["error"]
    shown_as(monkeypatch, energy_j_per_sample=2, energy_j_per_batch=2)
    assert levels("samples-times-joules-is-the-window", timed()) == ["error"]


def test_joules_of_a_batch_that_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    shown_as(monkeypatch, energy_j_per_batch=0.5)
    assert levels("samples-times-joules-is-the-window", timed()) == ["error"]
