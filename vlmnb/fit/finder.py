"""Which GPUs run which model: memory and work of every load that the book's finder offers, and the GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from vlmnb import models
from vlmnb.analysis import titles
from vlmnb.files import templates
from vlmnb.fit import bounds, gpus, memory, model_facts, predict, quantize, shape
from vlmnb.fit.memory import Load
from vlmnb.fit.quantize import Quantization
from vlmnb.fit.shape import Shape
from vlmnb.flops import formula
from vlmnb.models.entry import ModelEntry
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import DTYPES
from vlmnb.stats import formatting
from vlmnb.views import table
from vlmnb.views.table import Field, Table

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Tokens per sample, those that a model was trained for; 0 comes first: prompt and longest answer."""


def data(names: Iterable[str]) -> dict[str, Any]:
    """Return, as plain values for JSON, what each load takes and what each GPU has.

    ``models`` hold ``bytes`` by quantization, a row per batch of ``batches`` and a number per context, and
    ``work``, of which the browser makes the bound of ``bounds.bound``: FLOPs of the prompts' pass and of a
    step, bytes of both, and steps.
    """
    kinds = list(quantize.QUANTIZATIONS.values())
    listed = gpus.newest_first()
    return {
        "batches": BATCHES,
        "overhead": memory.OVERHEAD_BYTES,
        "quantizations": {kind.name: kind.summary for kind in kinds},
        "models": {name: _model(name) for name in names},
        "gpus": [
            {
                "usable": gpu.usable_bytes, "obstacles": [gpu.obstacle(kind) for kind in kinds],
                "bandwidth": gpu.bandwidth_gb_s * 1e9,
                "rates": [(bounds.matrix_rate(kind, gpu) or 0) * 1e12 for kind in kinds],
            }
            for gpu in listed
        ],
    }  # fmt: skip


def measured(records: Sequence[Record]) -> list[list[Any]]:
    """Return the newest records of GPUs that hold for a load of the finder: its image and its prompt.

    Each has a model, a quantization, a batch size, the place of a GPU, seconds per image, tokens of an
    answer, the record's key and the data set's title. Of the same load, the most usual comes first.
    """
    listed = [gpu.name for gpu in gpus.newest_first()]
    found, by_key = [], {record.key: record for record in records}
    for seen in sorted(predict.observations(records), key=lambda seen: _unusual(by_key[seen.key])):
        cell, answers = by_key[seen.key].cell, by_key[seen.key].answers
        if _at_base(by_key[seen.key], shape.of(cell.model).entry):
            tokens = round(sum(one.output_tokens for one in answers) / max(len(answers), 1))
            place, seconds = listed.index(seen.gpu.name), seen.latency_s / cell.batch_size
            found.append([
                cell.model, seen.quantization, cell.batch_size, place, seconds, tokens, seen.key,
                titles.dataset_title(cell.dataset),
            ])  # fmt: skip
    return found


def on_cpus(records: Sequence[Record]) -> list[list[Any]]:
    """Return the most usual record on a CPU of each model and batch size, of the finder's image and prompt.

    Each has a model, an optimization, a batch size, a machine, seconds per image, what the answers' tokens
    are, the record's key, the peak memory in bytes or None, and the data set's title.
    """
    known = models.registry()
    found: dict[tuple[str, int], Record] = {}
    ordered = sorted(records, key=lambda record: record.provenance.started_at)
    newest = {(record.hardware, record.cell): record for record in ordered if record.latency_s is not None}
    for record in sorted(newest.values(), key=_unusual):
        cell = record.cell
        if (
            cell.device != "cpu" or cell.measure != "generation" or cell.repeat
            or cell.optimization not in DTYPES or cell.model not in known
            or record.provenance.geometry
        ):  # fmt: skip
            continue
        if _at_base(record, known[cell.model]):
            found.setdefault((cell.model, cell.batch_size), record)
    return [
        [
            model, record.cell.optimization, batch, record.hardware, _seconds(record),
            _answers(record.cell, known[model]), record.key,
            record.memory.peak_bytes if record.memory else None, titles.dataset_title(record.cell.dataset),
        ]
        for (model, batch), record in sorted(found.items(), key=lambda one: one[0])
    ]  # fmt: skip


def _at_base(record: Record, entry: ModelEntry) -> bool:
    """Return whether image and prompt are the finder's; a processor may make every image one size."""
    same_image = record.cell.image_size in (entry.image_size, entry.base_image_size)
    return same_image and record.cell.seq_len == entry.seq_lens[0]


def _unusual(record: Record) -> tuple[object, ...]:
    """Return what is smaller the more a record is that of the pages: its data set, setting, answers, weights.

    Of two that are alike in these, the faster is the more usual.
    """
    cell, entry = record.cell, titles.entry_of(record.cell.model)
    base = entry and optimizations.base_dtype(entry.base_dtype, cell.device)
    dataset = entry and entry.speed_dataset
    return (
        cell.dataset != dataset, cell.optimization != base, cell.length != "natural",
        cell.weights != "pretrained", _seconds(record),
    )  # fmt: skip


def _answers(cell: Cell, entry: ModelEntry) -> str:
    """Return the tokens of a record's answers, and whether the bounds are for others."""
    tokens = f"{'exactly' if cell.length == 'fixed' else 'at most'} {cell.max_new_tokens} tokens"
    same = cell.max_new_tokens == entry.max_new_tokens
    return tokens if same else f"{tokens}, so not comparable with the bounds"


def _seconds(record: Record) -> float:
    return (record.latency_s or 0.0) / record.cell.batch_size


def memory_table(names: Iterable[str]) -> str:
    """Return the memory of each model by quantization at its base configuration and batch 1."""
    rows = []
    for name in names:
        model = shape.of(name)
        load = _load(model)
        cells = [
            Field(table.MISSING, why)
            if (why := quantize.obstacle(model, kind))
            else Field(formatting.gigabytes(memory.need(model, kind, load.under(model, kind)).total_bytes))
            for kind in quantize.QUANTIZATIONS.values()
        ]
        rows.append((Field(model.entry.title), *cells))
    caption = "GB (10^9 bytes) for one sample: weights, cache, activations and 0.5 GB of overhead"
    return table.render(Table(caption, ("Model", *quantize.QUANTIZATIONS), tuple(rows)))


def computed_table(names: Iterable[str], batch_size: int) -> str:
    """Return what the geometry alone says of models at their base configuration: tokens, FLOPs and memory."""
    columns = (
        "Model", "Parameters", "Image tokens", "FLOPs of a prompt", "Weights, fp16", "Keys and values",
        "Activations",
    )  # fmt: skip
    half, rows = quantize.get("fp16"), []
    for name in names:
        model = shape.of(name)
        load = _load(model).model_copy(update={"batch_size": batch_size})
        flops = formula.prefill(
            model.family, model.config, model.side(load.image_size), load.prompt_tokens(model)
        )
        needed = memory.need(model, half, load)
        sizes = (needed.weights_bytes + needed.vision_bytes, needed.cache_bytes, needed.activations_bytes)
        rows.append(
            (
                Field(model.entry.title),
                Field(formatting.format_si(sum(model.parameters.values()), digits=3)),
                Field(str(model.image_tokens(load.image_size))),
                Field(formatting.format_si(flops.total, digits=4)),
                *(Field(formatting.format_si(size, "B", 3)) for size in sizes),
            )
        )
    caption = (
        f"By formula, not measured: one prompt with its image; keys, values and activations of {batch_size}"
    )
    return table.render(Table(caption, columns, tuple(rows)))


def gpu_table() -> str:
    """Return all GPUs, the newest first, with columns for the answer, which the page fills."""
    columns = (
        "GPU", "Runs it", "Free, GB", "Time per image", "Cost of 1,000 images", "GiB", "GB/s", "fp16 TFLOP/s",
        "W", "USD", "Kind", "Year",
    )  # fmt: skip
    rows = []
    for gpu in gpus.newest_first():
        figures = (gpu.memory_gib, gpu.bandwidth_gb_s, gpu.fp16_tflops, gpu.power_w, gpu.price_usd)
        numbers = [
            table.without("not known") if one is None else Field(f"{one:g}") for one in (*figures, gpu.year)
        ]
        unknown = table.without("shown for what you choose above, which needs JavaScript")
        answers = (replace(unknown, words=True), unknown, unknown, unknown)
        old = f"the torch of PyPI needs CUDA compute capability {gpus.CURRENT_CUDA}, or a GPU of that time"
        kind = Field(f"{gpu.segment}, old", old, words=True) if gpu.old else Field(gpu.segment, words=True)
        rows.append((Field(gpu.title), *answers, *numbers[:-1], kind, numbers[-1]))
    of = {"catalogue": gpus.catalogue(), "address": gpus.sources()["page"].address, "bounds": False}
    notes = templates.render("vlmnb.fit", "gpu_notes.txt.j2", **of).strip()
    return table.render(Table(notes, columns, tuple(rows), "vlmnb-filter vlmnb-sticky"))


def _load(of: Shape) -> Load:
    """Return one sample of the base configuration."""
    entry = of.entry
    return Load(image_size=entry.image_size, text_tokens=entry.seq_lens[0], new_tokens=entry.max_new_tokens)


def _model(name: str) -> dict[str, Any]:
    model = shape.of(name)
    load = _load(model)
    asked = load.prompt_tokens(model) + load.new_tokens
    contexts = [0, *(tokens for tokens in CONTEXTS if asked <= tokens <= model.decoder.context)]
    sizes = {
        kind.name: [
            [
                memory.need(model, kind, load.model_copy(
                    update={"batch_size": batch, "context": context}).under(model, kind)).total_bytes
                for context in contexts
            ]
            for batch in BATCHES
        ]
        for kind in quantize.QUANTIZATIONS.values()
    }  # fmt: skip
    obstacles = {kind.name: quantize.obstacle(model, kind) for kind in quantize.QUANTIZATIONS.values()}
    published = model_facts.published().get(name)
    return {
        "title": model.entry.title, "licence": published.licence if published else "",
        "contexts": contexts, "tokens": asked, "bytes": sizes,
        "image": load.image_size, "answer": load.new_tokens, "work": {
            kind.name: [
                list(_work(model, kind, load.model_copy(update={"batch_size": batch}))) for batch in BATCHES
            ]
            for kind in quantize.QUANTIZATIONS.values()
        },
        "obstacles": {kind: why for kind, why in obstacles.items() if why},
    }  # fmt: skip


def _work(model: Shape, kind: Quantization, load: Load) -> tuple[int, ...]:
    found = bounds.work(model, kind, load.under(model, kind))
    return found.prefill_flops, found.step_flops, found.prefill_bytes, found.step_bytes, found.steps
