"""Records: the result of one cell, the only thing that passes from measuring to reading."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import (
    Compilation,
    EnergyReading,
    EnergyRefusal,
    MemoryUsage,
    ProbeLogits,
    headline,
    headline_reason,
)
from vlmnb.records.parts import (
    Answer,
    Asked,
    Ceilings,
    FailedSample,
    LayerPart,
    LayerProfile,
    Prepared,
    Preprocessing,
    Provenance,
    Reused,
    Timing,
    VisualTokens,
    of_window,
)
from vlmnb.records.reported import Reported
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.stats.batches import batch_values
from vlmnb.types import Frozen, Source, Status

if TYPE_CHECKING:
    from vlmnb.stats import intervals

SCHEMA_VERSION = 1
"""Raised when fields change their meaning or go, not for a new one with a default. 1: first version."""

REPORTS = "reports"
"""Value of ``hardware`` in records of reports, which do not name their machine."""


class Record(Frozen):
    """One cell's result. A cell that could not be measured has a status, a reason and no numbers.

    Attributes:
        energy: At most one reading per source.
        energy_refused: Counters that could not be read for this window, with the reason.
        codecarbon: codecarbon's own row for the window, as its emissions.csv has it.
        failed_samples: Chosen samples that could not be used; all numbers are of the others.
        notes: What a reader must know about the cell as a whole.
        ceilings: Peak rates of the device; measured with answers of fixed length and with optimizations.
        compilation: How a compiled model was compiled.
        probe: Logits of one question, by which optimizations are compared.
        visual_tokens: How many image tokens are left, of an optimization that reduces them.
    """

    schema_version: Literal[1] = 1
    key: str
    source: Source = "measured"
    hardware: str
    cell: Cell
    status: Status
    reason: str = ""
    timing: Timing | None = None
    energy: tuple[EnergyReading, ...] = ()
    energy_refused: tuple[EnergyRefusal, ...] = ()
    codecarbon: dict[str, Any] = {}
    memory: MemoryUsage | None = None
    flops: FlopCount | None = None
    answers: tuple[Answer, ...] = ()
    failed_samples: tuple[FailedSample, ...] = ()
    notes: tuple[str, ...] = ()
    layers: LayerProfile | None = None
    reused: Reused | None = None
    preprocessing: Preprocessing | None = None
    ceilings: Ceilings | None = None
    compilation: Compilation | None = None
    probe: ProbeLogits | None = None
    visual_tokens: VisualTokens | None = None
    reported: Reported | None = None
    provenance: Provenance

    @model_validator(mode="after")
    def _nothing_twice(self) -> Record:
        """Check for a sample that occurs twice, which makes intervals too narrow, and for second readings."""
        samples = [answer.sample_id for answer in self.answers]
        sources = [reading.source for reading in self.energy]
        for what, names in (("answer to a sample", samples), ("energy reading of a source", sources)):
            if len(names) != len(set(names)):
                raise ValueError(f"more than one {what}")
        return self

    def on(self, axis: str) -> Record:
        """Return the record for the page of an axis: a report's has only the figures of that axis's table."""
        return self.model_copy(update={"reported": self.reported.on(axis)}) if self.reported else self

    @property
    def metered_parts(self) -> tuple[LayerPart | Asked | Prepared, ...]:
        """Return the parts that have energy readings of their own."""
        asked = (self.reused.plain, self.reused.kept) if self.reused else ()
        ways = self.preprocessing.ways if self.preprocessing else ()
        return (*(self.layers.parts if self.layers else ()), *asked, *ways)

    @property
    def full_batches_s(self) -> tuple[float, ...]:
        """Return the latencies of the batches that are full and count."""
        return self.of_full_batches(self.timing.latencies_s) if self.timing else ()

    @property
    def short(self) -> bool:
        """Return whether no batch was full: then no number is that of a batch of the cell's size."""
        return self.timing is not None and max(self.timing.batch_samples, default=0) < self.cell.batch_size

    @property
    def ttft_s(self) -> intervals.Summary | None:
        """Return the time to first token of full batches; None if phases were not timed."""
        if self.timing is None or not self.timing.prefill_s:
            return None
        pairs = zip(self.timing.vision_s, self.timing.prefill_s, strict=True)
        return _summary(self.of_full_batches(tuple(vision + prefill for vision, prefill in pairs)))

    @property
    def preprocess_s(self) -> intervals.Summary | None:
        """Return the seconds of preparing a full batch; None if they were not timed."""
        timing, size = self.timing, self.cell.batch_size
        if timing is None:
            return None
        pairs = zip(timing.preprocess_s, timing.batch_samples, strict=False)
        return _summary([seconds for seconds, samples in pairs if samples == size])

    @property
    def tpot_s(self) -> intervals.Summary | None:
        """Return the time per output token after the first, of full batches; None if none was decoded."""
        each = self.each_tpot_s
        return _summary(self.of_full_batches(each)) if each else None

    @property
    def each_tpot_s(self) -> tuple[float, ...]:
        """Return the time per output token after the first of each timed batch; empty if none was decoded."""
        if self.timing is None or not self.timing.decode_s or not all(self.timing.decode_steps):
            return ()
        fixed = self.cell.length == "fixed"
        if optimizations.of(self.cell).guesses and not fixed:
            return ()  # guessed tokens come several to a pass
        new = [self.cell.max_new_tokens - 1 if fixed else steps for steps in self.timing.decode_steps]
        return tuple(seconds / n for seconds, n in zip(self.timing.decode_s, new, strict=True))

    def phase(self, name: Literal["vision_s", "prefill_s", "decode_s"]) -> intervals.Summary | None:
        """Return the seconds of one phase per full batch; None if phases were not timed."""
        values = getattr(self.timing, name) if self.timing else ()
        return _summary(self.of_full_batches(values)) if values else None

    def of_full_batches(self, values: Sequence[float], *, loaded: bool = False) -> tuple[float, ...]:
        """Return those of a record's values, one per timed batch, that statistics are taken over.

        ``loaded``: with those of passes under load, which are left out where enough others remain.
        """
        timing, cell = self.timing, self.cell
        assert timing is not None
        loads = () if loaded else self.loaded_passes
        return batch_values(values, timing.batch_samples, cell.batch_size, timing.passes, cell.length, loads)

    @property
    def one_square_image(self) -> bool:
        """Return whether each prompt had one image that was made square, as formulas for a model assume."""
        return self.cell.image_shape == "square" and all(answer.images == 1 for answer in self.answers)

    @property
    def window_under_load(self) -> bool:
        """Return whether the window had background load; energy and memory are of the window as a whole."""
        conditions = self.provenance.conditions
        return bool(conditions and conditions.contaminated)

    @property
    def _timed_under_load(self) -> bool:
        """Return whether the window is that of the latencies and had background load; turns have none."""
        return self.window_under_load and not (self.timing and self.timing.turns)

    @property
    def loaded_passes(self) -> tuple[bool, ...]:
        """Return for each pass whether it had background load: see ``Timing.loaded``."""
        return self.timing.loaded(self._timed_under_load) if self.timing else ()

    @property
    def clean_passes(self) -> int | None:
        """Return the number of passes without background load; None if nothing was timed."""
        return self.loaded_passes.count(False) if self.timing else None

    @property
    def batches_under_load(self) -> bool:
        """Return whether the batches that statistics are taken over had background load.

        They had none where the passes under load could be left out.
        """
        timing = self.timing
        if timing is None or not (self._timed_under_load or any(self.loaded_passes)):
            return False
        every = self.of_full_batches(timing.latencies_s, loaded=True)
        return not any(self.loaded_passes) or every == self.full_batches_s

    @property
    def latency(self) -> intervals.Summary | None:
        """Return the median seconds per full batch; None if no batch was full or timed."""
        return _summary(self.full_batches_s)

    @property
    def latency_s(self) -> float | None:
        """Return the seconds per batch: the median, or a report's figure, which has no interval."""
        if self.reported:
            return self.reported.value("latency_s")
        return self.latency.median if self.latency else None

    @property
    def samples_per_s(self) -> intervals.Summary | None:
        """Return samples per second of full batches; None if no batch was full or timed."""
        return self._per_s(self.cell.batch_size)

    @property
    def output_tokens_per_s(self) -> intervals.Summary | None:
        """Return output tokens per second of full batches; None unless every answer has the same length."""
        if self.cell.length != "fixed":
            return None
        return self._per_s(self.cell.batch_size * self.cell.max_new_tokens)

    def _per_s(self, things: int) -> intervals.Summary | None:
        """Return how many things of a batch are done per second; a long batch is a low rate."""
        latency = self.latency
        if latency is None:
            return None
        median, low, high = things / latency.median, things / latency.high, things / latency.low
        return type(latency)(median=median, low=low, high=high, n=latency.n, confidence=latency.confidence)

    @property
    def headline_energy(self) -> EnergyReading | None:
        """Return the reading that tables show: see ``headline``."""
        return headline(self.energy, self.cell.device, self.energy_refused)

    @property
    def energy_method(self) -> str | None:
        """Return how :attr:`energy_j_per_sample` was obtained."""
        if self.reported:
            return None if self.reported.value("energy_j_per_sample") is None else "unstated"
        return self.headline_energy.method if self.headline_energy else None

    @property
    def energy_j_per_sample(self) -> float | None:
        """Return gross joules of the headline reading per sample of the window, or a report's figure."""
        if self.reported:
            return self.reported.value("energy_j_per_sample")
        reading = self.headline_energy
        return self._per_sample(reading.energy_j if reading else None)

    @property
    def energy_net_j_per_sample(self) -> float | None:
        """Return joules per sample without those of an idle device; None if they were not measured."""
        reading = self.headline_energy
        return self._per_sample(reading.net_j if reading else None)

    def _per_sample(self, joules: float | None) -> float | None:
        """Return joules per sample that the headline reading covers, repetitions counted."""
        reading, timing = self.headline_energy, of_window(self.timing)
        samples = reading.samples or sum(timing.batch_samples) if reading and timing else 0
        return joules / samples if joules is not None and samples and not self.short else None

    @property
    def energy_j_per_batch(self) -> float | None:
        """Return gross joules per full batch, per sample times batch size; None if none was full."""
        per_sample = self.energy_j_per_sample
        return None if per_sample is None or not self.full_batches_s else per_sample * self.cell.batch_size

    @property
    def energy_j_per_output_token(self) -> float | None:
        """Return gross joules per generated token, the work on the prompt included."""
        per_sample, tokens = self.energy_j_per_sample, sum([a.output_tokens for a in self.answers])
        return per_sample * len(self.answers) / tokens if per_sample is not None and tokens else None

    @property
    def energy_reason(self) -> str:
        """Return why the counter of this device gave no reading; empty otherwise."""
        had = self.headline_energy is not None
        return "" if had else headline_reason(self.energy, self.cell.device, self.energy_refused)

    @property
    def wer(self) -> float | None:
        """Return the word error rate of the corpus as a fraction: all errors over all reference words."""
        if self.reported:
            return self.reported.value("wer")
        counted = self._word_errors
        return sum(errors for errors, _ in counted) / sum(words for _, words in counted) if counted else None

    @property
    def wer_interval(self) -> tuple[float, float] | None:
        """Return the 95 % bootstrap interval of the word error rate over samples."""
        counted = self._word_errors
        return _bootstrap(*zip(*counted, strict=True)) if counted else None

    @property
    def _word_errors(self) -> list[tuple[int, int]]:
        """Return word errors and reference words of the answers that have any."""
        answers = self.answers if self.has_quality else ()
        return [(a.word_errors or 0, a.reference_words) for a in answers if a.reference_words]

    @property
    def quality_note(self) -> str:
        """Return the notes of the answers with the ids of their samples; empty for most records."""
        samples: dict[str, list[str]] = {}
        for answer in self.answers:
            if answer.note:
                samples.setdefault(answer.note, []).append(answer.sample_id)
        return "; ".join(f"{note} ({len(ids)}: sample {', '.join(ids)})" for note, ids in samples.items())

    @property
    def remarks(self) -> str:
        """Return the notes, and which samples failed with the reason; empty for most records."""
        rows = (f"row {each.row} (id {each.id}): {each.reason}" for each in self.failed_samples)
        left_out = f"{len(self.failed_samples)} samples left out: {'; '.join(rows)}"
        return "; ".join((*self.notes, left_out) if self.failed_samples else self.notes)

    @property
    def degenerate(self) -> str:
        """Return how many answers say nothing if most do, so that speed means little; else empty."""
        if self.cell.weights != "pretrained" or self.cell.length != "natural":
            return ""
        count = sum([answer.says_nothing(self.cell.max_new_tokens) for answer in self.answers])
        if 2 * count <= len(self.answers):
            return ""
        return f"{count} of {len(self.answers)} answers are empty or repeat one text up to the limit"

    @property
    def accuracy(self) -> float | None:
        """Return the mean score of the samples, or None if the data set has no accuracy."""
        return sum(self._sample_scores) / len(self._sample_scores) if self._sample_scores else None

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the accuracy over samples.

        It is Wilson's for a share of right answers; scores in between spread less, so it covers them too.
        """
        from vlmnb.stats import intervals

        scores = self._sample_scores
        return intervals.wilson(sum(scores), len(scores)) if scores else None

    @property
    def _sample_scores(self) -> list[float]:
        return [a.score for a in self.answers if a.score is not None] if self.has_quality else []

    @property
    def scores(self) -> dict[str, intervals.Interval]:
        """Return metrics computed from the stored answers, by name: see ``vlmnb.quality.scores``."""
        if not self.has_quality:
            return {}
        from vlmnb.quality import scores

        texts, references = [a.answer for a in self.answers], [a.references for a in self.answers]
        return scores.of(self.cell.dataset, texts, references, [a.choices for a in self.answers])

    @property
    def has_quality(self) -> bool:
        """Return whether answers mean something: trained weights, natural length, any scored."""
        scored = any(a.word_errors is not None or a.score is not None for a in self.answers)
        return scored and self.cell.weights == "pretrained" and self.cell.length == "natural"

    @property
    def flops_per_batch(self) -> int | None:
        """Return FLOPs of a forward pass over a batch of prompts, by ``FlopCount.executed`` or a report."""
        if self.reported:
            figure = self.reported.value("flops")
            return None if figure is None else round(figure)
        return self.flops.executed if self.flops and not self.short else None


def _summary(values: Sequence[float]) -> intervals.Summary | None:
    from vlmnb.stats import intervals

    return intervals.median_interval(values) if values else None


@functools.lru_cache(maxsize=1024)
def _bootstrap(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float]:
    from vlmnb.stats import intervals

    return intervals.bootstrap_ratio(numerators, denominators)


def by_cell(records: Iterable[Record], axis: str = "") -> dict[Cell, Record]:
    """Return the newest record of each cell, as the page of an axis shows it."""
    ordered = sorted(records, key=lambda record: record.provenance.started_at)
    return {record.cell: record.on(axis) if axis else record for record in ordered}
