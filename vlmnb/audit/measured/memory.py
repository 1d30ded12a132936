"""Check whose peak memory it is, what the cache contains, and that weights have one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlmnb.audit import expected_flops
from vlmnb.audit.rule import Draft, found, grouped, record_rule, rule
from vlmnb.fit import quantize
from vlmnb.records import content_key
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
SCALE_BYTES = 4
"""Of the scale of a layer's keys, and of its values, where these are stored in 8 bits."""

NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

SHARE_OF_PEAK = 0.01
"""Share by which parts of memory may exceed the peak: allocators round blocks."""

TYPE, BUFFERS = 0.02, 20_000
"""Share and bytes by which weights may differ from those of their type: padding, buffers of positions."""

STATE = 0.01
"""Share of keys and values that llama.cpp's copy of its state takes for positions and sizes."""


@record_rule
def peak_holds_its_parts(record: Record) -> Iterator[Draft]:
    """Peak memory is at least the memory before the window, and on a GPU at least weights plus cache."""
    memory = record.memory
    if memory is None or memory.peak_bytes is None:
        return
    parts = {"Baseline": memory.baseline_bytes}
    weights, cache = memory.weights_bytes, memory.cache_bytes
    if record.cell.device.startswith("cuda") and weights is not None and cache is not None:
        parts["Weights and cache"] = weights + cache
    room = memory.peak_bytes * (1 + SHARE_OF_PEAK)
    wrong = {name: size for name, size in parts.items() if size is not None and size > room}
    reserved = memory.reserved_peak_bytes
    if reserved is not None and reserved * (1 + SHARE_OF_PEAK) < memory.peak_bytes:
        wrong["Reserved by the allocator"] = reserved
    if wrong:
        sizes = {"Peak": memory.peak_bytes} | wrong
        yield found(figures={name: f"{size} B" for name, size in sizes.items()})


@record_rule
def memory_of_a_cpu_is_the_process(record: Record) -> Iterator[Draft]:
    """On a CPU the peak is that of the process, and neither is below the weights."""
    usage = record.memory
    if usage is None or record.cell.device.startswith("cuda") or usage.peak_bytes is None:
        return
    two = usage.process_peak_bytes not in (None, usage.peak_bytes)
    two |= usage.process_baseline_bytes not in (None, usage.baseline_bytes)
    if two or (usage.weights_bytes is not None and usage.peak_bytes < usage.weights_bytes):
        yield found("two figures" if two else "below the weights")


@record_rule
def cache_is_of_its_tokens(record: Record) -> Iterator[Draft]:
    """Keys and values have the size that the geometry gives for the tokens of the largest batch."""
    stored, expected = record.memory.cache_bytes if record.memory else None, _cache_bytes(record)
    if stored is None or expected is None:
        return
    headers = STATE * expected if optimizations.of(record.cell).of("engine") else 0
    if not expected <= stored <= expected + headers:
        yield found(expected=expected)


@rule("measured")
def weights_do_not_depend_on_the_work(records: Sequence[Record]) -> Iterator[Draft]:
    """One model in one precision and optimization has weights of one size in all cells."""
    # A library may keep more than the packed weights once they were used.
    known = [r for r in records if r.memory and r.memory.weights_bytes is not None and not _quantized(r.cell)]
    for first, *others in grouped(known, _same_weights):
        for record in [first, *others]:
            before, then = _weight_sizes(first), _weight_sizes(record)
            whole, step = then
            if before != then or (step is not None and step > whole):
                yield found(about=[first, record], before=before, then=then)


@record_rule
def weights_have_the_bytes_of_their_type(record: Record) -> Iterator[Draft]:
    """Weights take the bytes of their storage type: precision of the cell, packed by its quantization.

    llama.cpp chooses a type for each tensor: the bytes of all types are those of the weights.
    """
    cell, stored = record.cell, record.memory.weights_bytes if record.memory else None
    known = expected_flops.geometry(cell.model)
    if stored is None or known is None or record.provenance.geometry or cell.interpolate:
        return
    settings = optimizations.of(cell).settings
    kind = next((s.stored_as or s.name for s in settings if s.kind == "quantization"), "")
    each = (
        quantize.packed_bytes(one, kind) if kind and quantize.is_replaced(one)
        else one.count * ELEMENT_BYTES[cell.dtype] for one in known.tensors
    )  # fmt: skip
    expected = sum(each)
    by_type: dict[str, int] = record.memory.weights_by_type if record.memory else {}
    others = sum(size for name, size in by_type.items() if not kind and name != NAMES[cell.dtype])
    engine = bool(optimizations.of(cell).of("engine"))
    mixed = bool(by_type) and (sum(by_type.values()) != stored or (not engine and others > TYPE * stored))
    if mixed or (not engine and abs(stored - expected) > max(TYPE * expected, BUFFERS)):
        types = ", ".join(f"{size} B of {name}" for name, size in by_type.items()) or None
        yield found(stored=stored, expected=expected, kind=kind or cell.dtype, types=types)


def _same_weights(record: Record) -> tuple[object, ...]:
    cell, was = record.cell, record.provenance
    resized = cell.image_size if cell.interpolate else 0
    packages = tuple(was.packages.get(name) for name in content_key.PACKAGES)
    return cell.model, was.weights, cell.device, cell.dtype, cell.optimization, resized, packages


def _weight_sizes(record: Record) -> tuple[int, int | None]:
    """Return the bytes of all weights, and of those that a decoding step reads."""
    assert record.memory is not None
    return record.memory.weights_bytes or 0, record.memory.decode_weights_bytes


def _cache_bytes(record: Record) -> int | None:
    """Return the bytes of keys and values after the last token of the largest batch; None if unknown.

    A checkpoint may have another geometry than the model it is named after. Quantized models may compute in
    another precision than the cell's, and guessed tokens may be kept beyond the answer.
    """
    cell = record.cell
    known = expected_flops.geometry(cell.model)
    if known is None or record.provenance.geometry or not record.answers:
        return None
    if _quantized(cell) or optimizations.of(cell).guesses:
        return None
    each, scales, sizes = ELEMENT_BYTES[cell.dtype], 0, []
    if optimizations.of(cell).cache_type:
        each, scales = 1, 2 * SCALE_BYTES * known.decoder.layers
    for start in range(0, len(record.answers), cell.batch_size):
        batch = record.answers[start : start + cell.batch_size]
        # The last token of an answer is not kept.
        tokens = max(a.text_tokens + a.image_tokens for a in batch) + max(a.output_tokens for a in batch) - 1
        sizes.append(len(batch) * known.decoder.cache_bytes(tokens, each))
    return max(sizes) + scales


def _quantized(cell: Cell) -> bool:
    return bool(optimizations.of(cell).of("quantization"))
