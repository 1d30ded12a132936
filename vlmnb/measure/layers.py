"""Measure where inside the model the time goes: time every part within forward passes, then replay it alone.

A part is a vision layer, the projector, the attention or the MLP of a decoder layer, or the head. Its time
within the pass gives its share. Replaying it with the same inputs gives its energy and its rate, without
hooks on other parts. The rest of a layer, of the vision tower or of the decoder (norms, residuals, positions,
masks) is its own time minus that of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from vlmnb.device.clock import spent_s
from vlmnb.flops import counters
from vlmnb.measure import peak_rates, phases
from vlmnb.measure.loading import Loaded
from vlmnb.meters.energy import EnergyMeter
from vlmnb.records.parts import Component, LayerPart, LayerProfile

PASSES = 11
"""Timed forward passes with hooks, and as many without: an odd number, so that the median is a sample."""

WARMUP_PASSES = 2
ALONE_S = 0.05
"""Seconds of replaying over which a part's seconds per call are averaged."""

REPLAY_S = {"cpu": 0.3, "cuda": 1.0}
"""Shortest window for a part's energy: 30 ticks of CPU time, which the energy model needs. An energy counter
may need more."""

ENERGY_BUDGET_S = 60.0
"""Time for the energy of all parts of a profile. If a window for each would take longer, as with a counter
that needs 10 s, equal parts (the attention of every decoder layer) are replayed in turn in one window."""


class Part(NamedTuple):
    """A module that is timed as a whole, or one that contains parts, whose remaining work is a part too.

    Attributes:
        depth: Number of its layer, if it is in one.
        inside: Names of the parts within it.
    """

    name: str
    component: Component
    depth: int | None
    module: Any
    inside: tuple[str, ...] = ()


def parts(loaded: Loaded) -> tuple[list[Part], list[Part]]:
    """Return the parts of a model in the order in which they run, and the modules around them.

    Around them are the vision tower, each decoder layer and the decoder.
    """
    model, family, decoder = loaded.model, loaded.family, loaded.decoder
    tower, projector = family.vision_modules(model)[0], family.projector(model)
    patches = family.patch_embedding(model)
    found = [Part("patch embedding", "vision", None, patches)] if patches is not None else []
    layers = enumerate(family.vision_layers(model))
    found += [Part(f"vision layer {i}", "vision", i, layer) for i, layer in layers]
    around = []
    if tower is not projector:
        inside = [part.name for part in found]
        inside += ["projector"] if any(module is projector for module in tower.modules()) else []
        around.append(Part("vision, rest", "vision", None, tower, tuple(inside)))
    found.append(Part("projector", "projector", None, projector))
    names: list[str] = []
    for i, layer in enumerate(family.decoder_layers(model)):
        attention, mlp = family.layer_parts(layer)
        found.append(Part(f"attention {i}", "attention", i, attention))
        found.append(Part(f"MLP {i}", "mlp", i, mlp))
        inside = [part.name for part in found[-2:]]
        around.append(Part(f"layer {i}, rest", "other", i, layer, tuple(inside)))
        names += [*inside, around[-1].name]
    found.append(Part("head", "head", None, model.get_output_embeddings()))
    around.append(Part("decoder, rest", "other", None, decoder, tuple(names)))
    return [part for part in found if part.module is not None], around


def profile(loaded: Loaded, inputs: Mapping[str, Any]) -> LayerProfile:
    """Time forward passes over one batch of prompts, which is on the device, whole and by part."""
    import torch

    device = loaded.configuration.device
    within, around = ([Watch(part, device) for part in found] for found in parts(loaded))
    call = {**inputs, "use_cache": False}

    def forward() -> None:
        loaded.model(**call)

    with torch.inference_mode():
        for _ in range(WARMUP_PASSES):
            forward()
        with _watching(within + around):
            forward()
        for watch in within + around:
            watch.timing = True
        whole, hooked = [], []
        # Whole and hooked passes alternate, so that a change of the machine's speed affects both.
        for _ in range(PASSES):
            whole.append(spent_s(forward, device))
            with _watching(within + around):
                hooked.append(spent_s(forward, device))
        with counters.quiet(loaded.model):
            counts = [counters.count_call(watch.part.module, *watch.call) for watch in within]
        measured = [watch.measured(flops) for watch, flops in zip(within, counts, strict=True)]
        measured = energies(measured, [watch.replay for watch in within], device)
    for watch in around:
        measured.append(watch.rest(measured))
    return LayerProfile(
        forward_s=tuple(whole),
        hooked_s=tuple(hooked),
        parts=tuple(measured),
        ceilings=peak_rates.measured(device, loaded.configuration.optimization.dtype),
    )


class Watch:
    """Hooks of a module: at first they keep its inputs and its output, later they record times only."""

    def __init__(self, part: Part, device: str) -> None:
        self.part, self.device = part, device
        self.timing = False
        self.call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._output: Any = None
        self._times: list[tuple[Any, Any]] = []

    def before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the beginning of a call."""
        if not self.timing:
            self.call = (args, dict(kwargs))
        self._began = phases.stamp(self.device)

    def after(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Note the end of a call."""
        ended = phases.stamp(self.device)
        if self.timing:
            self._times.append((self._began, ended))
        else:
            self._output = output

    def replay(self) -> None:
        """Call the module with the inputs it had."""
        args, kwargs = self.call
        self.part.module(*args, **kwargs)

    def measured(self, flops: int | None) -> LayerPart:
        """Return the part's times within the pass, and replayed alone."""
        once_s = min(spent_s(self.replay, self.device) for _ in range(3))
        calls = max(3, round(ALONE_S / max(once_s, 1e-6)))

        def again() -> None:
            for _ in range(calls):
                self.replay()

        parameters = list(self.part.module.parameters())
        return LayerPart(
            name=self.part.name,
            component=self.part.component,
            depth=self.part.depth,
            parameters=sum(p.numel() for p in parameters),
            weight_bytes=sum(p.nbytes for p in parameters),
            activation_bytes=_bytes(self.call) + _bytes(self._output),
            flops=flops,
            in_pass_s=self._per_pass(),
            replay_s=spent_s(again, self.device) / calls,
        )

    def rest(self, measured: Sequence[LayerPart]) -> LayerPart:
        """Return the time of the module minus that of the parts within it, pass by pass."""
        part = self.part
        inside = [each.in_pass_s for each in measured if each.name in part.inside]
        rest = (own - sum(each[i] for each in inside) for i, own in enumerate(self._per_pass()))
        return LayerPart(name=part.name, component=part.component, depth=part.depth, in_pass_s=tuple(rest))

    def _per_pass(self) -> tuple[float, ...]:
        """Return the seconds of each pass; several calls of a module in one pass are added up."""
        times = [phases.between_s(began, ended) for began, ended in self._times]
        calls = len(times) // PASSES
        return tuple(sum(times[i * calls : (i + 1) * calls]) for i in range(PASSES))


@contextmanager
def _watching(watches: Sequence[Watch]) -> Iterator[None]:
    with ExitStack() as hooks:
        for watch in watches:
            module = watch.part.module
            hooks.callback(module.register_forward_pre_hook(watch.before, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(watch.after, with_kwargs=True).remove)
        yield


def energies(
    measured: Sequence[LayerPart], replays: Sequence[Callable[[], None]], device: str
) -> list[LayerPart]:
    """Measure the energy of every part, in a window of its own or in one that equal parts share.

    ``measured`` has the seconds of a call of each part, ``replays`` makes a call.
    """
    # A tenth more than the counter needs: a replay may be faster than it was when it was timed.
    window_s = max(REPLAY_S[device], 1.1 * EnergyMeter(device).least_window_s)
    groups: dict[object, list[int]] = {}
    together = len(measured) * window_s > ENERGY_BUDGET_S
    for i, part in enumerate(measured):
        alike = (part.component, part.parameters, part.activation_bytes, part.flops)
        groups.setdefault(alike if together else i, []).append(i)
    made = list(measured)
    for members in groups.values():
        round_s = sum(measured[i].replay_s or 0.0 for i in members)
        rounds = max(3, math.ceil(window_s / max(round_s, 1e-6)))
        with EnergyMeter(device) as meter:
            for _ in range(rounds):
                for i in members:
                    replays[i]()
        found = {
            "replays": rounds * len(members),
            "energy": meter.readings,
            "energy_parts": len(members),
            "energy_refused": meter.refused,
        }
        for i in members:
            made[i] = measured[i].model_copy(update=found)
    return made


def _bytes(value: Any) -> int:
    """Return the bytes of all tensors within a value."""
    import torch
    from torch.utils import _pytree as trees

    return sum(leaf.nbytes for leaf in trees.tree_leaves(value) if isinstance(leaf, torch.Tensor))
