"""By layers: the types of a profile in a record."""

from __future__ import annotations

from typing import Literal

from vlmnb.meters.readings import EnergyReading, EnergyRefusal
from vlmnb.types import Frozen

Component = Literal["vision", "projector", "attention", "mlp", "other", "head"]


class Ceilings(Frozen):
    """What the device reached at most, as far as the process that wrote the record had seen.

    Attributes:
        flops_per_s: Floating-point operations per second of a large matrix product.
        bytes_per_s: Bytes read and written per second by a large copy.
        method: What was done how often.
        other_load: Share of all cores, 0 to 1, that other processes used in the quietest try; None in
            records that did not look.
        contaminated: Whether others disturbed every try, so that the device may do more than that.
    """

    flops_per_s: float
    bytes_per_s: float
    method: str
    other_load: float | None = None
    contaminated: bool = False


class LayerPart(Frozen):
    """One part of the model in a forward pass over a batch of prompts.

    Attributes:
        depth: Number of its layer, counted from the input; None where there is only one.
        weight_bytes: Bytes of its parameters.
        activation_bytes: Bytes of what it is given and of what it gives back.
        flops: Of one call, 2 per multiply-add; None where they could not be counted.
        in_pass_s: Seconds within each hooked pass.
        replay_s: Mean seconds of a call when the part is called again and again on the same inputs; None
            for what a larger part does beside the parts within it, which cannot be called alone.
        replays: Calls in the window that gave ``energy``, of all parts that share it.
        energy: Readings over all replays.
        energy_parts: Parts that were replayed in turn in that window: 1, or all equal ones where a window for
            each would take too long. Then the energy of each is the mean over them.
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
        hooked_s: Seconds of each pass with hooks, taken in turn with the former.
        parts: In the order in which they run.
    """

    forward_s: tuple[float, ...]
    hooked_s: tuple[float, ...]
    parts: tuple[LayerPart, ...]
    ceilings: Ceilings
