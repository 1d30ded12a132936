"""Records: what measuring one cell gave. The only thing that crosses from measuring to reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from vlmnb import paths, stats
from vlmnb.spec import Cell, Frozen, Source, Status

SCHEMA_VERSION = 1
"""Raised with every change of the fields below.

1: first version.
"""

EnergyMethod = Literal["nvml_counter", "rapl", "model"]


class EnergyReading(Frozen):
    """Joules of one source over the whole timed window, and how they were obtained.

    Attributes:
        source: ``gpu``, ``cpu`` or ``ram``.
        method: ``nvml_counter`` and ``rapl`` are measured; ``model`` is an estimate from time, load and
            a nominal power.
        detail: Tool, mode and constants.
    """

    source: Literal["gpu", "cpu", "ram"]
    method: EnergyMethod
    energy_j: float
    detail: str


def headline(readings: Sequence[EnergyReading], device: str) -> EnergyReading | None:
    """The one reading that tables show; never a sum, and None rather than a stand-in.

    Args:
        readings: Readings of one window.
        device: ``cuda`` asks for the GPU's counter, ``cpu`` for the CPU, counted or modelled.
    """
    source = "gpu" if device.startswith("cuda") else "cpu"
    found = next((reading for reading in readings if reading.source == source), None)
    return None if found and source == "gpu" and found.method != "nvml_counter" else found


class MemoryUsage(Frozen):
    """Peak memory of a window, in bytes.

    Attributes:
        peak_bytes: Highest use within the window, the loaded model included.
        baseline_bytes: Use when the window began.
        method: What was read: resident memory of the process, or the GPU allocator.
    """

    peak_bytes: int | None
    baseline_bytes: int | None
    method: str


class FlopCount(Frozen):
    """Floating-point operations of one forward pass over one batch of prompts, 2 per multiply-add.

    Attributes:
        fvcore: fvcore's count of multiply-adds, times two.
        torch: Count of torch's ``FlopCounterMode``.
        unsupported_ops: Operators fvcore left out, with how often each occurred.
        note: Why a count is missing, or empty.
    """

    fvcore: int | None
    torch: int | None
    unsupported_ops: dict[str, int] = {}
    note: str = ""


class Timing(Frozen):
    """Raw times of generation, one entry per timed batch, in order.

    Attributes:
        warmup_batches: Batches generated before, untimed.
        latencies_s: Seconds from a batch's inputs being on the device to its last token.
        batch_samples: Samples in each batch; the last may be short of the batch size.
        preprocess_s: Seconds of image processing and tokenization of each batch, not part of the latency.
        first_call_s: Seconds of the first warm-up batch, which for a compiled model holds the compilation.
    """

    warmup_batches: int
    latencies_s: tuple[float, ...]
    batch_samples: tuple[int, ...]
    preprocess_s: tuple[float, ...]
    first_call_s: float


class Answer(Frozen):
    """One sample: what was asked, what came, and what counts.

    Attributes:
        prompt: The text as it stood after truncation to the prompt budget.
        text_tokens: Tokens of the text prompt with its template, without image tokens.
        image_tokens: Tokens that stand for the image.
        output_tokens: Generated tokens, the end mark included.
        word_errors: Substitutions, deletions and insertions against the first reference.
        reference_words: Words of the first reference.
        score: Accuracy of the sample in [0, 1] by its data set's rule, or None where it has none.
    """

    sample_id: str
    prompt: str
    answer: str
    references: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    text_tokens: int
    image_tokens: int
    output_tokens: int
    word_errors: int | None = None
    reference_words: int | None = None
    score: float | None = None


class Provenance(Frozen):
    """What the numbers came from.

    Attributes:
        code: Fingerprint of the measuring code, comments and docstrings left out.
        weights: Revision of the weights.
        data: Revision of the data set.
        packages: Versions of the packages that can move a number.
        machine: Description of the machine.
        threads: Threads torch computed with.
        attention: Attention implementation the model reported while it was timed.
        other_load: Share of the machine's cores that other processes used during the window, 0 to 1.
        started_at: UTC, ISO 8601.
        seconds: Whole time spent on the cell, loading included.
    """

    code: str
    weights: str = ""
    data: str = ""
    packages: dict[str, str] = {}
    machine: dict[str, Any] = {}
    threads: int | None = None
    attention: str = ""
    other_load: float | None = None
    started_at: str = ""
    seconds: float | None = None


class Record(Frozen):
    """One cell's result. A cell that could not be measured has a status, a reason and no numbers."""

    schema_version: Literal[1] = 1
    key: str
    source: Source = "measured"
    hardware: str
    cell: Cell
    status: Status
    reason: str = ""
    timing: Timing | None = None
    energy: tuple[EnergyReading, ...] = ()
    memory: MemoryUsage | None = None
    flops: FlopCount | None = None
    answers: tuple[Answer, ...] = ()
    provenance: Provenance

    @property
    def full_batches_s(self) -> tuple[float, ...]:
        """Latencies of the batches that hold as many samples as the cell's batch size says."""
        if self.timing is None:
            return ()
        pairs = zip(self.timing.latencies_s, self.timing.batch_samples, strict=True)
        return tuple(latency for latency, samples in pairs if samples == self.cell.batch_size)

    @property
    def latency(self) -> stats.Summary | None:
        """Median seconds per full batch with its interval; None where no batch was full."""
        return stats.median_interval(self.full_batches_s) if self.full_batches_s else None

    @property
    def headline_energy(self) -> EnergyReading | None:
        """The one reading tables show: see ``headline``."""
        return headline(self.energy, self.cell.device)

    @property
    def energy_j_per_sample(self) -> float | None:
        """Joules of the headline reading per sample of the timed window."""
        reading = self.headline_energy
        if reading is None or self.timing is None:
            return None
        return reading.energy_j / sum(self.timing.batch_samples)

    @property
    def wer(self) -> float | None:
        """Word error rate of the corpus, as a fraction: all errors over all reference words."""
        if not self.has_quality:
            return None
        return sum(a.word_errors or 0 for a in self.answers) / sum(
            a.reference_words or 0 for a in self.answers
        )

    @property
    def wer_interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the word error rate over samples."""
        if not self.has_quality:
            return None
        errors = [a.word_errors or 0 for a in self.answers]
        return stats.bootstrap_ratio(errors, [a.reference_words or 0 for a in self.answers])

    @property
    def accuracy(self) -> float | None:
        """Mean score of the samples, or None where the data set has no accuracy."""
        scores = [a.score for a in self.answers if a.score is not None]
        return sum(scores) / len(scores) if scores and self.has_quality else None

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the accuracy over samples."""
        scores = [a.score for a in self.answers if a.score is not None]
        return stats.bootstrap_ratio(scores, [1.0] * len(scores)) if scores and self.has_quality else None

    @property
    def has_quality(self) -> bool:
        """Whether answers mean something: trained weights, natural length, scored."""
        scored = bool(self.answers) and all(a.word_errors is not None for a in self.answers)
        return scored and self.cell.weights == "pretrained" and self.cell.length == "natural"

    @property
    def flops_per_batch(self) -> int | None:
        """FLOPs of one forward pass over a batch of prompts: torch's count, else fvcore's."""
        return (self.flops.torch or self.flops.fvcore) if self.flops else None


EXPORT_COLUMNS = (
    "source", "hardware", "model", "weights", "dataset", "samples", "device", "dtype", "optimization",
    "batch_size", "image_size", "seq_len", "status", "reason", "wer", "latency_s", "energy_j_per_sample",
    "energy_method", "flops", "peak_bytes", "key", "max_new_tokens", "length", "seed", "wer_low", "wer_high",
    "accuracy", "accuracy_low", "accuracy_high", "latency_low_s", "latency_high_s", "latency_n",
    "latency_confidence", "latency_verdict", "energy_source", "flops_fvcore", "flops_torch",
    "peak_bytes_over_model", "image_tokens", "text_tokens", "output_tokens", "preprocess_s", "first_call_s",
    "other_load", "started_at",
)  # fmt: skip


def row(record: Record) -> dict[str, Any]:
    """A record as one flat row of ``EXPORT_COLUMNS``; what was not measured is None."""
    latency, energy, answers = record.latency, record.headline_energy, record.answers
    memory, flops, timing = record.memory, record.flops, record.timing
    wer_low, wer_high = record.wer_interval or (None, None)
    accuracy_low, accuracy_high = record.accuracy_interval or (None, None)
    over = None
    if memory and memory.peak_bytes is not None and memory.baseline_bytes is not None:
        over = memory.peak_bytes - memory.baseline_bytes
    values = record.cell.model_dump() | {
        "source": record.source,
        "hardware": record.hardware,
        "status": record.status,
        "reason": record.reason,
        "key": record.key,
        "wer": record.wer,
        "wer_low": wer_low,
        "wer_high": wer_high,
        "accuracy": record.accuracy,
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "latency_s": latency and latency.median,
        "latency_low_s": latency and latency.low,
        "latency_high_s": latency and latency.high,
        "latency_n": latency and latency.n,
        "latency_confidence": latency and latency.confidence,
        "latency_verdict": stats.verdict(record.full_batches_s) if record.full_batches_s else None,
        "energy_j_per_sample": record.energy_j_per_sample,
        "energy_method": energy and energy.method,
        "energy_source": energy and energy.source,
        "flops": record.flops_per_batch,
        "flops_fvcore": flops and flops.fvcore,
        "flops_torch": flops and flops.torch,
        "peak_bytes": memory and memory.peak_bytes,
        "peak_bytes_over_model": over,
        "image_tokens": stats.median_interval([a.image_tokens for a in answers]).median if answers else None,
        "text_tokens": stats.median_interval([a.text_tokens for a in answers]).median if answers else None,
        "output_tokens": sum(a.output_tokens for a in answers) / len(answers) if answers else None,
        "preprocess_s": stats.median_interval(timing.preprocess_s).median if timing else None,
        "first_call_s": timing and timing.first_call_s,
        "other_load": record.provenance.other_load,
        "started_at": record.provenance.started_at or None,
    }
    return {column: values[column] for column in EXPORT_COLUMNS}


def write(record: Record, results: Path) -> Path:
    """Store a record in its place, in one step."""
    path = paths.record(results, record.hardware, record.cell.model, record.key)
    paths.write_atomic(path, record.model_dump_json(indent=1) + "\n")
    return path


def read(path: Path) -> Record:
    """Load one record.

    Raises:
        ValueError: The file is no record of this schema; the message names the file and the field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record: {error}; delete it to have the cell measured again") from None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has record schema {version}, this code reads {SCHEMA_VERSION}; update the project"
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ValueError(
            f"{path}: {place}: {problem['msg']}; delete it to have the cell measured again"
        ) from None


def read_all(results: Path, model: str = "*", hardware: str = "*") -> tuple[list[Record], list[str]]:
    """All readable records below a folder, in path order, and a message for each file that is none."""
    records, problems = [], []
    for path in record_files(results, model, hardware):
        try:
            records.append(read(path))
        except ValueError as error:
            problems.append(str(error))
    return records, problems


def record_files(results: Path, model: str = "*", hardware: str = "*") -> Iterator[Path]:
    """Paths of the record files below a folder."""
    return iter(sorted(results.glob(f"{hardware}/{model}/[!.]*.json")))


def by_cell(records: Iterable[Record]) -> dict[Cell, Record]:
    """The newest record of each cell."""
    ordered = sorted(records, key=lambda record: record.provenance.started_at)
    return {record.cell: record for record in ordered}
