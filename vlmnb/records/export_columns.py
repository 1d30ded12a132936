"""Records as flat table rows: what the export writes and the comparison reads."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmnb.files import plain_yaml
from vlmnb.meters.readings import headline
from vlmnb.quality import metrics
from vlmnb.stats import intervals

if TYPE_CHECKING:
    from vlmnb.meters.readings import MemoryUsage
    from vlmnb.records.record import Record

MEANINGS: dict[str, str | None] = plain_yaml.load(Path(__file__).with_suffix(".yaml"))
"""What each column holds, by its name; of the ends of an interval nothing."""

EXPORT_COLUMNS: tuple[str, ...] = tuple(MEANINGS)
"""Names of the columns in their order."""

_IDENTITY = ("source", "hardware", "status", "reason", "key")
_OF_RECORD = (*_IDENTITY, "wer", "accuracy")
_COSTS_OF_RECORD = (
    "latency_s", "energy_j_per_sample", "energy_method", "energy_net_j_per_sample", "energy_j_per_batch",
    "energy_j_per_output_token",
)  # fmt: skip
_OF_MEMORY = ("peak_bytes", "reserved_peak_bytes", "process_peak_bytes", "weights_bytes", "cache_bytes")
_OF_FLOPS = ("fvcore", "torch", "formula", "used", "per_token")
_OF_TIMING = ("first_call_s", "passes", "harness_share")


def row(record: Record) -> dict[str, Any]:
    """Return a record as one flat row of ``EXPORT_COLUMNS``; what was not measured is None."""
    answers, memory, flops, timing = record.answers, record.memory, record.flops, record.timing
    provenance = record.provenance
    conditions = provenance.conditions
    p90 = intervals.quantile_interval(record.full_batches_s, 0.9) if record.full_batches_s else None
    guessing = None if record.accuracy is None else metrics.chance_level([a.choices for a in answers])
    found = record.cell.model_dump() | _same(record, _OF_RECORD) | costs(record)
    found |= _same(memory, _OF_MEMORY) | _same(flops, _OF_FLOPS, "flops_") | _same(timing, _OF_TIMING)
    found |= {
        "clean_passes": record.clean_passes,
        **_ends("wer", record.wer_interval),
        **_ends("accuracy", record.accuracy_interval),
        "accuracy_guessing": guessing,
        "quality_note": record.quality_note or None,
        "degenerate": record.degenerate or None,
        "failed_samples": len(record.failed_samples) or None,
        "notes": record.remarks or None,
        "flops": record.flops_per_batch,
        # A process keeps what it once took: the difference that is known of a CPU is under its own name.
        "peak_bytes_over_model": memory and memory.reserved_peak_bytes and memory.over_model_bytes(),
        "reserved_peak_bytes_over_model": memory and memory.over_model_bytes("reserved_"),
        "process_peak_bytes_over_model": memory and memory.over_model_bytes("process_"),
        "image_tokens": _middle([a.image_tokens for a in answers]),
        "images": _middle([a.images for a in answers]),
        "image_shape": record.cell.image_shape,
        "text_tokens": _middle([a.text_tokens for a in answers]),
        "output_tokens": sum(a.output_tokens for a in answers) / len(answers) if answers else None,
        "preprocess_s": _middle(timing.preprocess_s) if timing else None,
        "vision_s": _median(record.phase("vision_s")),
        "prefill_s": _median(record.phase("prefill_s")),
        "decode_s": _median(record.phase("decode_s")),
        **_interval("ttft", record.ttft_s, "_s"),
        **_interval("tpot", record.tpot_s, "_s"),
        "contaminated": conditions and conditions.contaminated,
        "latency_disturbed": None if record.latency is None else record.batches_under_load,
        "other_geometry": provenance.geometry or None,
        "code": provenance.code or None,
        **_same(provenance, ("other_load", "threads")),
        "tuning": " ".join(f"{name}={value}" for name, value in provenance.tuning.items()) or None,
        "started_at": provenance.started_at or None,
        "reported_in": record.reported and record.reported.places,
        "latency_p90_s": p90 and p90.value,
        **_ends("latency_p90", (p90.low, p90.high) if p90 else None, "_s"),
        **_stored(memory),
        **_reused(record),
        **_prepared(record),
    }
    for name, score in record.scores.items():
        found |= {name: score.value, **_ends(name, (score.low, score.high))}
    return {column: found.get(column) for column in EXPORT_COLUMNS}


def values(record: Record) -> tuple[list[Any], str]:
    """Return the values of :func:`row` without their names, and why a record has none but its cell's."""
    try:
        return list(row(record).values()), ""
    except (ValueError, ArithmeticError, TypeError) as error:
        why = f"no numbers can be computed: {error or type(error).__name__}"
        found = record.cell.model_dump() | _same(record, _IDENTITY) | {"notes": why}
        return [found.get(column) for column in EXPORT_COLUMNS], why


def costs(record: Record) -> dict[str, Any]:
    """Return the columns of latency, throughput and energy, which are quick to make."""
    latency, energy = record.latency, record.headline_energy
    return {
        **_same(record, _COSTS_OF_RECORD),
        **_ends("latency", (latency.low, latency.high) if latency else None, "_s"),
        "latency_n": latency and latency.n,
        "latency_confidence": latency and latency.confidence,
        "latency_verdict": intervals.verdict(record.full_batches_s) if record.full_batches_s else None,
        "energy_source": energy and energy.source,
        "energy_power_w": energy and energy.power_w,
        "energy_window_s": energy and energy.window_s,
        "energy_reason": record.energy_reason or None,
        **_interval("samples_per_s", record.samples_per_s),
        **_interval("output_tokens_per_s", record.output_tokens_per_s),
    }


def _stored(memory: MemoryUsage | None) -> dict[str, Any]:
    """Return the columns of how keys and values are stored."""
    sizes = memory.cache_by_type if memory else {}
    return {"cache_type": max(sizes, key=lambda name: sizes[name], default=None)}


def _reused(record: Record) -> dict[str, Any]:
    """Return the columns of a picture that several questions are about; energy is per question."""
    found, device = record.reused, record.cell.device
    if found is None:
        return {}
    row: dict[str, Any] = {
        "reuse": record.cell.reuse,
        "questions": record.cell.questions,
        "reuse_keep_s": _middle(found.kept.keep_s),
        "reuse_kept_bytes": _middle(found.kept_bytes),
    }
    for name, asked in (("plain", found.plain), ("kept", found.kept)):
        reading = headline(asked.energy, device, asked.energy_refused)
        row[f"reuse_question_{name}_s"] = _middle(asked.question_s)
        row[f"reuse_question_{name}_j"] = reading and reading.samples and reading.energy_j / reading.samples
    return row


def _prepared(record: Record) -> dict[str, Any]:
    """Return the columns of preparing a batch; those of steps and energy are of PIL with one thread."""
    found = record.preprocessing
    if found is None:
        return {}
    row: dict[str, Any] = {"prepare_model_s": _middle(found.model_s)}
    for way in found.ways:
        if way.round_s:
            row[f"prepare_{way.backend}_{way.threads}_s"] = _per_batch(way.round_s, found.batches)
        if way.round_s and (way.backend, way.threads) == ("pil", 1):
            row |= {f"prepare_{step}_s": _per_batch(s, found.batches) for step, s in way.steps.items()}
            reading = headline(way.energy, record.cell.device, way.energy_refused)
            row["prepare_pil_1_j_per_sample"] = reading and way.samples and reading.energy_j / way.samples
    return row


def _per_batch(rounds: Sequence[float], batches: int) -> float | None:
    middle = _middle(rounds)
    return None if middle is None else middle / batches


def _same(of: object, names: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Return attributes as columns of the same name; none if there is no such object."""
    return {prefix + name: getattr(of, name) for name in names} if of else {}


def _middle(values: Sequence[float]) -> float | None:
    return statistics.median(map(float, values)) if values else None


def _median(summary: intervals.Summary | None) -> float | None:
    return summary.median if summary else None


def _ends(name: str, ends: tuple[float, float] | None, unit: str = "") -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {f"{name}_low{unit}": low, f"{name}_high{unit}": high}


def _interval(name: str, summary: intervals.Summary | None, unit: str = "") -> dict[str, float | None]:
    ends = (summary.low, summary.high) if summary else None
    return {f"{name}{unit}": _median(summary), **_ends(name, ends, unit)}
