"""Types of what the meters measured: energy, memory, calibrations, compilation, logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, NonNegativeFloat

from vlmnb.meters import counters
from vlmnb.types import Frozen


def _known_source(name: str) -> str:
    if name not in {"gpu", "cpu", "ram", *counters.sources()}:
        raise ValueError(f"no counter or model has the source {name!r}")
    return name


def _known_method(name: str) -> str:
    if name not in {"model", "unstated", *counters.methods()}:
        raise ValueError(f"no counter or model has the method {name!r}")
    return name


EnergySource = Annotated[str, AfterValidator(_known_source)]
"""``gpu``, ``cpu``, ``ram`` or another source of a module of ``counters``."""

EnergyMethod = Annotated[str, AfterValidator(_known_method)]
"""``model``, ``unstated`` (reports), or the method of a module of ``counters``."""


class EnergyReading(Frozen):
    """Joules of one source over the whole window, and how they were obtained.

    Readings are never added: ``headline`` picks one.

    Attributes:
        source: ``gpu``, ``cpu`` or ``ram``.
        method: the counter that measured it, or ``model``: an estimate from time, load and a nominal power.
        energy_j: Gross energy: everything the source used in the window, idling included.
        detail: Tool, mode and constants.
        window_s: Seconds between the two readings of the counter; None for a model.
        idle_j: Idle power of the calibration times ``window_s``; None if unknown.
        samples: Samples generated in the window, repetitions counted; None in records that repeat nothing,
            where it is the number of timed samples.
    """

    source: EnergySource
    method: EnergyMethod
    energy_j: NonNegativeFloat
    detail: str
    window_s: float | None = None
    idle_j: float | None = None
    samples: int | None = None

    @property
    def net_j(self) -> float | None:
        """Return the energy minus idle energy; None if the idle power is unknown.

        None too if the result is negative: then the source was not idle when its idle power was measured.
        """
        net = None if self.idle_j is None else self.energy_j - self.idle_j
        return net if net is not None and net >= 0 else None

    @property
    def power_w(self) -> float | None:
        """Return the mean power: the counter's difference over the time between its readings."""
        return self.energy_j / self.window_s if self.window_s else None


class EnergyRefusal(Frozen):
    """A source with a sensor but without a reading, and the reason."""

    source: EnergySource
    method: EnergyMethod
    reason: str


def headline(readings: Sequence[EnergyReading], device: str) -> EnergyReading | None:
    """Return the one reading of a window that tables show; never a sum.

    For ``cuda`` it is that of the GPU's counter, for ``cpu`` that of the CPU, counted or modelled; None if
    there is no such reading.
    """
    source = headline_source(device)
    found = next((reading for reading in readings if reading.source == source), None)
    return None if found and source == "gpu" and found.method not in counters.methods(source) else found


def headline_source(device: str) -> EnergySource:
    """Return the source whose energy is that of the work on a device."""
    return "gpu" if device.startswith("cuda") else "cpu"


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
        decode_weights_bytes: Of these, what each decoding step reads: decoder and output head.
        cache_bytes: Keys and values of the largest batch at its last token, by formula.
    """

    peak_bytes: int | None
    baseline_bytes: int | None
    method: str
    reserved_peak_bytes: int | None = None
    reserved_baseline_bytes: int | None = None
    process_peak_bytes: int | None = None
    process_baseline_bytes: int | None = None
    weights_bytes: int | None = None
    decode_weights_bytes: int | None = None
    cache_bytes: int | None = None

    @property
    def over_model_bytes(self) -> int | None:
        """Return peak minus baseline: what generating itself needs."""
        return _difference(self.peak_bytes, self.baseline_bytes)

    @property
    def reserved_over_model_bytes(self) -> int | None:
        """Return the same for the memory that torch's allocator held."""
        return _difference(self.reserved_peak_bytes, self.reserved_baseline_bytes)

    @property
    def process_over_model_bytes(self) -> int | None:
        """Return the same for the process."""
        return _difference(self.process_peak_bytes, self.process_baseline_bytes)


class Compilation(Frozen):
    """The work of torch.compile from loading the model to the end of the cell.

    Attributes:
        graphs: Graphs that were traced; more than the two of a prompt and of a token are recompilations.
        graph_breaks: Places where Python had to take over.
        cache_hits: Graphs whose code an earlier process had compiled.
        cache_misses: Graphs that were compiled now.
    """

    graphs: int
    graph_breaks: int
    cache_hits: int
    cache_misses: int


class ProbeLogits(Frozen):
    """Logits of the first two new tokens of the cell's first question, within its batch.

    Attributes:
        vocabulary: Number of logits there are.
        values: Those of places spread evenly over the vocabulary, the first and the last included, for the
            first new token, which the prompt's pass computes.
        token: The first new token.
        step_values: The same values for the token after it, which a decoding step computes.
    """

    vocabulary: int
    values: tuple[float, ...]
    token: int | None = None
    step_values: tuple[float, ...] = ()


class SensorCard(Frozen):
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
    source: EnergySource
    method: EnergyMethod
    period_s: float
    step_j: float
    resolution_s: float
    updates: int
    idle_power_w: float | None
    note: str = ""


def _difference(peak_bytes: int | None, baseline_bytes: int | None) -> int | None:
    if peak_bytes is None or baseline_bytes is None:
        return None
    return peak_bytes - baseline_bytes
