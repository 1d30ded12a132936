"""Records as flat table rows: what the export writes and the comparison reads."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmnb.files import plain_yaml
from vlmnb.meters.readings import headline
from vlmnb.quality import metrics
from vlmnb.stats import intervals

if TYPE_CHECKING:
    from vlmnb.flops.flop_count import FlopCount
    from vlmnb.meters.readings import MemoryUsage
    from vlmnb.records.parts import Answer, Preprocessing, Provenance, Reused, Timing
    from vlmnb.records.record import Record
    from vlmnb.spec.cell import Cell

MEANINGS: dict[str, str | None] = plain_yaml.load(Path(__file__).with_suffix(".yaml"))
"""What each column holds, by its name; of the ends of an interval nothing."""

EXPORT_COLUMNS: tuple[str, ...] = tuple(MEANINGS)
"""Names of the columns in their order."""

_EMPTY: dict[str, Any] = dict.fromkeys(EXPORT_COLUMNS)

FEWEST_FOR_P90 = 36
"""With fewer batches the 90 % quantile has no interval of 95 %: 0.9**35 > 0.025."""


_NO_RATES = dict.fromkeys(name for name in EXPORT_COLUMNS if "_per_s" in name or name.startswith("latency_"))
_NO_ENDS = (None, None)
_counts = operator.attrgetter("image_tokens", "images", "text_tokens", "output_tokens")


def row(record: Record) -> dict[str, Any]:
    """Return a record as one flat row of ``EXPORT_COLUMNS``; what was not measured is None."""
    found = _EMPTY.copy()
    found |= _asked(record)
    found |= costs(record)
    found |= _answered(record, record.answers)
    found |= _surroundings(record.provenance)
    found["latency_disturbed"] = None if record.latency is None else record.batches_under_load
    found["notes"] = record.remarks or None
    found["flops"] = record.flops_per_batch
    if record.timing:
        found |= _timed(record, record.timing)
    if record.memory:
        found |= _memory(record.memory)
    if record.flops:
        found |= _flops(record.flops)
    if record.reported:
        found["reported_in"] = record.reported.places
    if record.reused:
        found |= _reused(record.reused, record.cell)
    if record.preprocessing:
        found |= _prepared(record.preprocessing, record.cell)
    return found if len(found) == len(_EMPTY) else _in_order(found)


def values(record: Record) -> tuple[list[Any], str]:
    """Return the values of :func:`row` without their names, and why a record has none but its cell's."""
    try:
        return list(row(record).values()), ""
    except (ValueError, ArithmeticError, TypeError) as error:
        why = f"no numbers can be computed: {error or type(error).__name__}"
        found = _asked(record) | {"notes": why}
        return list(_in_order(found).values()), why


def costs(record: Record) -> dict[str, Any]:
    """Return the columns of latency, throughput and energy, which are quick to make."""
    latency, energy, batches = record.latency, record.headline_energy, record.full_batches_s
    found: dict[str, Any] = {
        **_NO_RATES,
        "latency_s": record.latency_s,
        "energy_j_per_sample": record.energy_j_per_sample,
        "energy_method": record.energy_method,
        "energy_net_j_per_sample": record.energy_net_j_per_sample,
        "energy_j_per_batch": record.energy_j_per_batch,
        "energy_j_per_output_token": record.energy_j_per_output_token,
        "energy_source": energy and energy.source,
        "energy_power_w": energy and energy.power_w,
        "energy_window_s": energy and energy.window_s,
        "energy_reason": record.energy_reason or None,
    }
    if latency:
        found |= {
            "latency_low_s": latency.low,
            "latency_high_s": latency.high,
            "latency_n": latency.n,
            "latency_confidence": latency.confidence,
            "latency_verdict": intervals.verdict(batches),
            **_interval("samples_per_s", record.samples_per_s),
            **_interval("output_tokens_per_s", record.output_tokens_per_s),
        }
    return found


def _asked(record: Record) -> dict[str, Any]:
    """Return the columns of the cell, and of whose record it is."""
    cell = record.cell
    return {
        "source": record.source,
        "hardware": record.hardware,
        "status": record.status,
        "reason": record.reason,
        "key": record.key,
        "model": cell.model,
        "weights": cell.weights,
        "dataset": cell.dataset,
        "samples": cell.samples,
        "device": cell.device,
        "dtype": cell.dtype,
        "optimization": cell.optimization,
        "batch_size": cell.batch_size,
        "image_size": cell.image_size,
        "seq_len": cell.seq_len,
        "max_new_tokens": cell.max_new_tokens,
        "length": cell.length,
        "seed": cell.seed,
        "repeat": cell.repeat,
        "image_shape": cell.image_shape,
        "reuse": cell.reuse or None,
        "questions": cell.questions or None,
    }


def _answered(record: Record, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the columns of tokens and quality."""
    wer_low, wer_high = record.wer_interval or _NO_ENDS
    accuracy_low, accuracy_high = record.accuracy_interval or _NO_ENDS
    found: dict[str, Any] = {
        "wer": record.wer,
        "wer_low": wer_low,
        "wer_high": wer_high,
        "accuracy": record.accuracy,
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "quality_note": record.quality_note or None,
        "degenerate": record.degenerate or None,
        "failed_samples": len(record.failed_samples) or None,
    }
    if answers:
        image_tokens, images, text_tokens, output_tokens = zip(*map(_counts, answers), strict=True)
        found["image_tokens"], found["images"] = _middle(image_tokens), _middle(images)
        found["text_tokens"], found["output_tokens"] = _middle(text_tokens), sum(output_tokens) / len(answers)
    if record.accuracy is not None:
        found["accuracy_guessing"] = metrics.chance_level([a.choices for a in answers])
    for name, score in record.scores.items():
        found |= _with_ends(name, score)
    return found


def _surroundings(provenance: Provenance) -> dict[str, Any]:
    """Return the columns of what the numbers came from."""
    conditions = provenance.conditions
    return {
        "contaminated": conditions and conditions.contaminated,
        "other_geometry": provenance.geometry or None,
        "code": provenance.code or None,
        "other_load": provenance.other_load,
        "threads": provenance.threads,
        "tuning": " ".join([f"{name}={value}" for name, value in provenance.tuning.items()]) or None,
        "started_at": provenance.started_at or None,
    }


def _timed(record: Record, timing: Timing) -> dict[str, Any]:
    """Return the columns of passes and phases; those of the latency are in :func:`costs`."""
    found: dict[str, Any] = {
        "passes": timing.passes,
        "clean_passes": record.clean_passes,
        "first_call_s": timing.first_call_s,
        "harness_share": timing.harness_share,
        "preprocess_s": _middle(timing.preprocess_s),
        "vision_s": _median(record.phase("vision_s")),
        "prefill_s": _median(record.phase("prefill_s")),
        "decode_s": _median(record.phase("decode_s")),
        **_interval("ttft", record.ttft_s, "_s"),
        **_interval("tpot", record.tpot_s, "_s"),
    }
    batches = record.full_batches_s
    if len(batches) >= FEWEST_FOR_P90 and (p90 := intervals.quantile_interval(batches, 0.9)):
        found |= _with_ends("latency_p90", p90, "_s")
    return found


def _in_order(found: dict[str, Any]) -> dict[str, Any]:
    """Return all columns in their order, those that were not found with None, and nothing else."""
    row = _EMPTY | found
    return row if len(row) == len(_EMPTY) else {column: row[column] for column in EXPORT_COLUMNS}


def _memory(memory: MemoryUsage) -> dict[str, Any]:
    """Return the columns of memory.

    A process keeps what it once took: the difference that is known of a CPU is under its own name.
    """
    types = memory.cache_by_type
    return {
        "peak_bytes": memory.peak_bytes,
        "peak_bytes_over_model": memory.reserved_peak_bytes and memory.over_model_bytes(),
        "reserved_peak_bytes": memory.reserved_peak_bytes,
        "reserved_peak_bytes_over_model": memory.over_model_bytes("reserved_"),
        "process_peak_bytes": memory.process_peak_bytes,
        "process_peak_bytes_over_model": memory.over_model_bytes("process_"),
        "weights_bytes": memory.weights_bytes,
        "cache_bytes": memory.cache_bytes,
        "cache_type": max(types, key=lambda name: types[name]) if types else None,
    }


def _flops(flops: FlopCount) -> dict[str, Any]:
    """Return the columns of counts of FLOPs."""
    return {
        "flops_fvcore": flops.fvcore,
        "flops_torch": flops.torch,
        "flops_formula": flops.formula,
        "flops_used": flops.used,
        "flops_per_token": flops.per_token,
    }


def _reused(found: Reused, cell: Cell) -> dict[str, Any]:
    """Return the columns of a picture that several questions are about; energy is per question."""
    row: dict[str, Any] = {
        "reuse": cell.reuse,
        "questions": cell.questions,
        "reuse_keep_s": _middle(found.kept.keep_s),
        "reuse_kept_bytes": _middle(found.kept_bytes),
    }
    for name, asked in (("plain", found.plain), ("kept", found.kept)):
        reading = headline(asked.energy, cell.device, asked.energy_refused)
        row[f"reuse_question_{name}_s"] = _middle(asked.question_s)
        row[f"reuse_question_{name}_j"] = reading and reading.samples and reading.energy_j / reading.samples
    return row


def _prepared(found: Preprocessing, cell: Cell) -> dict[str, Any]:
    """Return the columns of preparing a batch; those of steps and energy are of PIL with one thread."""
    row: dict[str, Any] = {"prepare_model_s": _middle(found.model_s)}
    for way in found.ways:
        if way.round_s:
            row[f"prepare_{way.backend}_{way.threads}_s"] = _per_batch(way.round_s, found.batches)
        if way.round_s and (way.backend, way.threads) == ("pil", 1):
            row |= {f"prepare_{step}_s": _per_batch(s, found.batches) for step, s in way.steps.items()}
            reading = headline(way.energy, cell.device, way.energy_refused)
            row["prepare_pil_1_j_per_sample"] = reading and way.samples and reading.energy_j / way.samples
    return row


def _per_batch(rounds: Sequence[float], batches: int) -> float | None:
    middle = _middle(rounds)
    return None if middle is None else middle / batches


def _middle(values: Sequence[float]) -> float | None:
    """Return the median, as the one of statistics, which is slow where there are few values."""
    ordered, half = sorted(values), len(values) // 2
    if len(values) % 2:
        return float(ordered[half])
    return (ordered[half - 1] + ordered[half]) / 2 if values else None


def _median(summary: intervals.Summary | None) -> float | None:
    return summary.median if summary else None


def _with_ends(name: str, found: intervals.Interval, unit: str = "") -> dict[str, float]:
    return {name + unit: found.value, f"{name}_low{unit}": found.low, f"{name}_high{unit}": found.high}


def _interval(name: str, of: intervals.Summary | None, unit: str = "") -> dict[str, float]:
    return {name + unit: of.median, f"{name}_low{unit}": of.low, f"{name}_high{unit}": of.high} if of else {}
