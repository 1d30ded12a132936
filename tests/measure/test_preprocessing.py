"""Batches of a bundled model are prepared in every way, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlmnb.audit import registry
from vlmnb.measure import preprocessing
from vlmnb.measure.cells import measure_cells
from vlmnb.records.parts import STEPS
from vlmnb.spec import planning


@pytest.mark.slow
def test_a_cell_times_every_step_of_every_way(tmp_path: Path) -> None:
    plan = planning.plan("preprocessing", {"model": "llava-tiny", "batch_sizes": [2], "samples": 5})
    (record,) = measure_cells(plan.cells, tmp_path)
    found = record.preprocessing
    assert record.status == "ok"
    assert found
    assert found.batches == len(found.model_s) == 2
    ways = {(way.backend, way.threads): way for way in found.ways}
    here = [one for one in preprocessing.BACKENDS if not ways[one, 1].reason]
    assert {"pil", "cached"} <= set(here)
    assert {n for _, n in ways} == set(preprocessing.THREADS)
    assert len(ways) == 3 * len(here) + (len(preprocessing.BACKENDS) - len(here))
    one = ways["pil", 1]
    assert len(one.round_s) >= preprocessing.ROUNDS
    assert one.samples == 4 * len(one.round_s)
    assert all(min(one.steps[step]) > 0 for step in STEPS)
    assert max(ways["cached", 2].steps["decode"]) == 0
    assert all(way.energy for way in found.ways if not way.reason)
    assert not [one for one in registry.run([record], "measured") if one.level == "error"]


def test_at_most_eight_batches_are_prepared() -> None:
    cells = planning.plan("preprocessing", {"model": "llava-tiny", "batch_sizes": [1, 16]}).cells
    assert [cell.samples for cell in cells] == [8, 96]
