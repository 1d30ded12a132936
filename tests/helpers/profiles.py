"""Profiles by layers made by hand."""

from __future__ import annotations

from factory import cell, record

from vlmnb.meters.readings import EnergyReading
from vlmnb.records.parts import Ceilings, LayerPart, LayerProfile
from vlmnb.records.record import Record


def part(name: str, component: str, seconds: float, depth: int | None = None, **changes: object) -> LayerPart:
    reading = EnergyReading(source="cpu", method="model", energy_j=4.0, detail="test")
    values = {
        "name": name, "component": component, "depth": depth, "parameters": 100, "weight_bytes": 400,
        "activation_bytes": 600, "flops": 2000, "in_pass_s": (seconds,) * 11, "replay_s": seconds,
        "replays": 8, "energy": (reading,),
    }  # fmt: skip
    return LayerPart.model_validate(values | changes)


def profiled(whole_s: float) -> Record:
    parts = (
        part("vision layer 0", "vision", 0.2, 0),
        part("projector", "projector", 0.1),
        part("attention 0", "attention", 0.3, 0),
        part("MLP 0", "mlp", 0.2, 0),
        part("layer 0, rest", "other", 0.1, 0, replay_s=None, replays=0, energy=(), flops=None),
        part("head", "head", 0.1),
    )
    profile = LayerProfile(
        forward_s=(whole_s,) * 11, hooked_s=(whole_s,) * 11, parts=parts,
        ceilings=Ceilings(flops_per_s=40_000, bytes_per_s=50_000, method="test"),
    )  # fmt: skip
    return record(
        cell(measure="layers", samples=2), timing=None, energy=(), memory=None, answers=(), layers=profile
    )
