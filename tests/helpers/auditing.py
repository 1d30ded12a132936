"""Measured records without a finding, for tests that plant one error in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from factory import but, cell, changed, record, timed

from vlmnb.audit import expected_flops, registry
from vlmnb.audit.rule import Finding
from vlmnb.device import machine
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.meters.readings import EnergyReading, MemoryUsage, SensorCard
from vlmnb.records import content_key, export_columns
from vlmnb.records.parts import Ceilings, LayerPart, LayerProfile
from vlmnb.records.record import Record

GPUS = [{"name": "NVIDIA H200", "uuid": "GPU-1", "memory_bytes": 1, "driver": "1", "power_limit_w": 700.0}]
HARDWARE: dict[str, Any] = {
    "slug": "test-machine", "cpu_model": "AMD EPYC", "logical_cores": 2, "memory_bytes": 2**34, "gpus": [],
    "fingerprint": machine.fingerprint_of("AMD EPYC", 2, 2**34, ()),
}  # fmt: skip


def findings(name: str, *records: Record) -> list[Finding]:
    """Run the rule of a name over records, all of the source of the first."""
    (rule,) = (one for one in registry.RULES if (one.name, one.source) == (name, records[0].source))
    return rule(records)


def levels(name: str, *records: Record) -> list[str]:
    """Run the rule of a name over records and return the levels of its findings."""
    return [one.level for one in findings(name, *records)]


def check(name: str, level: str, good: Sequence[Record], *bad: Record, beside: Sequence[Record] = ()) -> None:
    """Assert that a rule finds nothing in good records, and one thing in each bad one beside some others."""
    assert levels(name, *beside, *good) == []
    for wrong in bad:
        assert levels(name, *beside, wrong) == [level], wrong


def gpu(power_w: float = 300.0, **changes: Any) -> Record:
    """Make a record of a GPU that idles at 60 W and has a limit of 400 W."""
    reading = EnergyReading(
        source="gpu", method="nvml_counter", energy_j=power_w * 10, detail="test", window_s=10.0, idle_j=600.0
    )
    state = DeviceState(power_cap_w=400.0)
    made = timed(of=cell(device="cuda", optimization="fp16", dtype="fp16"), energy=(reading,), **changes)
    return changed(made, "provenance", conditions=around(state), sensors=(calibration(60.0),))


def around(state: DeviceState, load: float = 0.0, marked: bool = False) -> Conditions:
    """Make the conditions of a window: one state before and after it, and its background load."""
    return Conditions(start=state, end=state, other_load=load, contaminated=marked)


def calibration(idle_power_w: float) -> SensorCard:
    """Make the calibration of a GPU's counter."""
    return SensorCard(
        sensor="test", source="gpu", method="nvml_counter", period_s=0.1, step_j=1, resolution_s=0.001,
        updates=20, idle_power_w=idle_power_w,
    )  # fmt: skip


def busy(found: Record) -> Record:
    """Copy a record as measured under background load."""
    conditions = around(DeviceState(), 0.9, True).model_copy(update={"throttled_s": {"power cap": 1.0}})
    return changed(found, "provenance", conditions=conditions)


def layered(*, scale: float = 1.0, flops: int = 1000, ceiling: float = 1e6, device: str = "cuda") -> Record:
    """Make a profile of two parts that take 0.1 s each of a pass of 0.2 s, times ``scale``."""
    parts = tuple(
        LayerPart(
            name=name, component="mlp", depth=0, weight_bytes=400, activation_bytes=600, flops=flops,
            in_pass_s=(0.1 * scale,) * 11, replay_s=0.1, replays=8,
        )
        for name in ("MLP 0", "MLP 1")
    )  # fmt: skip
    profile = LayerProfile(
        forward_s=(0.2,) * 11, hooked_s=(0.2,) * 11, parts=parts,
        ceilings=Ceilings(flops_per_s=ceiling, bytes_per_s=1e6, method="test"),
    )  # fmt: skip
    counts = FlopCount(fvcore=2000, torch=2000)
    of = cell(measure="layers", device=device)
    return record(of, timing=None, energy=(), memory=None, answers=(), flops=counts, layers=profile)


def of_machine(found: Record, **changes: Any) -> Record:
    """Copy a record as measured on a described machine, under the key that follows."""
    made = changed(found, "provenance", machine=HARDWARE | changes, weights="w", data="d")
    return but(made, key=content_key.of_record(made))


def answered(found: Record, count: int | None = 1, **changes: Any) -> Record:
    """Copy a record with its first answers changed: one, a number of them, or all."""
    given = found.answers[:count]
    made = tuple(but(answer, **changes) for answer in given)
    return but(found, answers=(*made, *found.answers[len(given) :]))


def by_formula() -> tuple[Parts, int]:
    """Return FLOPs of the prompts of a batch of ``timed``, and of a decoding step after them."""
    parts, step = expected_flops.prefill("llava-tiny", 64, 84, 2), expected_flops.step("llava-tiny", 84, 2)
    assert parts is not None
    assert step is not None
    return parts, step


def held_by(**changes: int) -> Record:
    """Make a record of a CPU with all figures of its memory."""
    found = timed()
    usage = {
        "peak_bytes": 10**8, "process_peak_bytes": 10**8, "baseline_bytes": 9 * 10**7,
        "process_baseline_bytes": 9 * 10**7, "weights_bytes": 10**7, "decode_weights_bytes": 10**6,
    }  # fmt: skip
    return found.model_copy(
        update={"memory": MemoryUsage.model_validate({"method": "test"} | usage | changes)}
    )


def metered(duration: float = 7.0, *, loop_s: float = 6.9, **changes: Any) -> Record:
    """Make a record with codecarbon's row: 6.066 s of batches, 2 W on average, a TDP of 8 W."""
    joules = 2 * duration
    reading = EnergyReading(
        source="cpu", method="model", energy_j=joules, detail="codecarbon 3, cpu_load, process mode, TDP 8 W"
    )
    row = {"duration": duration, "cpu_power": 2.0, "cpu_energy": joules / 3.6e6}
    made = changed(timed(energy=(reading,), codecarbon=row, **changes), "provenance", seconds=60.0)
    return changed(made, "timing", loop_s=loop_s)


def with_energy(found: Record, **changes: Any) -> Record:
    """Copy a record with its first reading of energy changed, and without the others."""
    return but(found, energy=(but(found.energy[0], **changes),))


def shown_as(monkeypatch: pytest.MonkeyPatch, **factors: float) -> None:
    """Make the export show some columns times a factor."""
    right = export_columns.costs

    def wrong(found: Record) -> dict[str, Any]:
        values = right(found)
        return values | {name: values[name] and factor * values[name] for name, factor in factors.items()}

    monkeypatch.setattr(export_columns, "costs", wrong)
