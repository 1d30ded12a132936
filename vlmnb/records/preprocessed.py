"""The types of a cell that prepares batches: how long each step takes, by backend and threads."""

from __future__ import annotations

from vlmnb.meters.readings import EnergyReading, EnergyRefusal
from vlmnb.types import Frozen

STEPS = ("decode", "resize", "normalise", "tokenize", "copy")
"""From a stored picture and a question to tensors on the device, in this order."""


class Prepared(Frozen):
    """All batches of a cell, prepared again and again in one way.

    Attributes:
        backend: ``pil`` or ``torchvision`` for the image processor, ``cached`` for pixels that were kept.
        threads: Threads that prepared batches at the same time.
        processor: Class of the image processor.
        reason: Why it could not be done here; then there are no numbers.
        round_s: Seconds of each round over all batches.
        steps: Seconds of the threads together in each step, by round.
        samples: Samples that the energy is of.
    """

    backend: str
    threads: int
    processor: str = ""
    reason: str = ""
    round_s: tuple[float, ...] = ()
    steps: dict[str, tuple[float, ...]] = {}
    samples: int = 0
    energy: tuple[EnergyReading, ...] = ()
    energy_refused: tuple[EnergyRefusal, ...] = ()


class Preprocessing(Frozen):
    """The preparation of some batches in several ways, and what the model takes for the same batches.

    Attributes:
        batches: Number of full batches of a round.
        model_s: Seconds of the model for each batch, from its tensors to the last token.
    """

    batches: int
    model_s: tuple[float, ...]
    ways: tuple[Prepared, ...]
