"""Everything that is metered around timed work, opened and closed in the right order.

prepare: sensor cards, codecarbon's detection          seconds, once per process
conditions start · energy opens · memory opens
    the work
device is idle · conditions stop · memory closes · energy closes · load of others
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self

from vlmnb.device.clock import synchronize
from vlmnb.device.conditions import ConditionsMeter
from vlmnb.device.state import Conditions
from vlmnb.meters.energy import EnergyMeter
from vlmnb.meters.memory import MemoryMeter
from vlmnb.meters.readings import EnergyReading


class MeteredWindow:
    """One window of energy, memory and conditions around timed work.

    Call :meth:`covered` after every batch, and generate the batches again while :attr:`too_short`: a
    counter of energy needs a window of some seconds.

    Args:
        device: ``cpu`` or ``cuda`` (``cuda:1``).
        energy: Meters of its own, for tests.
        memory: Likewise.
        conditions: Likewise.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        energy: EnergyMeter | None = None,
        memory: MemoryMeter | None = None,
        conditions: ConditionsMeter | None = None,
    ) -> None:
        self._device = device
        self.energy = energy or EnergyMeter(device)
        self.memory = memory or MemoryMeter(device)
        self._conditions = conditions or ConditionsMeter(device)
        self._samples = 0
        self.conditions: Conditions | None = None

    @property
    def too_short(self) -> bool:
        """Whether a counter of energy needs more of the same work."""
        return self.energy.elapsed_s < self.energy.least_window_s

    @property
    def readings(self) -> tuple[EnergyReading, ...]:
        """The readings of energy, each with the samples it covers."""
        samples = self._samples or None
        return tuple(reading.model_copy(update={"samples": samples}) for reading in self.energy.readings)

    @property
    def other_load(self) -> float | None:
        """Share of all cores, 0 to 1, that other processes used; None before the window is closed."""
        return self.conditions.other_load if self.conditions else None

    def covered(self, samples: int) -> None:
        """Count a batch of this window, timed or repeated, and keep counters from wrapping around unseen."""
        self._samples += samples
        self.energy.checkpoint()

    def __enter__(self) -> Self:
        self.energy.prepare()
        self._conditions.start()
        self.energy.__enter__()
        self.memory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error of the work itself a device may be past answering; that error is the one to see.
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            synchronize(self._device)
            self._conditions.stop()
            self.memory.__exit__(kind, error, trace)
        self.energy.__exit__(kind, error, trace)
        if error is None:
            self.conditions = self._conditions.conditions()
