"""Measure cells: load the model, time it, score the answers. One cell at a time, each written at once."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from vlmnb.data.catalogue import Sample
from vlmnb.device import slots
from vlmnb.device.conditions import ConditionsMeter
from vlmnb.errors import UserError
from vlmnb.measure import (
    encoding,
    failures,
    layers,
    loading,
    peak_rates,
    preprocessing,
    process_state,
    reuse,
    turns,
)
from vlmnb.measure.batches import Batch, choose, prepare, require_data
from vlmnb.measure.failures import CallFailed, NotApplicable, Unsupported
from vlmnb.measure.flop_counting import FlopCounts, count
from vlmnb.measure.generation import Generator, limits
from vlmnb.measure.loading import Loaded, ModelSlot
from vlmnb.measure.protocol import memory_of, timed
from vlmnb.measure.scoring import remarks, score
from vlmnb.measure.visual_tokens import Reducer
from vlmnb.meters import codecarbon_model
from vlmnb.records.cells_to_measure import CellsToMeasure
from vlmnb.records.parts import FailedSample, VisualTokens
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
    fresh: set[str] = set()
    with CellsToMeasure(wanted, results) as work:
        missing = [resolved for resolved in work.cells if work.recorded(resolved) is None]
        with process_state.importing():
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
                        fresh.add(found.key)
                if found.status not in UNDISTURBED:
                    slot.clear()  # after writing: it raises if an error has broken the CUDA context
            if on_cell:
                on_cell(resolved.cell, found)
            records.append(found)
        if due := turns.due(list(zip(work.cells, records, strict=True)), fresh, results):
            with work.taking_turns():
                turns.take(due, slot, results)
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


class Findings:
    """What is known of a cell so far: fields of its record and of its provenance, and notes."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {}
        self.provenance: dict[str, Any] = {}
        self.notes: list[str] = []
        self.stages: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - began

    @contextlib.contextmanager
    def conditions(self, device: str) -> Iterator[None]:
        """Note the conditions around the block."""
        meter = ConditionsMeter(device)
        meter.start()
        yield
        meter.stop()
        self.provenance["conditions"] = meter.conditions()

    def extra(self, name: str, work: Callable[[], Any]) -> None:
        """Add a field of the record after the measurement; if that fails, a note says what is missing.

        Only Ctrl-C ends the cell: what was measured is kept whatever a library raises.
        """
        try:
            with self.stage(name):
                self.record[name] = work()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.notes.append(f"{name} missing: {failures.of(error)[1]}")


def measure_cell(resolved: Resolved, slot: ModelSlot, counts: FlopCounts) -> Record:
    """Measure one cell. Any error of a library becomes a record with a status and a reason.

    The slot holds the model from cell to cell, and ``counts`` the FLOPs counted so far, which depend on the
    model and the shapes of a batch alone.
    """
    began, made, rejected, where = time.perf_counter(), Findings(), None, ""
    blank = blank_record(resolved, datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        with process_state.of_a_cell():
            _measure(resolved, slot, counts, made)
    except (KeyboardInterrupt, UserError):
        raise
    except BaseException as error:  # a panic in Rust, as in a tokenizer, is not an Exception
        status, reason = failures.of(error)
        if status == "failed" and isinstance(error, CallFailed) and resolved.dataset.pictures != (1, 1):
            status = "not_applicable"  # the model takes no prompt without an image, or with several
        made.record = {"status": status, "reason": reason}
        if status == "failed" and isinstance(error, CallFailed) and resolved.optimization.tried:
            rejected, where = error.inputs, failures.raised_in(error)
    if rejected is not None and _runs_plain(resolved, slot, rejected):
        made.record |= {"status": "unsupported", "reason": f"{where}: {reason}" if where else reason}
    if conditions := made.provenance.get("conditions"):
        made.provenance["other_load"] = conditions.other_load
    made.provenance |= {"seconds": time.perf_counter() - began, "stages": made.stages}
    provenance = blank.provenance.model_copy(update=made.provenance)
    return blank.model_copy(update={**made.record, "notes": tuple(made.notes), "provenance": provenance})


def _measure(resolved: Resolved, slot: ModelSlot, counts: FlopCounts, made: Findings) -> None:
    import torch

    cell = resolved.cell
    torch.set_num_threads(slots.threads())
    reason = resolved.entry.size_obstacle(cell.image_size, cell.interpolate)
    if reason := reason or _reduction_obstacle(resolved):
        raise NotApplicable(reason)
    if reason := _engine_obstacle(resolved):
        raise Unsupported(reason)
    with made.stage("samples"):
        samples, failed = choose(resolved)
    with made.stage("load"):
        if cell.repeat:
            slot.clear()  # a repeat begins as the first measurement did: with nothing in memory
        loaded = slot.get(loading.configuration(resolved))
    made.notes += loaded.notes
    made.provenance |= {
        "geometry": loaded.geometry,
        "template": loaded.template,
        "processor": loaded.processor_source,
        "threads": int(torch.get_num_threads()),
        "tuning": slots.tuning(),
        "attention": resolved.optimization.kernel(str(loaded.decoder.config._attn_implementation)),
    }
    if cell.measure in APART:
        APART[cell.measure](resolved, loaded, samples, failed, made)
        return
    with made.stage("samples"):
        batches = prepare(cell, loaded, samples, failed)
    del samples  # encoded pictures, which are not to be counted as memory of the model
    made.record["failed_samples"] = tuple(failed)
    (_profile if cell.measure == "layers" else _generate)(resolved, loaded, batches, made)
    made.extra("flops", partial(count, resolved, loaded, batches[0], counts))


def _reduction_obstacle(resolved: Resolved) -> str:
    """Return why the model's image tokens cannot be chosen as the cell asks; empty if they may."""
    reduction = resolved.optimization.reduction
    if reduction and resolved.cell.image_shape != "square":
        return "image tokens are chosen from a square of them, and the pictures keep their shape"
    return resolved.family.attention_obstacle if reduction and reduction.way == "attention" else ""


def _engine_obstacle(resolved: Resolved) -> str:
    """Return why the cell's engine cannot run it, from the names alone; empty if it has none or may."""
    engine, cell = resolved.optimization.of("engine"), resolved.cell
    if engine and cell.measure != "generation":
        return f"{engine} runs the model outside torch, where {cell.measure} cannot be measured"
    if engine and cell.batch_size > 1:
        return f"{engine} answers one question at a time; measure it with batch size 1"
    return resolved.family.gguf_obstacle if engine else ""


def _runs_plain(resolved: Resolved, slot: ModelSlot, inputs: Any) -> bool:
    """Return whether the model takes inputs without the optimization, which then is what cannot run here."""
    try:
        with process_state.of_a_cell():
            loaded = slot.get(loading.plain(loading.configuration(resolved)))
            Generator(loaded, limits(resolved.cell), {}, None)(inputs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return failures.of(error)[0] == "out_of_memory"  # then nothing is known of the inputs
    return True


def _generate(resolved: Resolved, loaded: Loaded, batches: Sequence[Batch], made: Findings) -> None:
    cell = resolved.cell
    reduced = batches if resolved.optimization.reduction else ()
    if any(prompt.images != 1 for batch in reduced for prompt in batch.prompts):
        raise NotApplicable("image tokens are chosen in prompts with one picture each")
    generate = Generator.of(resolved, loaded, [batch.inputs for batch in batches])
    with made.stage("meters"):
        window = timed(cell, generate, batches)
    made.stages["warm-up"], made.stages["window"] = window.warmup_s, window.timing.loop_s
    made.stages["meters"] -= window.warmup_s + window.timing.loop_s
    energy = window.meters.energy
    made.provenance |= {"sensors": energy.cards, "conditions": window.meters.conditions}
    made.record |= {
        "timing": window.timing,
        "energy": window.meters.readings,
        "energy_refused": energy.refused,
        "codecarbon": energy.emissions,
        "memory": window.meters.memory.usage,
        "compilation": process_state.compilation() if resolved.optimization.of("compilation") else None,
    }
    made.extra("memory", partial(memory_of, cell, loaded, window))
    if generate.reduce:
        made.extra("visual_tokens", partial(_left, loaded, generate.reduce, batches[0]))
    made.extra("answers", partial(score, cell, generate, batches, window.outputs))
    context = 0 if generate.reduce else getattr(loaded.decoder.config, "max_position_embeddings", 0) or 0
    made.notes += remarks(cell, made.record.get("answers", ()), context)
    made.extra("probe", partial(generate.probe, batches[0].inputs, window.heard))
    # For cells that show speed, and for optimizations, which may come nearer to the peak.
    original = optimizations.base_dtype(resolved.entry.base_dtype, cell.device)
    if cell.length == "fixed" or cell.optimization != original:
        made.extra("ceilings", partial(peak_rates.measured, cell.device, cell.dtype))


def _left(loaded: Loaded, reduce: Reducer, batch: Batch) -> VisualTokens | None:
    """Return what is left of the image tokens; what a processor writes between tiles is beside them."""
    seen = reduce.seen
    if seen is None or loaded.family.line_ends:
        return seen
    whole = encoding.image_tokens(batch.inputs, batch.prompts)[0]
    return seen.model_copy(update={"beside": whole - seen.of})


def _reuse(
    resolved: Resolved, loaded: Loaded, samples: Sequence[Sample], failed: list[FailedSample], made: Findings
) -> None:
    asked = reuse.pictures(resolved, loaded, samples, failed)
    made.record["failed_samples"] = tuple(failed)
    made.record["reused"], made.provenance["conditions"] = reuse.measured(resolved, loaded, asked)


def _preprocess(
    resolved: Resolved, loaded: Loaded, samples: Sequence[Sample], failed: list[FailedSample], made: Findings
) -> None:
    with made.conditions(resolved.cell.device):
        made.record["preprocessing"] = preprocessing.profile(resolved, loaded, samples, failed)
    made.record["failed_samples"] = tuple(failed)


APART = {"reuse": _reuse, "preprocessing": _preprocess}
"""What measures cells whose batches are not prepared beforehand, by what they measure."""


def _profile(resolved: Resolved, loaded: Loaded, batches: Sequence[Batch], made: Findings) -> None:
    inputs = batches[0].inputs
    with (
        made.conditions(resolved.cell.device), made.stage("window"),
        failures.calling(inputs), resolved.optimization.within(),
    ):  # fmt: skip
        made.record["layers"] = layers.profile(loaded, inputs)
