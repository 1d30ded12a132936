"""Open and close all meters around timed work in the right order.

calibrations, codecarbon's detection (when the window is made)    seconds, once per process
conditions start · energy opens · memory opens
    the work
device is idle · conditions stop · memory closes · energy closes · background load
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from vlmnb.device.clock import synchronize
from vlmnb.device.conditions import ConditionsMeter
from vlmnb.device.state import Conditions
from vlmnb.meters.energy import EnergyMeter, hidden_after
from vlmnb.meters.memory import MemoryMeter
from vlmnb.meters.readings import EnergyReading


class MeteredWindow:
    """One window of energy, memory and conditions around timed work.

    Call :meth:`covered` after every batch, and generate the batches again while :attr:`too_short`: a
    counter of energy needs a window of some seconds.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self.energy = EnergyMeter(device)
        self.memory = MemoryMeter(device)
        self._conditions = ConditionsMeter(device)
        self._samples = 0
        self.conditions: Conditions | None = None

    @property
    def too_short(self) -> bool:
        """Return whether a counter of energy needs more of the same work."""
        return self.energy.elapsed_s < self.energy.least_window_s

    @property
    def readings(self) -> tuple[EnergyReading, ...]:
        """Return the readings of energy, each with the number of samples it covers."""
        samples = self._samples or None
        return tuple(reading.model_copy(update={"samples": samples}) for reading in self.energy.readings)

    def covered(self, samples: int) -> None:
        """Count a batch of this window, timed or repeated, and keep counters from wrapping around unseen."""
        self._samples += samples
        self.energy.checkpoint()

    def __enter__(self) -> Self:
        self._conditions.start()
        self.energy.__enter__()
        self.memory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with hidden_after(error):
            synchronize(self._device)
            self._conditions.stop()
            self.memory.__exit__(kind, error, trace)
        self.energy.__exit__(kind, error, trace)
        if error is None:
            self.conditions = self._conditions.conditions()
