"""Cells measured for real: what their records say of energy, memory and conditions."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlmnb.measure.batches import choose, prepare
from vlmnb.measure.cells import measure_cells
from vlmnb.measure.loading import ModelSlot, configuration
from vlmnb.meters.counters import calibration
from vlmnb.meters.counters.calibration import min_window_s
from vlmnb.meters.readings import SensorCard
from vlmnb.records import export_columns
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec import planning

pytestmark = pytest.mark.slow


def measured(results: Path, model: str = "llava-tiny") -> Record:
    parameters = {"model": model, "samples": 2, "batch_sizes": [2], "max_new_tokens": 3, "device": "cpu"}
    (made,) = measure_cells(planning.plan("batch_size", parameters).cells[:1], results)
    assert made.status == "ok", made.reason
    return made


def test_a_record_says_what_surrounded_it_and_where_the_memory_went(tmp_path: Path) -> None:
    made = measured(tmp_path)
    assert made.provenance.conditions is not None
    assert made.provenance.other_load == made.provenance.conditions.other_load
    assert made.codecarbon["tracking_mode"] == "process"
    assert made.codecarbon["cpu_energy"] > 0
    usage = made.memory
    assert usage
    assert usage.weights_bytes
    assert usage.baseline_bytes
    assert 1_000_000 < usage.weights_bytes < usage.baseline_bytes
    row = export_columns.row(made)
    assert row["energy_j_per_batch"] == pytest.approx(2 * row["energy_j_per_sample"])
    assert row["cache_bytes"] > 0


def test_a_window_is_extended_by_whole_passes_until_the_counter_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SensorCard(
        sensor="steady", source="cpu", method="rapl", period_s=0.03, step_j=0.5, resolution_s=0.001,
        updates=20, idle_power_w=10.0,
    )  # fmt: skip
    steady = SimpleNamespace(  # a counter of 50 W that moves every 10 ms
        source="cpu", method="rapl", name="steady", poll_s=0.001, limit_w=None, resume=lambda: None,
        read_j=lambda: 50.0 * (time.perf_counter() // 0.01 * 0.01), busy=lambda: None,
    )  # fmt: skip
    monkeypatch.setattr(calibration, "attached", lambda _: calibration.Attached(((steady, card),)))
    made = measured(tmp_path)
    reading = made.headline_energy
    assert reading
    assert reading.method == "rapl"
    assert reading.window_s
    assert reading.samples
    assert reading.window_s >= min_window_s(card)
    assert reading.power_w == pytest.approx(50, rel=0.02)
    assert reading.samples % 2 == 0
    assert reading.samples > 2, "this work is far shorter than the window it needs"
    assert made.timing is not None
    assert sum(made.timing.batch_samples) == reading.samples, "every pass is timed"
    assert made.energy_j_per_sample == pytest.approx(reading.energy_j / reading.samples)
    assert made.provenance.sensors == (card,)


@pytest.mark.parametrize("model", ["llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny"])
def test_the_formula_of_the_cache_is_what_the_cache_holds(model: str) -> None:
    import torch

    parameters = {"model": model, "samples": 3, "batch_sizes": [3], "device": "cpu"}
    cell = resolve_cell(planning.plan("batch_size", parameters).cells[0])
    loaded = ModelSlot().get(configuration(cell))
    (batch,) = prepare(cell.cell, loaded, *choose(cell))
    with torch.inference_mode():
        made = loaded.model.generate(
            **batch.inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False, return_dict_in_generate=True
        )
    held = sum(
        tensor.nbytes for layer in made.past_key_values.layers for tensor in (layer.keys, layer.values)
    )
    rows, tokens = made.sequences.shape
    decoder = loaded.family.decoder_shape(loaded.model.config)
    assert rows * decoder.cache_bytes(tokens - 1, loaded.model.dtype.itemsize) == held
