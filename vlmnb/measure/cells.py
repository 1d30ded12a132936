"""Measure cells: load the model, time it, score the answers. One cell at a time, each written at once."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlmnb.device import slots
from vlmnb.device.conditions import ConditionsMeter
from vlmnb.device.state import Conditions
from vlmnb.errors import UserError
from vlmnb.measure import compilation, failures, layers, loading, peak_rates
from vlmnb.measure.batches import Batch, prepare, require_data
from vlmnb.measure.failures import NotApplicable
from vlmnb.measure.flop_counting import FlopCounts, count
from vlmnb.measure.generation import Generator
from vlmnb.measure.loading import Loaded, ModelSlot
from vlmnb.measure.protocol import timed
from vlmnb.measure.scoring import score
from vlmnb.meters import codecarbon_model
from vlmnb.meters.readings import SensorCard
from vlmnb.records.cells_to_measure import CellsToMeasure
from vlmnb.records.record import Record
from vlmnb.records.resolved import Resolved, blank_record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

UNDISTURBED = ("ok", "not_applicable", "not_enough_tokens")
"""Statuses after which the loaded model serves the next cell."""


def measure_cells(
    wanted: Sequence[Cell], results: Path, *, on_cell: Callable[[Cell, Record], None] | None = None
) -> list[Record]:
    """Return the records of cells: read recorded ones, measure missing ones and write each at once.

    Args:
        wanted: Cells, in the order in which to measure them.
        results: Folder of the records.
        on_cell: Called after each cell, outside every timed window.

    Returns:
        One record per cell, in the order of ``wanted``.

    Raises:
        UserError: A checkpoint or a data set that a missing cell needs is not there or cannot be used. This
            is checked before a model is loaded and leaves no record: once it is there, the cells are
            measured.
    """
    slot, counts = ModelSlot(), FlopCounts()
    records: list[Record] = []
    with CellsToMeasure(wanted, results) as work:
        missing = [resolved for resolved in work.cells if work.recorded(resolved) is None]
        loading.require(missing)
        require_data(missing)
        _get_ready(missing)
        for resolved in work.cells:
            found = work.recorded(resolved)
            if found is None:
                with work.claimed(resolved):
                    found = work.recorded(resolved)  # another process may have measured it in the meantime
                    if found is None:
                        found = work.ran_out(resolved, records) or measure_cell(resolved, slot, counts)
                        found = work.write(found)
                if found.status not in UNDISTURBED:
                    slot.clear()  # after writing: it raises if an error has broken the CUDA context
            if on_cell:
                on_cell(resolved.cell, found)
            records.append(found)
        slot.clear()
    return records


def _get_ready(missing: Sequence[Resolved]) -> None:
    """Do what takes seconds and needs no device, while another notebook may still use the device."""
    with codecarbon_model.naming_the_cpu():
        for resolved in missing:
            resolved.family.model_class()
    if any(resolved.cell.device == "cpu" for resolved in missing):
        codecarbon_model.detect(None)
    gc.collect()
    # Garbage is no longer looked for among what was imported, neither between cells, where it would take
    # longer than loading a small model, nor, whenever Python chooses to, in a timed window.
    gc.freeze()


def measure_cell(resolved: Resolved, slot: ModelSlot, counts: FlopCounts) -> Record:
    """Measure one cell. Any error of a library becomes a record with a status and a reason.

    The slot holds the model from cell to cell, and ``counts`` the FLOPs counted so far, which depend on the
    model and the shapes of a batch alone.
    """
    import torch

    torch.set_num_threads(slots.threads())
    cell, began = resolved.cell, time.perf_counter()
    blank = blank_record(resolved, datetime.now(UTC).isoformat(timespec="seconds"))
    provenance = blank.provenance
    found: dict[str, Any]
    try:
        if reason := resolved.entry.size_obstacle(cell.image_size, cell.interpolate):
            raise NotApplicable(reason)
        if cell.repeat:
            slot.clear()  # a repeat begins as the first measurement did: with nothing in memory
        loaded = slot.get(loading.configuration(resolved))
        known = {"geometry": loaded.geometry, "template": loaded.template}
        provenance = provenance.model_copy(update=known)
        blank = blank.model_copy(update={"notes": loaded.notes})
        batches = prepare(resolved, loaded)
        if cell.measure == "layers":
            found, seen = _profiled(loaded, batches)
        else:
            found, seen = _generated(resolved, loaded, batches)
        found["flops"] = count(loaded, batches[0], cell.image_size, counts)
        provenance = provenance.model_copy(update=seen)
    except (KeyboardInterrupt, SystemExit, UserError):
        raise
    except BaseException as error:  # a panic in Rust, as in a tokenizer, is not an Exception
        status, reason = failures.of(error, tried=resolved.optimization.tried)
        found = {"status": status, "reason": reason}
    provenance = provenance.model_copy(update={"seconds": time.perf_counter() - began})
    return blank.model_copy(update={**found, "provenance": provenance})


Fields = dict[str, Any]
"""Values by the name of a field."""


def _generated(resolved: Resolved, loaded: Loaded, batches: Sequence[Batch]) -> tuple[Fields, Fields]:
    """Generate answers and return the fields of the record and of its provenance."""
    cell = resolved.cell
    generate = Generator.of(resolved, loaded, [batch.inputs for batch in batches])
    window = timed(cell, generate, batches)
    meters = window.meters
    # For cells that show speed, and for optimizations, which may come nearer to the peak.
    original = optimizations.base_dtype(resolved.entry.base_dtype, cell.device)
    compared = cell.length == "fixed" or cell.optimization != original
    found = {
        "timing": window.timing,
        "energy": meters.readings,
        "energy_refused": meters.energy.refused,
        "codecarbon": meters.energy.emissions,
        "memory": window.memory,
        "answers": score(cell, loaded, batches, window.outputs),
        "probe": generate.probe(batches[0].inputs),
        "compilation": compilation.report() if resolved.optimization.of("compilation") else None,
        "ceilings": peak_rates.measured(cell.device, cell.dtype) if compared else None,
    }
    return found, _seen(loaded, meters.conditions, meters.energy.cards)


def _profiled(loaded: Loaded, batches: Sequence[Batch]) -> tuple[Fields, Fields]:
    """Time the model's parts and return the fields of the record and of its provenance."""
    meter = ConditionsMeter(loaded.configuration.device)
    meter.start()
    with loaded.configuration.optimization.attention.within():
        profile = layers.profile(loaded, batches[0].inputs)
    meter.stop()
    return {"layers": profile}, _seen(loaded, meter.conditions())


def _seen(loaded: Loaded, conditions: Conditions | None, cards: tuple[SensorCard, ...] = ()) -> Fields:
    """Return the fields of the provenance that are known only after measuring."""
    import torch

    kernel = loaded.configuration.optimization.attention.kernel
    return {
        "threads": int(torch.get_num_threads()),
        "tuning": slots.tuning(),
        "attention": kernel(loaded.decoder.config._attn_implementation),
        "processor": loaded.processor_source,
        "other_load": conditions.other_load if conditions else None,
        "conditions": conditions,
        "sensors": cards,
    }
