"""The protocol of a counter of energy.

A counter never falls: only the difference of two readings has a meaning. It moves in steps of its own period;
``calibration`` measures those steps.
"""

from __future__ import annotations

from typing import Protocol

from vlmnb.meters.readings import EnergyRefusal


class SensorError(Exception):
    """A counter cannot be read, or its reading is ambiguous; the message says why."""


class EnergyCounter(Protocol):
    """A counter of energy.

    Attributes:
        source: What it counts the energy of.
        method: How, as records name it.
        name: Which counter, of which device.
        poll_s: Time between two readings while its period is observed; 0 reads without a pause.
        limit_w: A mean power above this is an error of the counter; None if no limit is known.
    """

    source: str
    method: str
    name: str
    poll_s: float
    limit_w: float | None

    def resume(self) -> None:
        """Begin to count here, whatever happened since the last reading."""

    def read_j(self) -> float:
        """Return joules since some moment; only differences have a meaning.

        Raises:
            SensorError: There is no reading that could be trusted.
        """

    def busy(self) -> float | None:
        """Return the fraction of the device used by other processes since the last call; None if unknown."""


Found = tuple[list[EnergyCounter], list[EnergyRefusal]]
"""What ``attach`` returns: counters that can be read, and those that cannot, with the reason."""
