"""Measure the energy of a window: by hardware counters if there are any, else by codecarbon's model."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from vlmnb.device.clock import now_s, synchronize
from vlmnb.meters import codecarbon_model
from vlmnb.meters.counters.attached import Attached, attached
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
      else codecarbon's model: CPU time of this process and its children x TDP / cores. CPU
      time advances in ticks of 10 ms, and the TDP is that of the whole processor even where a virtual
      machine has a part of it. A model: compare only cells of one machine with it.
    * ``ram``: RAPL's counter of the memory if there is one, else codecarbon's constant (5 W per memory
      module that it assumes) x time, which does not depend on the work.

    A counter is read when it moves, just before the work and just after it (up to a period each, in which
    the device idles): its window is that between its own two readings, and contains the work. A window
    shorter than ``least_window_s``, a counter that does not move, and a mean power that the device cannot
    draw are refused with a reason, and are not replaced by a model.

    Detecting the hardware and, once per process, calibrating the counters take seconds and happen before
    the window opens. No thread runs during the window: codecarbon's own sampling would cost time there and
    is of no use for counters and CPU times. Opening and closing cost about 3 ms of CPU time that the
    readings include and ``duration_s`` does not. Nothing is sent anywhere or written to a file, and other
    processes may measure as well.

    Args:
        device: ``cpu`` or ``cuda`` (``cuda:1``).
        sensors: Finds the counters for a device.
        tracker_factory: Makes a tracker with ``start_task`` and ``stop_task`` for a device.
        clock: Wall clock in seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        sensors: Callable[[str], Attached] = attached,
        tracker_factory: Callable[[str], Any] = codecarbon_model.tracker,
        clock: Callable[[], float] = now_s,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._device = device
        self._sensors = sensors
        self._factory = tracker_factory
        self._clock = clock
        self._sleep = sleep
        self._prepared = False
        self.readings: tuple[EnergyReading, ...] = ()
        self.refused: tuple[EnergyRefusal, ...] = ()
        self.cards: tuple[SensorCard, ...] = ()
        self.duration_s = 0.0
        self.emissions: dict[str, Any] = {}

    @property
    def least_window_s(self) -> float:
        """Return the seconds that the work must last for every counter in use; 0 without a counter."""
        return max((min_window_s(card) for card in self.cards), default=0.0)

    @property
    def elapsed_s(self) -> float:
        """Return the seconds of work so far."""
        return self._clock() - self._start_s

    def prepare(self) -> None:
        """Do what takes time and is not part of the window; opening the window does it otherwise."""
        synchronize(self._device)
        found = self._sensors(self._device)
        self._counters = found.counters
        self.cards = tuple(card for _, card in found.counters)
        self.refused = found.refused
        with codecarbon_model.silence():
            self._tracker = self._factory(self._device)
        self._prepared = True

    def __enter__(self) -> Self:
        if not self._prepared:
            self.prepare()
        self._failures: dict[int, str] = {}
        self._started: dict[int, tuple[float, float]] = {}
        with codecarbon_model.silence():
            synchronize(self._device)
            self._tracker.start_task()
        for i, (counter, card) in enumerate(self._counters):
            with self._noting(i):
                counter.resume()
                self._started[i] = self._tick(counter, card)
        self._start_s = self._clock()
        return self

    def checkpoint(self) -> None:
        """Read the counters between batches, so that none wraps around twice; takes microseconds."""
        for i, (counter, _) in enumerate(self._counters):
            with self._noting(i):
                counter.read_j()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error of the work itself the device may not answer; the first error must not be hidden.
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            synchronize(self._device)
        self.duration_s = self._clock() - self._start_s
        counted: list[EnergyReading] = []
        for i, (counter, card) in enumerate(self._counters):
            with self._noting(i):
                end_s, end_j = self._tick(counter, card)
                if i not in self._failures:
                    counted.append(self._reading(counter, card, *self._started[i], end_s, end_j))
        refused = [
            EnergyRefusal(source=counter.source, method=counter.method, reason=self._failures[i])
            for i, (counter, _) in enumerate(self._counters)
            if i in self._failures
        ]
        self.refused += tuple(refused)
        with (
            codecarbon_model.silence(),
            contextlib.suppress(Exception) if error is not None else contextlib.nullcontext(),
        ):
            data = self._tracker.stop_task()
            self.emissions = dataclasses.asdict(data)
            has_counter = {counter.source for counter, _ in self._counters}
            modelled = codecarbon_model.readings(self._tracker, self.emissions)
            counted += [reading for reading in modelled if reading.source not in has_counter]
        self.readings = tuple(counted)

    def _tick(self, counter: EnergyCounter, card: SensorCard) -> tuple[float, float]:
        return tick(counter, TICK_PERIODS * card.period_s, clock=self._clock, sleep=self._sleep)

    @contextlib.contextmanager
    def _noting(self, counter: int) -> Iterator[None]:
        """Keep the first error of a counter; the work goes on without it."""
        try:
            yield
        except SensorError as error:
            self._failures.setdefault(counter, str(error))

    def _reading(
        self,
        counter: EnergyCounter,
        card: SensorCard,
        start_s: float,
        start_j: float,
        end_s: float,
        end_j: float,
    ) -> EnergyReading:
        """Return the difference of two readings, if it can be trusted.

        Raises:
            SensorError: The window is too short for the counter, or the device cannot draw this power.
        """
        window_s, energy_j = end_s - start_s, end_j - start_j
        least_s = min_window_s(card)
        if self.duration_s < least_s:
            raise SensorError(
                f"the work took {self.duration_s:.3g} s, and this counter, which moves every "
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
