"""Records that the rules of the audit find good, for tests that plant one error in them."""

from __future__ import annotations

from typing import Any

from factory import cell, record, timed

from vlmnb.audit.rule import Check
from vlmnb.device import machine
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import EnergyReading, MemoryUsage, SensorCard
from vlmnb.records import content_key
from vlmnb.records.layer_profile import Ceilings, LayerPart, LayerProfile
from vlmnb.records.record import Record

GPUS = [{"name": "NVIDIA H200", "uuid": "GPU-1", "memory_bytes": 1, "driver": "1", "power_limit_w": 700.0}]
HARDWARE: dict[str, Any] = {
    "slug": "test-machine", "cpu_model": "AMD EPYC", "logical_cores": 2, "memory_bytes": 2**34, "gpus": [],
    "fingerprint": machine.fingerprint_of("AMD EPYC", 2, 2**34, ()),
}  # fmt: skip


def levels(check: Check, *found: Record) -> list[str]:
    return [one.level for one in check(found)]


def gpu(power_w: float = 300.0, **changes: Any) -> Record:
    """A record of a GPU that idles at 60 W and is held to 400 W."""
    reading = EnergyReading(
        source="gpu", method="nvml_counter", energy_j=power_w * 10, detail="test", window_s=10.0, idle_j=600.0
    )
    state = DeviceState(power_cap_w=400.0)
    made = timed(of=cell(device="cuda", optimization="fp16", dtype="fp16"), energy=(reading,), **changes)
    conditions = Conditions(start=state, end=state, other_load=0.0, contaminated=False)
    card = SensorCard(
        sensor="test", source="gpu", method="nvml_counter", period_s=0.1, step_j=1, resolution_s=0.001,
        updates=20, idle_power_w=60.0,
    )  # fmt: skip
    around = {"conditions": conditions, "sensors": (card,)}
    return made.model_copy(update={"provenance": made.provenance.model_copy(update=around)})


def busy(found: Record) -> Record:
    """The same, measured while others used the machine."""
    state = DeviceState()
    told = Conditions(
        start=state, end=state, other_load=0.9, contaminated=True, throttled_s={"power cap": 1.0}
    )
    return found.model_copy(update={"provenance": found.provenance.model_copy(update={"conditions": told})})


def layered(*, scale: float = 1.0, flops: int = 1000, ceiling: float = 1e6, device: str = "cuda") -> Record:
    """A profile of two parts that take 0.1 s each of a pass of 0.2 s, times ``scale``."""
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
    """The same, measured on a described machine, under the key that then belongs to it."""
    was = found.provenance.model_copy(update={"machine": HARDWARE | changes, "weights": "w", "data": "d"})
    made = found.model_copy(update={"provenance": was})
    return made.model_copy(update={"key": content_key.told_key(made)})


def changed(found: Record, part: str, **changes: Any) -> Record:
    """The same with some fields of one part changed."""
    return found.model_copy(update={part: getattr(found, part).model_copy(update=changes)})


def held_by(**changes: int) -> Record:
    """A record of a CPU whose memory is told in full, with the cache of its tokens."""
    found = timed()
    usage = {
        "peak_bytes": 10**8, "process_peak_bytes": 10**8, "baseline_bytes": 9 * 10**7,
        "process_baseline_bytes": 9 * 10**7, "weights_bytes": 10**7, "decode_weights_bytes": 10**6,
    }  # fmt: skip
    return found.model_copy(
        update={"memory": MemoryUsage.model_validate({"method": "test"} | usage | changes)}
    )
