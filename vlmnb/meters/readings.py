"""Types of what the meters measured: energy, memory, calibrations, compilation, logits."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import NonNegativeFloat, ValidationInfo, field_validator

from vlmnb.device.clock import is_cuda
from vlmnb.meters import counters
from vlmnb.types import Frozen


class Sourced(Frozen):
    """What concerns one source of energy and one method.

    Attributes:
        source: ``gpu``, ``cpu``, ``ram`` or another source of a module of ``counters``.
        method: That of a module of ``counters``, ``model`` (an estimate from time, load and a nominal power)
            or ``unstated`` (reports).
    """

    source: str
    method: str

    @field_validator("source", "method")
    @classmethod
    def _known(cls, name: str, field: ValidationInfo) -> str:
        source = field.field_name == "source"
        known = ("gpu", "cpu", "ram") if source else ("model", "unstated")
        if name not in known and name not in (counters.sources() if source else counters.methods()):
            raise ValueError(f"no counter or model has the {field.field_name} {name!r}")
        return name


class EnergyReading(Sourced):
    """Joules of one source over the whole window, and how they were obtained.

    Readings are never added: ``headline`` picks one.

    Attributes:
        energy_j: Gross energy: everything the source used in the window, idling included.
        detail: Tool, mode and constants.
        window_s: Seconds between the two readings of the counter; None for a model.
        idle_j: Idle power of the calibration times ``window_s``; None if unknown.
        samples: Samples generated in the window, repetitions counted; None in records that repeat nothing,
            where it is the number of timed samples.
    """

    energy_j: NonNegativeFloat
    detail: str
    window_s: float | None = None
    idle_j: float | None = None
    samples: int | None = None

    @property
    def net_j(self) -> float | None:
        """Return the energy minus idle energy; None if unknown or negative: the source was not idle then."""
        known = self.idle_j is not None and self.idle_j <= self.energy_j
        return self.energy_j - (self.idle_j or 0.0) if known else None

    @property
    def power_w(self) -> float | None:
        """Return the mean power: the counter's difference over the time between its readings."""
        return self.energy_j / self.window_s if self.window_s else None


class EnergyRefusal(Sourced):
    """A source with a sensor but without a reading, and the reason."""

    reason: str


def headline(
    readings: Sequence[EnergyReading], device: str, refused: Sequence[EnergyRefusal] = ()
) -> EnergyReading | None:
    """Return the one reading of a window that tables show; never a sum.

    It is that of the GPU (by a counter alone) or of the CPU; or of a source that a module of ``counters``
    names in its ``HEADLINE``, if the window has a reading or a refusal of it. None without such a reading.
    """
    source = _headline_source((*readings, *refused), device)
    found = next((reading for reading in readings if reading.source == source), None)
    return None if found and source == "gpu" and found.method not in counters.methods(source) else found


def headline_reason(readings: Sequence[EnergyReading], device: str, refused: Sequence[EnergyRefusal]) -> str:
    """Return why the counter of this device gave no reading; empty otherwise."""
    if headline(readings, device, refused) is not None:
        return ""
    source = _headline_source((*readings, *refused), device)
    return "; ".join(refusal.reason for refusal in refused if refusal.source == source)


def _headline_source(had: Sequence[Sourced], device: str) -> str:
    kind, own = ("cuda", "gpu") if is_cuda(device) else ("cpu", "cpu")
    sources = {one.source for one in had}
    return next((source for source in counters.headlines(kind) if source in sources), own)


class MemoryUsage(Frozen):
    """Peak memory of a window, in bytes.

    Attributes:
        peak_bytes: Highest use within the window, the loaded model included: what torch's allocator had
            handed out on a GPU, resident memory of the process on a CPU.
        baseline_bytes: The same when the window began: the loaded model, the inputs and what came before.
        method: What was read.
        reserved_peak_bytes: Highest amount that torch's allocator held of the GPU, its cache included.
        reserved_baseline_bytes: The same when the window began.
        process_peak_bytes: Highest resident memory of the process, on any device.
        process_baseline_bytes: The same when the window began.
        weights_bytes: Parameters and buffers of the model; shared ones count once.
        weights_by_type: The same by the type of their elements, such as ``int8``.
        decode_weights_bytes: Of these, what each decoding step reads: decoder and output head.
        cache_bytes: Keys and values of the largest batch at its last token, by formula.
        cache_by_type: The same by the type that they are stored as.
    """

    peak_bytes: int | None
    baseline_bytes: int | None
    method: str
    reserved_peak_bytes: int | None = None
    reserved_baseline_bytes: int | None = None
    process_peak_bytes: int | None = None
    process_baseline_bytes: int | None = None
    weights_bytes: int | None = None
    weights_by_type: dict[str, int] = {}
    decode_weights_bytes: int | None = None
    cache_bytes: int | None = None
    cache_by_type: dict[str, int] = {}

    def over_model_bytes(self, of: str = "") -> int | None:
        """Return peak minus baseline, what generating itself needs; of ``reserved_`` or ``process_`` too."""
        peak, baseline = getattr(self, f"{of}peak_bytes"), getattr(self, f"{of}baseline_bytes")
        return None if peak is None or baseline is None else peak - baseline

    @property
    def held_bytes(self) -> int | None:
        """Return weights with the keys and values of the largest batch."""
        parts = self.weights_bytes, self.cache_bytes
        return None if None in parts else sum(part or 0 for part in parts)

    @property
    def activations_bytes(self) -> int | None:
        """Return what the peak holds besides weights, keys and values; only of a GPU's allocator."""
        peak, held = self.peak_bytes, self.held_bytes
        return None if peak is None or held is None else max(peak - held, 0)


class Compilation(Frozen):
    """The work of torch.compile from loading the model to the end of the cell.

    Attributes:
        graphs: Graphs that were traced; more than the two of a prompt and of a token are recompilations.
        graph_breaks: Places where Python had to take over.
        cache_hits: Graphs whose code an earlier process had compiled.
        cache_misses: Graphs that were compiled now.
        cuda_graphs_skipped: Graphs that could not be recorded as CUDA graphs, though they were to be.
    """

    graphs: int
    graph_breaks: int
    cache_hits: int
    cache_misses: int
    cuda_graphs_skipped: int = 0


class ProbeLogits(Frozen):
    """Logits of the first two new tokens of the cell's first question, within its batch.

    Attributes:
        vocabulary: Number of logits there are.
        values: Those of places spread evenly over the vocabulary, the first and the last included, for the
            first new token, which the prompt's pass computes.
        token: The first new token.
        step_values: The same values for the token after it, which a decoding step computes.
        cache_tokens: Positions that the model's cache held after the decoding step: those of the prompt and
            of the first new token.
    """

    vocabulary: int
    values: tuple[float, ...]
    token: int | None = None
    step_values: tuple[float, ...] = ()
    cache_tokens: int | None = None


class SensorCard(Sourced):
    """Calibration of a counter of energy, measured on this machine and not taken from a data sheet.

    Attributes:
        sensor: Which counter, of which device.
        period_s: Median time between two changes of the counter, seen while the device idled. Not finer
            than ``resolution_s``.
        step_j: Median of those changes, at idle power.
        resolution_s: Median time between two readings while that was observed.
        updates: Changes that were seen.
        idle_power_w: Power while nothing was computed, with the model loaded; None if the device was not
            idle, as ``note`` explains.
    """

    sensor: str
    period_s: float
    step_j: float
    resolution_s: float
    updates: int
    idle_power_w: float | None
    note: str = ""
