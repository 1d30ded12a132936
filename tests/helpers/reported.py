"""Read the reports' records as a page does, and make measurements near them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import factory

from vlmnb import experiment
from vlmnb.meters.readings import EnergyReading
from vlmnb.records.record import Record
from vlmnb.spec import planning

PROJECT = Path(__file__).resolve().parents[2]


def shown(model: str, axis: str) -> tuple[planning.Plan, list[Record]]:
    """Return a plan of the reports and its records, as a notebook does."""
    plan = planning.plan(axis, {"model": model, "source": "reports", "results": str(PROJECT / "results")})
    return plan, experiment.records(plan)


def own(of: Record, **changes: Any) -> Record:
    """Make a measurement near a reported cell, on a GPU, with random weights."""
    cell = of.cell.model_copy(update={"weights": "random", "samples": 96, **changes})
    energy = EnergyReading(source="gpu", method="nvml_counter", energy_j=64.0, detail="test")
    batches = (0.5,) * 6
    return factory.record(cell, latencies=batches, energy=(energy,), hardware="h200")
