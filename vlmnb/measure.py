"""Cells to records: load, warm up, time, score, write. One cell at a time, each written at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlmnb import data, encoding, flops, identity, loading, machine, meters, models, quality, record
from vlmnb.data import Sample
from vlmnb.encoding import NotEnoughTokens, Prompt
from vlmnb.loading import Loaded, ModelSlot, NotApplicable, Unsupported
from vlmnb.record import Answer, FlopCount, Provenance, Record, Timing
from vlmnb.spec import Cell, Status

WARMUP_BATCHES = 2
"""Untimed batches before the window; the first pays for lazy initialization and compilation."""


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


@dataclass(frozen=True)
class Window:
    """What the timed window gave."""

    timing: Timing
    outputs: list[Any]
    energy: tuple[record.EnergyReading, ...]
    memory: record.MemoryUsage
    other_load: float


def cells(
    wanted: Sequence[Cell], results: Path, *, on_cell: Callable[[Cell, Record], None] | None = None
) -> list[Record]:
    """The records of cells: recorded ones are loaded, missing ones measured and written at once.

    Args:
        wanted: Cells, in the order in which they are to be measured.
        results: Folder of the records.
        on_cell: Called after each cell, outside every timed window.

    Returns:
        One record per cell, in the order of ``wanted``.
    """
    slot, counts = ModelSlot(), FlopCounts()
    records = []
    for cell in wanted:
        found = existing(cell, results)
        if found is None:
            found = measure(cell, slot, counts)
            record.write(found, results)
        if on_cell:
            on_cell(cell, found)
        records.append(found)
    slot.clear()
    return records


def existing(cell: Cell, results: Path) -> Record | None:
    """The record that answers for a cell here and now, if there is a readable one."""
    path = identity.record_path(cell, results)
    try:
        return record.read(path) if path.exists() else None
    except ValueError:
        return None


def measure(cell: Cell, slot: ModelSlot, counts: FlopCounts) -> Record:
    """Measure one cell. Whatever goes wrong becomes a record with its status and reason.

    Args:
        cell: What to measure.
        slot: Holds the model from cell to cell.
        counts: FLOPs already counted; they depend on the model and the shapes of a batch alone.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    entry = models.get(cell.model)
    base = Record(
        key=identity.key(cell),
        hardware=machine.describe().slug,
        cell=cell,
        status="ok",
        provenance=Provenance(
            code=identity.code_fingerprint(),
            weights=identity.weights_revision(cell),
            data=data.revision(cell.dataset),
            packages=identity.packages(),
            machine=machine.describe().model_dump(mode="json"),
            started_at=started,
        ),
    )
    if entry.native_image_size not in (None, cell.image_size):
        reason = f"the vision tower takes images of {entry.native_image_size} pixels a side and no other"
        return _without_numbers(base, "not_applicable", reason, clock)
    with _as_status() as outcome:
        loaded = slot.get(loading.configuration(cell))
        batches = prepare(cell, loaded)
        window = timed_window(cell, loaded, batches)
        answers = score(cell, loaded, batches, window.outputs)
        counted = count(cell, loaded, batches[0], counts)
        return base.model_copy(
            update={
                "timing": window.timing,
                "energy": window.energy,
                "memory": window.memory,
                "flops": counted,
                "answers": answers,
                "provenance": base.provenance.model_copy(
                    update={
                        "threads": _threads(),
                        "attention": loading.attention_in_use(loaded.model),
                        "other_load": window.other_load,
                        "seconds": time.perf_counter() - clock,
                    }
                ),
            }
        )
    slot.clear()
    return _without_numbers(base, outcome.status, outcome.reason, clock)


def prepare(cell: Cell, loaded: Loaded) -> list[Batch]:
    """All batches of a cell on the model's device, so that nothing is prepared in the timed window.

    Raises:
        NotApplicable: The model would see the images at another size than the cell says.
        NotEnoughTokens: The prompt budget cannot hold a question of the data set.
    """
    side = loaded.family.image_side(loaded.processor, cell.image_size)
    if side != cell.image_size:
        raise NotApplicable(
            f"the model cannot take a side of {cell.image_size} pixels; the nearest is {side}"
        )
    samples = data.load(cell.dataset, cell.samples, cell.seed)
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

    inputs = encoding.encode(loaded.family, loaded.processor, samples, prompts, cell.image_size)
    for name, value in inputs.items():
        kept = value.to(loaded.model.dtype) if torch.is_floating_point(value) else value
        inputs[name] = kept.to(cell.device)
    return inputs


def timed_window(cell: Cell, loaded: Loaded, batches: Sequence[Batch]) -> Window:
    """Generate every batch once, timing each; energy and memory are those of the whole window.

    Inside the window nothing is printed, saved or converted: a batch's inputs are on the device when its
    clock starts, and the device is synchronized before the clock starts and before it stops.
    """
    import torch

    limits = {"max_new_tokens": cell.max_new_tokens, "do_sample": False}
    if cell.length == "fixed":
        limits["min_new_tokens"] = cell.max_new_tokens
    latencies: list[float] = []
    outputs: list[Any] = []
    with torch.inference_mode():
        first_call_s = _warm_up(cell, loaded, batches, limits)
        with meters.EnergyMeter(cell.device) as energy, meters.MemoryMeter(cell.device) as memory:
            machine.neighbour_load()
            for batch in batches:
                meters.synchronize(cell.device)
                began = time.perf_counter()
                output = loaded.model.generate(**batch.inputs, **limits)
                meters.synchronize(cell.device)
                latencies.append(time.perf_counter() - began)
                outputs.append(output)
        other_load = machine.neighbour_load()
    timing = Timing(
        warmup_batches=WARMUP_BATCHES,
        latencies_s=tuple(latencies),
        batch_samples=tuple(len(batch.samples) for batch in batches),
        preprocess_s=tuple(batch.preprocess_s for batch in batches),
        first_call_s=first_call_s,
    )
    return Window(timing, outputs, energy.readings, memory.usage, other_load)


def count(cell: Cell, loaded: Loaded, batch: Batch, counts: FlopCounts) -> FlopCount:
    """FLOPs of one forward pass over a batch of prompts.

    Every row of a batch is padded to its longest prompt and does the same work, so the longest prompt is
    counted alone and multiplied by the batch; the result is the same and is had many times faster.
    """
    lengths = [prompt.text_tokens for prompt in batch.prompts]
    longest = lengths.index(max(lengths))
    one = encode(cell, loaded, batch.samples[longest : longest + 1], batch.prompts[longest : longest + 1])
    shapes = sorted((name, tuple(value.shape)) for name, value in one.items())
    known = (cell.model, cell.weights, str(shapes))
    if known not in counts:
        with loading.uncompiled(loaded.model):
            counts[known] = flops.count_forward(loaded.model, dict(one))
    single, rows = counts[known], len(batch.samples)
    return single.model_copy(
        update={
            "fvcore": None if single.fvcore is None else single.fvcore * rows,
            "torch": None if single.torch is None else single.torch * rows,
        }
    )


def _warm_up(cell: Cell, loaded: Loaded, batches: Sequence[Batch], limits: dict[str, Any]) -> float:
    """Generate the first batch and the longest one; seconds of the first call."""
    longest = max(batches, key=lambda batch: int(batch.inputs["input_ids"].shape[1]))
    began = time.perf_counter()
    loaded.model.generate(**batches[0].inputs, **limits)
    meters.synchronize(cell.device)
    first = time.perf_counter() - began
    for _ in range(WARMUP_BATCHES - 1):
        loaded.model.generate(**longest.inputs, **limits)
    meters.synchronize(cell.device)
    return first


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
    errors = quality.wer([answer.references[0] for answer in answers], texts)
    scores = quality.accuracy(
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


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


@dataclass
class _Outcome:
    status: Status = "failed"
    reason: str = ""


@contextlib.contextmanager
def _as_status() -> Iterator[_Outcome]:
    """Turn what stops a cell into a status and a one-line reason."""
    import torch

    outcome = _Outcome()
    try:
        yield outcome
    except NotEnoughTokens as error:
        outcome.status, outcome.reason = "not_enough_tokens", str(error)
    except NotApplicable as error:
        outcome.status, outcome.reason = "not_applicable", str(error)
    except Unsupported as error:
        outcome.status, outcome.reason = "unsupported", str(error)
    except (torch.OutOfMemoryError, MemoryError) as error:
        outcome.status, outcome.reason = "out_of_memory", " ".join(str(error).split()) or "out of memory"
    except RuntimeError as error:
        text = " ".join(str(error).split())
        full = "can't allocate memory" in text or "out of memory" in text
        outcome.status, outcome.reason = ("out_of_memory" if full else "failed"), f"RuntimeError: {text}"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError) as error:
        outcome.reason = f"{type(error).__name__}: {' '.join(str(error).split())}"


def _without_numbers(base: Record, status: Status, reason: str, clock: float) -> Record:
    seconds = base.provenance.model_copy(update={"seconds": time.perf_counter() - clock})
    return base.model_copy(update={"status": status, "reason": reason, "provenance": seconds})
