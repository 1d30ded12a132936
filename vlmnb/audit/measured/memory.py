"""Rules over memory: whose peak it is, what the cache holds, and that weights weigh the same everywhere."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.errors import UserError
from vlmnb.fit import shape
from vlmnb.records import content_key
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def memory_of_a_cpu_is_the_process(records: Sequence[Record]) -> Iterator[Finding]:
    """On a CPU the peak is that of the process, and neither is less than the weights in it."""
    for record in records:
        usage = record.memory
        if usage is None or record.cell.device.startswith("cuda") or usage.peak_bytes is None:
            continue
        told = {
            "Peak": usage.peak_bytes,
            "Peak of the process": usage.process_peak_bytes,
            "Before": usage.baseline_bytes,
            "Before, of the process": usage.process_baseline_bytes,
            "Weights": usage.weights_bytes,
        }
        two = usage.process_peak_bytes not in (None, usage.peak_bytes)
        two |= usage.process_baseline_bytes not in (None, usage.baseline_bytes)
        less = usage.weights_bytes is not None and usage.peak_bytes < usage.weights_bytes
        if two or less:
            yield finding(
                "error",
                [record],
                {name: f"{value} B" for name, value in told.items() if value is not None},
                "Memory of one process is told in two ways that differ."
                if two
                else "The process held less than the model's weights: the peak is in another unit or of "
                "another process, or memory was swapped out.",
                "How much memory the cell takes cannot be concluded from this record.",
            )


def cache_is_of_its_tokens(records: Sequence[Record]) -> Iterator[Finding]:
    """Keys and values take what the geometry says for the tokens of the largest batch."""
    for record in records:
        usage = record.memory
        expected = _cache_bytes(record)
        if usage is None or usage.cache_bytes is None or expected is None or usage.cache_bytes == expected:
            continue
        yield finding(
            "error",
            [record],
            {"Stored": f"{usage.cache_bytes} B", "By the stored tokens": f"{expected} B"},
            "Keys and values are not those of the tokens on record: tokens, precision or bytes were changed.",
            "Which of them cannot be told.",
        )


def weights_do_not_depend_on_the_work(records: Sequence[Record]) -> Iterator[Finding]:
    """One model in one precision and optimization has weights of one size, whatever it is asked."""
    first: dict[Hashable, Record] = {}
    for record in records:
        usage, cell, was = record.memory, record.cell, record.provenance
        if usage is None or usage.weights_bytes is None or _quantized(cell):
            continue  # a library may keep more beside packed weights once they were used
        resized = cell.image_size if cell.interpolate else 0
        key = (cell.model, was.weights, cell.device, cell.dtype, cell.optimization, resized,
               tuple(was.packages.get(name) for name in content_key.PACKAGES))  # fmt: skip
        other = first.setdefault(key, record)
        sizes = [
            (one.memory.weights_bytes, one.memory.decode_weights_bytes)
            for one in (other, record)
            if one.memory is not None
        ]
        within = usage.decode_weights_bytes is None or usage.decode_weights_bytes <= usage.weights_bytes
        if len(set(sizes)) > 1 or not within:
            yield finding(
                "error",
                [other, record] if other is not record else [record],
                {
                    f"{'First' if i == 0 else 'Then'}": f"{whole} B, {step} B of them read by a step"
                    for i, (whole, step) in enumerate(sizes)
                },
                "The weights of one model have two sizes, or a part of them is larger than the whole.",
                "Which size is right cannot be told.",
            )


def _cache_bytes(record: Record) -> int | None:
    """Bytes of keys and values after the last token of the largest batch; None where they are not known.

    A checkpoint may be of another geometry than the model it is named after. Quantized models may compute in
    another precision than the cell's, and guessed tokens may be kept beyond the answer.
    """
    cell = record.cell
    if _quantized(cell) or optimizations.of(cell).guesses or not record.answers:
        return None
    if record.provenance.geometry:
        return None
    try:
        decoder = shape.of(cell.model).decoder
    except (UserError, OSError):
        return None
    each = 2 * decoder.layers * decoder.kv_heads * decoder.head_size * ELEMENT_BYTES[cell.dtype]
    return int(max(each * rows * positions for rows, positions in _batches(record, cell)))


def _quantized(cell: Cell) -> bool:
    return bool(optimizations.of(cell).quantization)


def _batches(record: Record, cell: Cell) -> Iterator[tuple[int, int]]:
    """Rows and positions of each batch: the longest prompt, and the longest answer less its last token."""
    for start in range(0, len(record.answers), cell.batch_size):
        batch = record.answers[start : start + cell.batch_size]
        prompt = max(a.text_tokens + a.image_tokens for a in batch)
        yield len(batch), prompt + max(a.output_tokens for a in batch) - 1


RULES = rules(
    "measured", (memory_of_a_cpu_is_the_process, cache_is_of_its_tokens, weights_do_not_depend_on_the_work)
)
