"""Measure the energy of a window: by hardware counters if there are any, else by codecarbon's model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from vlmnb.device import clock
from vlmnb.device.clock import synchronize
from vlmnb.meters import codecarbon_model
from vlmnb.meters.counters import calibration
from vlmnb.meters.counters.calibration import min_window_s, tick
from vlmnb.meters.counters.counter import EnergyCounter, SensorError
from vlmnb.meters.readings import EnergyReading, EnergyRefusal, SensorCard

TICK_PERIODS = 10
"""A counter that does not move for ten of its periods is broken."""


class EnergyMeter:
    """Energy of the work inside a ``with`` block.

    ``readings``, ``refused``, ``duration_s`` and ``emissions`` (codecarbon's row: kWh, kg CO2 of the US
    grid, and what it found of the machine) are filled in when the block ends, also by an exception.

    Each source is measured on its own:

    * ``gpu``: difference of NVML's energy counter of the GPU in use, other processes included.
    * ``cpu``: RAPL's counters of the whole processor packages if they can be read, other processes included;
      else codecarbon's model: CPU time of this process and its children, also of those that end in the
      window, x TDP / cores. The TDP is that of the whole processor even where a virtual machine has a part
      of it. A model: compare only cells of one machine with it.
    * ``ram``: RAPL's counter of the memory if there is one, else codecarbon's constant (5 W per memory
      module that it assumes) x time, which does not depend on the work.

    A counter is read when it moves, just before the work and just after it (up to a period each, in which
    the device idles): its window is that between its own two readings, and contains the work. What cannot be
    right (:meth:`_Count.reading`) is refused with a reason, and not replaced by a model.

    Making a meter detects the hardware and, once per process, calibrates the counters, which takes seconds.
    No thread runs during the window. Opening and closing cost about 3 ms of CPU time that the readings
    include and ``duration_s`` does not. Nothing is sent anywhere or written to a file, and other processes
    may measure as well.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self.readings: tuple[EnergyReading, ...] = ()
        self.duration_s = 0.0
        self.emissions: dict[str, Any] = {}
        synchronize(device)
        found = calibration.attached(device)
        self._counts = [_Count(counter, card) for counter, card in found.counters]
        self.cards = tuple(card for _, card in found.counters)
        self.refused = found.refused
        with codecarbon_model.silence():
            self._tracker = codecarbon_model.tracker(device)

    @property
    def least_window_s(self) -> float:
        """Return the seconds that the work must last for every counter in use; 0 without a counter."""
        return max((min_window_s(card) for card in self.cards), default=0.0)

    @property
    def elapsed_s(self) -> float:
        """Return the seconds of work so far."""
        return clock.now_s() - self._start_s

    def __enter__(self) -> Self:
        with codecarbon_model.silence():
            synchronize(self._device)
            self._tracker.start_task()
        for count in self._counts:
            with count.noting():
                count.failure = ""
                count.counter.resume()
                count.start = count.tick()
        self._start_s = clock.now_s()
        return self

    def checkpoint(self) -> None:
        """Read the counters between batches, so that none wraps around twice; takes microseconds."""
        for count in self._counts:
            with count.noting():
                count.counter.read_j()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with hidden_after(error):
            synchronize(self._device)
        self.duration_s = clock.now_s() - self._start_s
        counted: list[EnergyReading] = []
        for count in self._counts:
            with count.noting():
                end = count.tick()
                if not count.failure:
                    counted.append(count.reading(end, self.duration_s))
        self.refused += tuple(
            EnergyRefusal(source=count.counter.source, method=count.counter.method, reason=count.failure)
            for count in self._counts
            if count.failure
        )
        with codecarbon_model.silence(), hidden_after(error):
            self.emissions = dataclasses.asdict(self._tracker.stop_task())
            has_counter = {count.counter.source for count in self._counts}
            modelled = codecarbon_model.readings(self._tracker, self.emissions)
            counted += [reading for reading in modelled if reading.source not in has_counter]
        self.readings = tuple(counted)


@dataclasses.dataclass
class _Count:
    """A counter in a window: its first time and joules, and why it has no reading, if so."""

    counter: EnergyCounter
    card: SensorCard
    start: tuple[float, float] = (0.0, 0.0)
    failure: str = ""

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the first error of the counter; the work goes on without it."""
        try:
            yield
        except SensorError as error:
            self.failure = self.failure or str(error)

    def tick(self) -> tuple[float, float]:
        """Wait until the counter moves; return the time and the joules."""
        return tick(self.counter, TICK_PERIODS * self.card.period_s)

    def reading(self, end: tuple[float, float], work_s: float) -> EnergyReading:
        """Return the difference of two readings around work of so many seconds, if it can be trusted.

        Raises:
            SensorError: The work was too short for the counter, or the device cannot draw this power.
        """
        counter, card = self.counter, self.card
        window_s, energy_j = end[0] - self.start[0], end[1] - self.start[1]
        least_s = min_window_s(card)
        if work_s < least_s:
            raise SensorError(
                f"the work took {work_s:.3g} s, and this counter, which moves every "
                f"{card.period_s * 1000:.3g} ms, needs {least_s:.3g} s"
            )
        if counter.limit_w is not None and energy_j / window_s > counter.limit_w:
            raise SensorError(
                f"the counter gives a mean of {energy_j / window_s:.0f} W, and the device cannot draw more "
                f"than {counter.limit_w:.0f} W"
            )
        return EnergyReading(
            source=counter.source,
            method=counter.method,
            energy_j=energy_j,
            detail=counter.name,
            window_s=window_s,
            idle_j=None if card.idle_power_w is None else card.idle_power_w * window_s,
        )


def hidden_after(error: BaseException | None) -> contextlib.AbstractContextManager[None]:
    """Ignore errors if the work itself failed: then the device may not answer, and the first error counts."""
    return contextlib.suppress(Exception) if error is not None else contextlib.nullcontext()
