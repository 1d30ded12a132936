"""Records as flat table rows: what the export writes and the comparison reads."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmnb.files import plain_yaml
from vlmnb.meters.readings import headline
from vlmnb.quality import metrics
from vlmnb.spec import cell as cells
from vlmnb.spec.cell import LATER, Cell
from vlmnb.stats import intervals

if TYPE_CHECKING:
    from vlmnb.meters.readings import MemoryUsage
    from vlmnb.records.record import Record

MEANINGS: dict[str, str | None] = plain_yaml.load(Path(__file__).with_suffix(".yaml"))
"""What each column holds, by its name; of the ends of an interval nothing."""

EXPORT_COLUMNS: tuple[str, ...] = tuple(MEANINGS)
"""Names of the columns in their order."""

_EMPTY: dict[str, Any] = dict.fromkeys(EXPORT_COLUMNS)

FEWEST_FOR_P90 = 36
"""With fewer batches the 90 % quantile has no interval of 95 %: 0.9**35 > 0.025."""


def _same(*names: str, prefix: str = "") -> Callable[[object], dict[str, Any]]:
    """Return what gives attributes as columns of the same name; none if there is no such object."""
    columns, values = [prefix + name for name in names], operator.attrgetter(*names)
    return lambda of: dict(zip(columns, values(of), strict=False)) if of else {}


_identity = _same("source", "hardware", "status", "reason", "key")
_quality = _same("wer", "accuracy")
_costs = _same(
    "latency_s", "energy_j_per_sample", "energy_method", "energy_net_j_per_sample", "energy_j_per_batch",
    "energy_j_per_output_token",
)  # fmt: skip
_memory = _same("peak_bytes", "reserved_peak_bytes", "process_peak_bytes", "weights_bytes", "cache_bytes")
_flops = _same("fvcore", "torch", "formula", "used", "per_token", prefix="flops_")
_NO_RATES = dict.fromkeys(name for name in EXPORT_COLUMNS if "_per_s" in name or name.startswith("latency_"))
_timing = _same("first_call_s", "passes", "harness_share")
_of_cell = _same(*(name for name in EXPORT_COLUMNS if name in Cell.model_fields.keys() - LATER))


def row(record: Record) -> dict[str, Any]:
    """Return a record as one flat row of ``EXPORT_COLUMNS``; what was not measured is None."""
    answers, memory, flops, timing = record.answers, record.memory, record.flops, record.timing
    cell, provenance, batches = record.cell, record.provenance, record.full_batches_s
    conditions = provenance.conditions
    enough = len(batches) >= FEWEST_FOR_P90
    p90 = intervals.quantile_interval(batches, 0.9) if enough else None
    guessing = None if record.accuracy is None else metrics.chance_level([a.choices for a in answers])
    found = {
        **_EMPTY,
        **_of_cell(cell),
        **_identity(record),
        **_quality(record),
        **costs(record),
        **_memory(memory),
        **_flops(flops),
        **_timing(timing),
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
        "image_shape": cell.image_shape,
        "reuse": cell.reuse or None,
        "questions": cell.questions or None,
        "text_tokens": _middle([a.text_tokens for a in answers]),
        "output_tokens": sum([a.output_tokens for a in answers]) / len(answers) if answers else None,
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
        "other_load": provenance.other_load,
        "threads": provenance.threads,
        "tuning": " ".join([f"{name}={value}" for name, value in provenance.tuning.items()]) or None,
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
    return found if len(found) == len(_EMPTY) else _in_order(found)


def values(record: Record) -> tuple[list[Any], str]:
    """Return the values of :func:`row` without their names, and why a record has none but its cell's."""
    try:
        return list(row(record).values()), ""
    except (ValueError, ArithmeticError, TypeError) as error:
        why = f"no numbers can be computed: {error or type(error).__name__}"
        found = cells.fields(record.cell) | _identity(record) | {"notes": why}
        return list(_in_order(found).values()), why


def costs(record: Record) -> dict[str, Any]:
    """Return the columns of latency, throughput and energy, which are quick to make."""
    latency, energy, batches = record.latency, record.headline_energy, record.full_batches_s
    return {
        **_NO_RATES,
        **_costs(record),
        **_ends("latency", (latency.low, latency.high) if latency else None, "_s"),
        "latency_n": latency and latency.n,
        "latency_confidence": latency and latency.confidence,
        "latency_verdict": intervals.verdict(batches) if batches else None,
        "energy_source": energy and energy.source,
        "energy_power_w": energy and energy.power_w,
        "energy_window_s": energy and energy.window_s,
        "energy_reason": record.energy_reason or None,
        **_interval("samples_per_s", record.samples_per_s),
        **_interval("output_tokens_per_s", record.output_tokens_per_s),
    }


def _in_order(found: dict[str, Any]) -> dict[str, Any]:
    """Return all columns in their order, those that were not found with None, and nothing else."""
    row = _EMPTY | found
    return row if len(row) == len(_EMPTY) else {column: row[column] for column in EXPORT_COLUMNS}


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


def _middle(values: Sequence[float]) -> float | None:
    """Return the median, as the one of statistics, which is slow where there are few values."""
    ordered, half = sorted(values), len(values) // 2
    if len(values) % 2:
        return float(ordered[half])
    return (ordered[half - 1] + ordered[half]) / 2 if values else None


def _median(summary: intervals.Summary | None) -> float | None:
    return summary.median if summary else None


def _ends(name: str, ends: tuple[float, float] | None, unit: str = "") -> dict[str, float]:
    return {f"{name}_low{unit}": ends[0], f"{name}_high{unit}": ends[1]} if ends else {}


def _interval(name: str, summary: intervals.Summary | None, unit: str = "") -> dict[str, float]:
    if summary is None:
        return {}
    return {name + unit: summary.median, f"{name}_low{unit}": summary.low, f"{name}_high{unit}": summary.high}
