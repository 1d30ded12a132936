"""Rules over energy and memory of a measured record."""

from __future__ import annotations

from typing import Any

import pytest
from auditing import (
    around,
    busy,
    calibration,
    changed,
    check,
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

from vlmnb.device.state import DeviceState
from vlmnb.fit import quantize, shape
from vlmnb.meters.readings import EnergyReading, MemoryUsage
from vlmnb.records.record import Record

CODECARBON = "codecarbon 3, cpu_load, TDP 8 W"
SIZES = ("peak_bytes", "process_peak_bytes", "baseline_bytes", "process_baseline_bytes")
DECODER = shape.of("llava-tiny").decoder
TENSORS = shape.of("llava-tiny").tensors
WEIGHTS = 4 * sum(one.count for one in TENSORS)
PACKED = sum(
    quantize.packed_bytes(one, "nf4") if quantize.is_replaced(one) else 4 * one.count for one in TENSORS
)
CACHE = 2 * DECODER.layers * DECODER.kv_heads * DECODER.head_size * 86 * 2 * 4
"""Keys and values of two samples, of 20 + 64 tokens and two of three new ones, in fp32."""


def read(**changes: Any) -> Record:
    """Make a record with joules of a counter."""
    reading = {"source": "cpu", "method": "rapl", "energy_j": 99.0, "detail": "test", "window_s": 7.0}
    return timed(energy=(EnergyReading.model_validate(reading | changes),))


def in_llama_cpp(total: int = 0, cache_bytes: int | None = None, **types: int) -> Record:
    """Make a record of a model in llama.cpp, given the bytes of its weights by type."""
    sizes = types or {"F16": 100}
    found = changed(held_by(), "cell", optimization="llama.cpp-Q4_K_M")
    return changed(found, "memory", weights_bytes=total or sum(sizes.values()), weights_by_type=sizes,
                   cache_bytes=cache_bytes)  # fmt: skip


def weighing(size: int, optimization: str = "fp32", **fields: Any) -> Record:
    """Make a record whose weights take some bytes."""
    return changed(held_by(weights_bytes=size), "cell", optimization=optimization, **fields)


def typed(**sizes: int) -> Record:
    """Make a record with the bytes of its weights by type."""
    return changed(weighing(WEIGHTS), "memory", weights_by_type=sizes)


def reporting(watts: float) -> Record:
    """Make a record of a GPU that reports a power before and after the window."""
    return changed(gpu(), "provenance", conditions=around(DeviceState(power_w=watts)))


@pytest.mark.parametrize(("rule", "level", "good", "bad"), [
    ("energy-is-of-the-window", "error", [read(), read(samples=24), record()],
     [read(window_s=3.0), read(samples=12)]),
    # The last good record has a window that is too short for this.
    ("counter-fits-the-power", "warning", [gpu(), reporting(280), timed(),
     with_energy(reporting(300), energy_j=1.0, window_s=1.0)], [reporting(0.3), reporting(700)]),
    ("counters-agree", "warning", [gpu(codecarbon={"gpu_energy": 3000 / 3.6e6}), gpu()],
     [gpu(codecarbon={"gpu_energy": 6000 / 3.6e6})]),
    # Joules are modelled although there is a counter.
    ("energy-names-its-counter", "error", [metered()],
     [changed(metered(), "provenance", sensors=(calibration(60.0).model_copy(update={"source": "cpu"}),))]),
    # Idle power of the calibration counts where the reading has none.
    ("power-between-idle-and-limit", "warning", [gpu()],
     [with_energy(changed(gpu(50), "provenance", sensors=(calibration(100.0),)), idle_j=None)]),
    ("memory-of-a-cpu-is-the-process", "error", [held_by(), timed(), gpu()],
     [held_by(peak_bytes=10**5), held_by(baseline_bytes=10**5), held_by(**dict.fromkeys(SIZES, 97656))]),
    ("weights-have-the-bytes-of-their-type", "error",
     [weighing(WEIGHTS), typed(float32=WEIGHTS - 8, int64=8), weighing(PACKED, "bnb-4bit"),
      weighing(WEIGHTS, model="gone"), gpu(), in_llama_cpp(F32=8, Q4_K=WEIGHTS // 4)],
     [weighing(WEIGHTS // 2), typed(float16=WEIGHTS), typed(float32=WEIGHTS - 8),
      weighing(WEIGHTS, "bnb-4bit"), weighing(PACKED * 9 // 10, "bnb-4bit"), weighing(PACKED, "bnb-8bit"),
      weighing(WEIGHTS, "bf16", dtype="bf16"), in_llama_cpp(total=9, F32=8)]),
    ("cache-is-of-its-tokens", "error",
     [held_by(cache_bytes=CACHE), held_by(), gpu(), in_llama_cpp(cache_bytes=CACHE + CACHE // 200)],
     [held_by(cache_bytes=CACHE // 2), held_by(cache_bytes=CACHE + CACHE // 200),
      in_llama_cpp(cache_bytes=CACHE + CACHE // 50), in_llama_cpp(cache_bytes=CACHE - 1)]),
])  # fmt: skip
def test_a_planted_contradiction(rule: str, level: str, good: list[Record], bad: list[Record]) -> None:
    check(rule, level, good, *bad)


@pytest.mark.parametrize(("watts", "expected"), [(300, []), (405, []), (500, ["error"]), (30, ["warning"])])
def test_power_outside_idle_and_limit(watts: float, expected: list[str]) -> None:
    assert levels("power-between-idle-and-limit", gpu(watts)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, []), ({"peak_bytes": 50}, ["error"]), ({"weights_bytes": 900, "cache_bytes": 200}, ["error"]),
     ({"reserved_peak_bytes": 500}, ["error"])],
)  # fmt: skip
def test_a_peak_that_cannot_be(changes: dict[str, int], expected: list[str]) -> None:
    usage = {"peak_bytes": 1000, "baseline_bytes": 800, "weights_bytes": 700, "cache_bytes": 100}
    found = gpu(memory=MemoryUsage.model_validate({"method": "test"} | usage | changes))
    assert levels("peak-holds-its-parts", found) == expected


@pytest.mark.parametrize("factor", [2.0, 1000.0, 1 / 6])
def test_joules_that_codecarbon_contradicts(factor: float) -> None:
    rule, good = "modelled-energy-is-codecarbons", metered()

    def multiplied(*names: str) -> Record:
        values = {n: factor * v if n in names else v for n, v in good.codecarbon.items()}
        found = with_energy(good, energy_j=factor * good.energy[0].energy_j)
        return found.model_copy(update={"codecarbon": values})

    without = good.model_copy(update={"codecarbon": {}})
    # Energy is power times time, so another energy alone is wrong too.
    check(rule, "error", [good, gpu(), timed()], multiplied(), multiplied("cpu_energy"), without)
    beyond = ["error"] * (factor > 8)  # 2 W of a TDP of 8 W
    assert levels(rule, multiplied("cpu_energy", "cpu_power")) == beyond


def test_meters_that_closed_late_under_load_are_no_error() -> None:
    late = metered(duration=2.6, loop_s=2.46)
    row = late.codecarbon | {"cpu_energy": 2 * 1.9 / 3.6e6}
    late = with_energy(late, energy_j=2 * 1.9).model_copy(update={"codecarbon": row})
    check("modelled-energy-is-codecarbons", "error", [busy(late)], late)


@pytest.mark.parametrize(
    ("modelled", "changes"),
    [(True, {"method": "nvml_counter"}), (True, {"method": "rapl"}), (True, {"window_s": 7.0}),
     (True, {"method": "rapl", "detail": "RAPL package-0", "window_s": 7.0}),
     (True, {"source": "gpu", "method": "nvml_counter", "window_s": 7.0}),
     (True, {"detail": "RAPL package-0"}), (False, {"method": "model"}), (False, {"idle_j": 6000.0}),
     (False, {"detail": CODECARBON, "source": "cpu", "method": "model"})],
)  # fmt: skip
def test_energy_that_names_another_counter(modelled: bool, changes: dict[str, Any]) -> None:
    rule, model = "energy-names-its-counter", of_machine(metered())
    counted = {"method": "rapl", "detail": "codecarbon 3, intel_rapl, whole package"}
    good = [model, gpu(), timed(), with_energy(model, **counted)]
    check(rule, "error", good, with_energy(model if modelled else gpu(), **changes))


def test_energy_of_a_part_that_is_of_another_time() -> None:
    def parted(factor: float = 1.0, *, cpu_w: float = 4.0, method: str = "model") -> Record:
        found, replays_s = layered(), 8 * 0.1
        assert found.layers is not None
        models = (("cpu", cpu_w, "cpu_load, TDP 8 W"), ("ram", 10.0, "constant 10 W, process mode"))
        energy = tuple(
            EnergyReading(source=s, method=method, energy_j=w * factor * replays_s, detail=f"codecarbon, {d}")
            for s, w, d in models
        )
        parts = tuple(part.model_copy(update={"energy": energy}) for part in found.layers.parts)
        return changed(found, "layers", parts=parts)

    good = [parted(), parted(1.6), layered(), timed(), busy(parted(10))]
    check("energy-is-of-the-replays", "error", good, parted(10), parted(0.1), parted(cpu_w=40.0))
    assert levels("energy-names-its-counter", parted()) == []
    assert "error" in levels("energy-names-its-counter", parted(method="rapl"))


def test_weights_of_two_sizes() -> None:
    rule, other = "weights-do-not-depend-on-the-work", changed(held_by(), "cell", batch_size=4)
    half = changed(changed(other, "memory", weights_bytes=5 * 10**6), "cell", optimization="bnb-4bit")
    twice = changed(other, "memory", weights_bytes=2 * 10**7)
    check(rule, "error", [other, timed(), half], twice, beside=[held_by()])
    assert levels(rule, held_by(decode_weights_bytes=10**9)) == ["error"]


def test_modelled_joules_added_to_counted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gpu()
    model = {"source": "cpu", "method": "model", "energy_j": 500.0, "detail": "codecarbon 3, TDP 8 W"}
    both = one.model_copy(update={"energy": (*one.energy, EnergyReading.model_validate(model))})
    shown_as(monkeypatch, energy_j_per_sample=3500 / 3000, energy_j_per_batch=3500 / 3000)
    assert levels("samples-times-joules-is-the-window", both) == ["error"]


def test_joules_that_are_not_those_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, good = "samples-times-joules-is-the-window", [timed(), gpu(), record(), record(energy=())]
    reading = EnergyReading(source="cpu", method="rapl", energy_j=8.0, detail="test", samples=96)
    check(rule, "error", good, timed(energy=(reading,)))
    for factors in ({"energy_j_per_sample": 2, "energy_j_per_batch": 2}, {"energy_j_per_batch": 0.5}):
        with monkeypatch.context() as patch:
            shown_as(patch, **factors)
            assert levels(rule, timed()) == ["error"]
