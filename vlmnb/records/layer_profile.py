"""The types of a profile by layers in a record."""

from __future__ import annotations

from typing import Literal

from vlmnb.meters.readings import EnergyReading, EnergyRefusal
from vlmnb.types import Frozen

Component = Literal["vision", "projector", "attention", "mlp", "other", "head"]


class Ceilings(Frozen):
    """Peak rates of the device: the highest that the process that wrote the record had seen.

    Attributes:
        flops_per_s: Floating-point operations per second of a large matrix product.
        bytes_per_s: Bytes read and written per second by a large copy.
        method: What was done how often.
        other_load: Background load in the quietest try, as share of all cores, 0 to 1; None if not known.
        contaminated: Whether every try had background load, so that the device may reach more.
    """

    flops_per_s: float
    bytes_per_s: float
    method: str
    other_load: float | None = None
    contaminated: bool = False


class LayerPart(Frozen):
    """One part of the model in a forward pass over a batch of prompts.

    Attributes:
        depth: Number of its layer, counted from the input; None if there is only one.
        weight_bytes: Bytes of its parameters.
        activation_bytes: Bytes of its inputs and outputs.
        flops: FLOPs of one call, 2 per multiply-add; None if they could not be counted.
        in_pass_s: Seconds within each hooked pass.
        replay_s: Mean seconds of a call when the part is called again and again on the same inputs; None
            for the work of a larger part outside the parts within it, which cannot be called alone.
        replays: Calls in the window of ``energy``, of all parts that share it.
        energy: Readings over all replays.
        energy_parts: Parts that were replayed in turn in that window: 1, or all equal ones if a window for
            each would take too long. Then the energy of each is their mean.
        energy_refused: Counters that could not be read for the window, with the reason.
    """

    name: str
    component: Component
    depth: int | None
    parameters: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    flops: int | None = None
    in_pass_s: tuple[float, ...]
    replay_s: float | None = None
    replays: int = 0
    energy: tuple[EnergyReading, ...] = ()
    energy_parts: int = 1
    energy_refused: tuple[EnergyRefusal, ...] = ()


class LayerProfile(Frozen):
    """Forward passes over one batch of prompts, whole and by part.

    Attributes:
        forward_s: Seconds of each pass without hooks.
        hooked_s: Seconds of each pass with hooks; the two kinds of passes alternate.
        parts: The parts of the model in the order in which they run.
    """

    forward_s: tuple[float, ...]
    hooked_s: tuple[float, ...]
    parts: tuple[LayerPart, ...]
    ceilings: Ceilings
