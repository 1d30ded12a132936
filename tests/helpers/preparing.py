"""Records of preprocessing made by hand."""

from __future__ import annotations

from factory import ABSENT, cell, record

from vlmnb.meters.readings import EnergyReading
from vlmnb.records.parts import STEPS, Prepared, Preprocessing
from vlmnb.records.record import Record


def prepared(batch_size: int, round_s: float, model_s: float) -> Record:
    """A record of eight batches: PIL with one and two threads, no torchvision."""
    reading = EnergyReading(source="cpu", method="model", energy_j=12.0, detail="codecarbon, test")
    ways = [
        Prepared(
            backend="pil", threads=threads, round_s=(round_s / threads,) * 6, samples=48, energy=(reading,),
            steps={step: (round_s / 20 * (i + 1),) * 6 for i, step in enumerate(STEPS)},
        )
        for threads in (1, 2)
    ]  # fmt: skip
    ways.append(Prepared(backend="torchvision", threads=1, reason="not here: no such module"))
    return record(
        cell(measure="preprocessing", samples=8 * batch_size, batch_size=batch_size),
        preprocessing=Preprocessing(batches=8, model_s=(model_s,) * 8, ways=tuple(ways)),
        **ABSENT,
    )
