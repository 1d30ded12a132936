"""Cells to records: load, warm up, time, score, write. One cell at a time, each written at once."""

from __future__ import annotations

import functools
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlmnb import models
from vlmnb.data import catalogue
from vlmnb.data.catalogue import Sample
from vlmnb.device import slots
from vlmnb.device.conditions import ConditionsMeter
from vlmnb.device.state import Conditions
from vlmnb.flops import counters, flop_count, formula, meta
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.measure import compilation, encoding, failures, layers, loading, peak_rates
from vlmnb.measure.encoding import Prompt
from vlmnb.measure.loading import Loaded, ModelSlot, NotApplicable
from vlmnb.measure.protocol import Generator, timed
from vlmnb.meters import codecarbon_model
from vlmnb.meters.readings import SensorCard
from vlmnb.models import geometry
from vlmnb.quality import metrics
from vlmnb.records import claims, content_key
from vlmnb.records.answer import Answer
from vlmnb.records.provenance import Provenance
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.types import Status

FlopCounts = dict[tuple[str, str, str], FlopCount]
"""FLOPs by model, weights and shapes of the batch."""


@dataclass(frozen=True)
class Batch:
    """One batch, ready to generate from.

    Attributes:
        samples: What is asked.
        prompts: The same, cut to the prompt budget.
        inputs: Tensors on the model's device.
        preprocess_s: Seconds of image processing and tokenization.
    """

    samples: Sequence[Sample]
    prompts: Sequence[Prompt]
    inputs: Any
    preprocess_s: float


def measure_cells(
    wanted: Sequence[Cell], results: Path, *, on_cell: Callable[[Cell, Record], None] | None = None
) -> list[Record]:
    """The records of cells: recorded ones are loaded, missing ones measured and written at once.

    Args:
        wanted: Cells, in the order in which they are to be measured.
        results: Folder of the records.
        on_cell: Called after each cell, outside every timed window.

    Returns:
        One record per cell, in the order of ``wanted``.

    Raises:
        UserError: A checkpoint or a data set that a missing cell needs is not there or cannot be used. That
            is found out before a model is loaded, and no record says so: once it is there, the cells are
            measured.
    """
    slot, counts = ModelSlot(), FlopCounts()
    records: list[Record] = []
    with claims.Desk(wanted, results) as at:
        missing = [cell for cell in wanted if at.recorded(cell) is None]
        loading.require(missing)
        require_data(missing)
        _get_ready(missing)
        for cell in wanted:
            found = at.recorded(cell)
            if found is None:
                with at.claimed(cell):
                    found = at.recorded(cell)  # another process may have measured it while this one waited
                    if found is None:
                        _set_threads()
                        found = at.ran_out(cell, records) or measure_cell(cell, slot, counts)
                        at.write(found)
            if on_cell:
                on_cell(cell, found)
            records.append(found)
        slot.clear()
    return records


def _get_ready(cells: Sequence[Cell]) -> None:
    """What takes seconds and needs no device: done while another notebook may still have it."""
    with codecarbon_model.naming_the_cpu():
        loading.import_classes(cells)
    if any(cell.device == "cpu" for cell in cells):
        codecarbon_model.detect(None)
    gc.collect()
    # Garbage is no longer looked for among what was imported, neither between cells, where it would take
    # longer than loading a small model, nor, whenever Python chooses to, in a timed window.
    gc.freeze()


def measure_cell(cell: Cell, slot: ModelSlot, counts: FlopCounts) -> Record:
    """Measure one cell. Whatever goes wrong becomes a record with its status and reason.

    Args:
        cell: What to measure.
        slot: Holds the model from cell to cell.
        counts: FLOPs already counted; they depend on the model and the shapes of a batch alone.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    base = content_key.blank(cell, started)
    if reason := models.get(cell.model).size_obstacle(cell.image_size, cell.interpolate):
        return _without_numbers(base, "not_applicable", reason, clock)
    if cell.repeat:
        slot.clear()  # a repeat begins where the first measurement did: with nothing in memory
    with failures.told(optimizations.of(cell)) as outcome:
        loaded = slot.get(loading.configuration(cell))
        base = content_key.of_geometry(base, loaded.geometry)
        batches = prepare(cell, loaded)
        if cell.measure == "layers":
            around = ConditionsMeter(cell.device)
            around.start()
            with loaded.configuration.optimization.within():
                profile = layers.profile(cell, loaded, batches[0].inputs)
            around.stop()
            counted = count(cell, loaded, batches[0], counts)
            measured: dict[str, Any] = {"layers": profile, "flops": counted}
            return base.model_copy(
                update={**measured, "provenance": _seen(base, loaded, around.conditions(), clock)}
            )
        generate = Generator.of(cell, loaded, [batch.inputs for batch in batches])
        window = timed(
            generate, [batch.inputs for batch in batches], [len(batch.samples) for batch in batches]
        )
        preprocess_s = tuple(batch.preprocess_s for batch in batches)
        answers = score(cell, loaded, batches, window.outputs)
        counted = count(cell, loaded, batches[0], counts)
        return base.model_copy(
            update={
                "timing": window.timing.model_copy(update={"preprocess_s": preprocess_s}),
                "energy": window.meters.readings,
                "energy_refused": window.meters.energy.refused,
                "codecarbon": window.meters.energy.emissions,
                "memory": window.memory,
                "flops": counted,
                "answers": answers,
                "probe": generate.probe(batches[0].inputs),
                "compilation": compilation.report() if loaded.configuration.optimization.compiled else None,
                "ceilings": peak_rates.measured(cell.device, cell.dtype) if _held_against(cell) else None,
                "provenance": _seen(
                    base, loaded, window.meters.conditions, clock, window.meters.energy.cards
                ),
            }
        )
    slot.clear()
    return _without_numbers(base, outcome.status, outcome.reason, clock)


def _held_against(cell: Cell) -> bool:
    """Whether the ceilings are measured beside a cell: for speed, and for what may come nearer to them."""
    original = optimizations.base_dtype(models.get(cell.model).base_dtype, cell.device)
    return cell.length == "fixed" or cell.optimization != original


def _seen(
    base: Record,
    loaded: Loaded,
    conditions: Conditions | None,
    clock: float,
    cards: tuple[SensorCard, ...] = (),
) -> Provenance:
    """The provenance with what is known only after measuring."""
    own = str(loaded.model.model.language_model.config._attn_implementation)
    return base.provenance.model_copy(
        update={
            "threads": _threads(),
            "attention": loaded.configuration.optimization.kernel(own),
            "processor": loaded.processor_source,
            "other_load": conditions.other_load if conditions else None,
            "conditions": conditions,
            "sensors": cards,
            "seconds": time.perf_counter() - clock,
        }
    )


def require_data(cells: Sequence[Cell]) -> None:
    """Look up the data that cells need, so that a missing set stops a run before a model is loaded.

    Raises:
        UserError: A data set is not there, or has too few samples.
    """
    most: dict[tuple[str, int], int] = {}
    for cell in cells:
        asked = (cell.dataset, cell.seed)
        most[asked] = max(most.get(asked, 0), cell.samples)
    for (name, seed), samples in most.items():
        catalogue.get(name).choose(samples, seed)


def prepare(cell: Cell, loaded: Loaded) -> list[Batch]:
    """All batches of a cell on the model's device, so that nothing is prepared in the timed window.

    Raises:
        NotApplicable: The model would see the images at another size than the cell says.
        NotEnoughTokens: The prompt budget cannot hold a question of the data set.
    """
    side = loaded.sizing.image_side(loaded.processor, cell.image_size)
    if side != cell.image_size:
        raise NotApplicable(
            f"the model cannot take a side of {cell.image_size} pixels; the nearest is {side}"
        )
    samples = catalogue.load(cell.dataset, cell.samples, cell.seed)
    batches = []
    for start in range(0, len(samples), cell.batch_size):
        part = samples[start : start + cell.batch_size]
        began = time.perf_counter()
        prompts = [encoding.fit(loaded.processor, sample.prompt, cell.seq_len) for sample in part]
        inputs = encode(cell, loaded, part, prompts)
        batches.append(Batch(part, prompts, inputs, time.perf_counter() - began))
    return batches


def encode(cell: Cell, loaded: Loaded, samples: Sequence[Sample], prompts: Sequence[Prompt]) -> Any:
    """Tensors of a batch on the model's device, floating-point ones in its precision."""
    import torch

    inputs = encoding.encode(loaded.sizing, loaded.processor, samples, prompts, cell.image_size)
    for name, value in inputs.items():
        kept = value.to(loaded.model.dtype) if torch.is_floating_point(value) else value
        inputs[name] = kept.to(cell.device)
    return inputs


def count(cell: Cell, loaded: Loaded, batch: Batch, counts: FlopCounts) -> FlopCount:
    """FLOPs of one forward pass over a batch of prompts.

    Every row of a batch is padded to its longest prompt and does the same work, so the longest prompt is
    counted alone and multiplied by the batch: the result is the same, for the work of one row.
    """
    lengths = [prompt.text_tokens for prompt in batch.prompts]
    longest = lengths.index(max(lengths))
    one = encode(cell, loaded, batch.samples[longest : longest + 1], batch.prompts[longest : longest + 1])
    shapes = sorted((name, tuple(value.shape)) for name, value in one.items())
    known = (cell.model, cell.weights, str(shapes))
    if known not in counts:
        counts[known] = _three_ways(cell, loaded, one)
    return counts[known].times(len(batch.samples))


def _three_ways(cell: Cell, loaded: Loaded, one: Any) -> FlopCount:
    """FLOPs of one prompt and of the token after it: formula, torch and fvcore, held against each other."""
    counted = _count(loaded, one)
    config, tokens = loaded.model.config, int(one["input_ids"].shape[1])
    # A tower of one size is given its own, whatever size was asked for.
    side = int(one["pixel_values"].shape[-1]) if loaded.entry.native_image_size else cell.image_size
    by_formula = formula.prefill(loaded.family, config, side, tokens, 1)
    made = counted.model_copy(
        update={
            "formula": by_formula.total,
            "prefill_formula": by_formula,
            "decode_formula": formula.decode(loaded.family, config, tokens, 1),
            "decode_torch": _decode_step(cell.model, config.to_json_string(use_diff=False), tokens),
            "unused": formula.unused(loaded.family, config, side, 1),
        }
    )
    notes = [counted.note] * bool(counted.note) + flop_count.disagreements(made)
    return made.model_copy(update={"note": "; ".join(notes)})


@functools.lru_cache(maxsize=256)
def _decode_step(model: str, config: str, tokens: int) -> Parts:
    """One row's decoding step after so many tokens, counted on the geometry alone.

    That is the loaded model's ``config``, as JSON: a checkpoint need not have the geometry of its name.
    """
    return meta.decode(_shapes(model, config), tokens, 1)


@functools.lru_cache(maxsize=1)
def _shapes(model: str, config: str) -> Any:
    return meta.build(model, geometry.of(json.loads(config)))


def _count(loaded: Loaded, inputs: Any) -> FlopCount:
    """The count of the plain model: the counters do not see the products of quantized layers."""
    optimization = loaded.configuration.optimization
    if not optimization.quantization:
        with compilation.uncompiled(loaded.model):
            return counters.count_forward(loaded.model, dict(inputs), loaded.family.places)
    plain = loading.load(loaded.configuration.model_copy(update={"settings": (optimization.attention,)}))
    return counters.count_forward(plain.model, dict(inputs), loaded.family.places)


def score(cell: Cell, loaded: Loaded, batches: Sequence[Batch], outputs: Sequence[Any]) -> tuple[Answer, ...]:
    """Decode the outputs and set them against the references, sample by sample."""
    tokenizer = loaded.processor.tokenizer
    answers: list[Answer] = []
    for batch, output in zip(batches, outputs, strict=True):
        generated = output[:, batch.inputs["input_ids"].shape[1] :].tolist()
        image_tokens = encoding.image_tokens(batch.inputs, batch.prompts)
        for i, (sample, prompt) in enumerate(zip(batch.samples, batch.prompts, strict=True)):
            answers.append(
                Answer(
                    sample_id=sample.sample_id,
                    prompt=prompt.text,
                    answer=tokenizer.decode(generated[i], skip_special_tokens=True).strip(),
                    references=sample.references,
                    choices=sample.choices,
                    text_tokens=prompt.text_tokens,
                    image_tokens=image_tokens[i],
                    output_tokens=_length(generated[i], loaded.model.generation_config),
                )
            )
    if cell.weights == "random" or cell.length == "fixed":
        return tuple(answers)
    texts = [answer.answer for answer in answers]
    errors = metrics.wer([answer.references[0] for answer in answers], texts)
    scores = metrics.accuracy(
        cell.dataset, [a.references for a in answers], texts, [a.choices for a in answers]
    )
    return tuple(
        answer.model_copy(
            update={
                "word_errors": errors.errors[i],
                "reference_words": errors.reference_words[i],
                "score": scores[i] if scores is not None else None,
            }
        )
        for i, answer in enumerate(answers)
    )


def _length(ids: Sequence[int], settings: Any) -> int:
    """Generated tokens up to and with the end mark; what follows it is padding."""
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))


def _set_threads() -> None:
    import torch

    torch.set_num_threads(slots.threads())


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _without_numbers(base: Record, status: Status, reason: str, clock: float) -> Record:
    seconds = base.provenance.model_copy(update={"seconds": time.perf_counter() - clock})
    return base.model_copy(update={"status": status, "reason": reason[:2000], "provenance": seconds})
