"""Rules that find an error planted in the readings of time, energy or memory, by what else a record tells."""

from __future__ import annotations

from typing import Any

import pytest
from auditing import busy, changed, gpu, held_by, layered, levels, of_machine
from factory import timed

from vlmnb.audit.measured import energy as energy_measured
from vlmnb.audit.measured import memory
from vlmnb.audit.measured import window as window_measured
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.fit import shape
from vlmnb.meters.readings import EnergyReading
from vlmnb.records.record import Record


def metered(duration: float = 7.0, *, loop_s: float = 6.9, **changes: Any) -> Record:
    """A record whose window codecarbon's row tells of: 6.066 s of batches, 2 W on the mean, a TDP of 8 W."""
    joules = 2 * duration
    reading = EnergyReading(
        source="cpu", method="model", energy_j=joules, detail="codecarbon 3, cpu_load, process mode, TDP 8 W"
    )
    row = {"duration": duration, "cpu_power": 2.0, "cpu_energy": joules / 3.6e6}
    made = timed(energy=(reading,), codecarbon=row, **changes)
    was = made.provenance.model_copy(update={"seconds": 60.0})
    return changed(made.model_copy(update={"provenance": was}), "timing", loop_s=loop_s)


def scaled(found: Record, factor: float) -> Record:
    """The same with every time of its loop in another unit."""
    assert found.timing is not None
    names = ("latencies_s", "vision_s", "prefill_s", "decode_s", "preprocess_s")
    times = {name: tuple(factor * s for s in getattr(found.timing, name)) for name in names}
    rest = {"loop_s": factor * (found.timing.loop_s or 0), "first_call_s": factor * found.timing.first_call_s}
    return changed(found, "timing", **times, **rest)


def test_times_that_do_not_fit_the_window_that_held_them() -> None:
    check = window_measured.window_holds_the_loop
    assert levels(check, metered(), timed(), layered()) == []
    assert levels(check, scaled(metered(), 1000)) == ["error"]
    assert levels(check, scaled(metered(), 0.001)) == ["error"]
    assert levels(check, metered(loop_s=0.69)) == ["error"], "shorter than its batches"
    assert levels(check, changed(metered(), "provenance", seconds=5.0)) == ["error"]
    long = changed(layered(), "provenance", seconds=1.0)
    assert levels(check, long) == ["error"], "22 passes of 0.2 s in 1 s"


def test_a_loop_that_waited_for_others_is_no_error() -> None:
    late = metered(duration=8.2)
    assert levels(window_measured.window_holds_the_loop, late) == ["error"]
    assert levels(window_measured.window_holds_the_loop, busy(late)) == []


def test_time_between_batches() -> None:
    check = window_measured.batches_take_up_the_loop
    assert levels(check, metered(loop_s=6.1), timed()) == []
    assert levels(check, metered(loop_s=6.9)) == ["warning"]
    assert levels(check, busy(metered(loop_s=6.9))) == []


def loaded(shares: tuple[float | None, ...], marks: tuple[bool, ...], window: float, marked: bool) -> Record:
    """A record of one pass, or of as many as there are shares, with the load of others."""
    made = metered(passes=len(shares))
    made = changed(made, "timing", pass_loads=shares, contaminated=marks)
    state = DeviceState()
    around = Conditions(start=state, end=state, other_load=window, contaminated=marked)
    return changed(made, "provenance", conditions=around, other_load=window)


def test_others_that_are_not_marked() -> None:
    check = window_measured.others_are_marked
    assert levels(check, loaded((0.01,), (False,), 0.01, False), timed(), gpu()) == []
    assert levels(check, loaded((0.5, None), (True, False), 0.3, True)) == []
    assert levels(check, loaded((0.5,), (False,), 0.5, True)) == ["error"]
    assert levels(check, loaded((0.01,), (False,), 0.5, False)) == ["error"]
    assert levels(check, loaded((0.01, 0.01), (False,), 0.01, False)) == ["error"]
    assert levels(check, loaded((0.5,), (True,), 0.0, False)) == ["error"], (
        "a window without its passes' load"
    )
    told = changed(loaded((0.01,), (False,), 0.01, False), "provenance", other_load=0.0)
    assert levels(check, told) == ["error"]


@pytest.mark.parametrize("factor", [2.0, 1000.0, 1 / 6])
def test_joules_that_codecarbon_contradicts(factor: float) -> None:
    check = energy_measured.modelled_energy_is_codecarbons
    good = metered()
    assert levels(check, good, gpu(), timed()) == []

    def multiplied(row: bool = False, power: bool = False) -> Record:
        reading = good.energy[0].model_copy(update={"energy_j": factor * good.energy[0].energy_j})
        names = ["cpu_energy"] * row + ["cpu_power"] * power
        told = {n: factor * v if n in names else v for n, v in good.codecarbon.items()}
        return good.model_copy(update={"energy": (reading,), "codecarbon": told})

    assert levels(check, multiplied()) == ["error"]
    assert levels(check, multiplied(row=True)) == ["error"], "energy is power times time"
    beyond = ["error"] * (factor > 8)  # 2 W of a TDP of 8 W
    assert levels(check, multiplied(row=True, power=True)) == beyond
    assert levels(check, good.model_copy(update={"codecarbon": {}})) == ["error"]


def test_meters_that_closed_late_under_load_are_no_error() -> None:
    late = metered(duration=2.6, loop_s=2.46)
    row = late.codecarbon | {"cpu_energy": 2 * 1.9 / 3.6e6}
    reading = late.energy[0].model_copy(update={"energy_j": 2 * 1.9})
    late = late.model_copy(update={"codecarbon": row, "energy": (reading,)})
    assert levels(energy_measured.modelled_energy_is_codecarbons, late) == ["error"]
    assert levels(energy_measured.modelled_energy_is_codecarbons, busy(late)) == []


def test_a_model_that_is_called_a_counter() -> None:
    check = energy_measured.energy_names_its_counter
    good = of_machine(metered())
    assert levels(check, good, gpu(), timed()) == []

    def called(**changes: Any) -> Record:
        return good.model_copy(update={"energy": (good.energy[0].model_copy(update=changes),)})

    assert levels(check, called(method="nvml_counter")) == ["error"]
    assert levels(check, called(method="rapl")) == ["error"]
    assert levels(check, called(method="rapl", detail="RAPL package-0", window_s=7.0)) == ["error"]
    assert levels(check, called(source="gpu", method="nvml_counter", window_s=7.0)) == ["error"]
    assert levels(check, called(window_s=7.0)) == ["error"]
    assert levels(check, called(method="rapl", detail="codecarbon 3, intel_rapl, whole package")) == []


def test_a_counter_that_is_called_a_model_or_has_another_idle_energy() -> None:
    check, (reading,) = energy_measured.energy_names_its_counter, gpu().energy

    def read(**changes: Any) -> Record:
        return gpu().model_copy(update={"energy": (reading.model_copy(update=changes),)})

    assert levels(check, read()) == []
    assert levels(check, read(method="model")) == ["error"]
    assert levels(check, read(idle_j=6000.0)) == ["error"]
    assert levels(check, read(detail="codecarbon 3, cpu_load, TDP 8 W", source="cpu", method="model")) == [
        "error"
    ]


def test_energy_of_a_part_that_is_of_another_time() -> None:
    def parted(factor: float = 1.0, *, cpu_w: float = 4.0, method: str = "model") -> Record:
        found = layered()
        assert found.layers is not None
        seconds = factor * 0.8  # 8 replays of 0.1 s
        told = (("cpu", cpu_w, "cpu_load, TDP 8 W"), ("ram", 10.0, "constant 10 W, process mode"))
        energy = tuple(
            EnergyReading.model_validate(
                {"source": s, "method": method, "energy_j": w * seconds, "detail": f"codecarbon, {d}"}
            )
            for s, w, d in told
        )
        parts = tuple(part.model_copy(update={"energy": energy}) for part in found.layers.parts)
        return found.model_copy(update={"layers": found.layers.model_copy(update={"parts": parts})})

    check = energy_measured.energy_is_of_the_replays
    assert levels(check, parted(), parted(1.6), layered(), timed()) == []
    assert levels(check, parted(10)) == levels(check, parted(0.1)) == ["error"]
    assert levels(check, parted(cpu_w=40.0)) == ["error"]
    assert levels(check, busy(parted(10))) == []
    assert levels(energy_measured.energy_names_its_counter, parted()) == []
    assert "error" in levels(energy_measured.energy_names_its_counter, parted(method="rapl"))


def test_a_peak_that_is_not_of_the_process() -> None:
    check = memory.memory_of_a_cpu_is_the_process
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
    check = memory.cache_is_of_its_tokens
    assert levels(check, held_by(cache_bytes=right), held_by(), gpu()) == []
    assert levels(check, held_by(cache_bytes=right // 2)) == ["error"]


def test_weights_of_two_sizes() -> None:
    check = memory.weights_do_not_depend_on_the_work
    other = changed(held_by(), "cell", batch_size=4)
    assert levels(check, held_by(), other, timed()) == []
    assert levels(check, held_by(), changed(other, "memory", weights_bytes=2 * 10**7)) == ["error"]
    assert levels(check, held_by(decode_weights_bytes=10**9)) == ["error"]
    half = changed(changed(other, "memory", weights_bytes=5 * 10**6), "cell", optimization="bnb-4bit")
    assert levels(check, held_by(), half) == [], "another optimization"
