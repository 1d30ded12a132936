"""Measure where inside the model the time goes: time every part within forward passes, then replay it alone.

A part is a vision layer, the projector, the attention or the MLP of a decoder layer, or the head. Its time
within the pass gives its share. Replaying it with the same inputs gives its energy and its rate, without
hooks on other parts. The rest of a layer, of the vision tower or of the decoder (norms, residuals, positions,
masks) is its own time minus that of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vlmnb.device.clock import now_s, synchronize
from vlmnb.flops import counters
from vlmnb.measure import peak_rates, phases
from vlmnb.measure.loading import Loaded
from vlmnb.meters.energy import EnergyMeter
from vlmnb.records.layer_profile import Component, LayerPart, LayerProfile

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


@dataclass(frozen=True)
class Part:
    """A module that is timed as a whole."""

    name: str
    component: Component
    depth: int | None
    module: Any


@dataclass(frozen=True)
class Whole:
    """A module that contains parts; its remaining work is a part too."""

    name: str
    component: Component
    depth: int | None
    module: Any
    inside: tuple[str, ...]


@dataclass
class _Seen:
    """What the hooks of a module recorded."""

    began: Any = None
    seconds: list[tuple[Any, Any]] = field(default_factory=list)
    call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    output: Any = None


def parts(loaded: Loaded) -> list[Part]:
    """Return the parts of a model in the order in which they run."""
    model, family = loaded.model, loaded.family
    embedding = family.patch_embedding(model)
    found = [Part("patch embedding", "vision", None, embedding)] if embedding is not None else []
    found += [
        Part(f"vision layer {i}", "vision", i, layer) for i, layer in enumerate(family.vision_layers(model))
    ]
    found.append(Part("projector", "projector", None, family.projector(model)))
    for i, layer in enumerate(loaded.decoder.layers):
        found.append(Part(f"attention {i}", "attention", i, layer.self_attn))
        found.append(Part(f"MLP {i}", "mlp", i, layer.mlp))
    found.append(Part("head", "head", None, model.lm_head))
    return found


def wholes(loaded: Loaded) -> list[Whole]:
    """Return the modules around the parts: the vision tower, each decoder layer, the decoder."""
    model, family = loaded.model, loaded.family
    decoder, tower = loaded.decoder, family.vision_modules(model)[0]
    found = []
    projector = family.projector(model)
    if tower is not projector:
        inside = ["patch embedding"] if family.patch_embedding(model) is not None else []
        inside += [f"vision layer {i}" for i in range(len(family.vision_layers(model)))]
        inside += ["projector"] if any(module is projector for module in tower.modules()) else []
        found.append(Whole("vision, rest", "vision", None, tower, tuple(inside)))
    names = []
    for i, layer in enumerate(decoder.layers):
        names += [f"attention {i}", f"MLP {i}", f"layer {i}, rest"]
        found.append(Whole(names[-1], "other", i, layer, tuple(names[-3:-1])))
    found.append(Whole("decoder, rest", "other", None, decoder, tuple(names)))
    return found


def profile(loaded: Loaded, inputs: Mapping[str, Any]) -> LayerProfile:
    """Time forward passes over one batch of prompts, whole and by part.

    Args:
        loaded: The model.
        inputs: One batch, on the device.
    """
    import torch

    found, around = parts(loaded), wholes(loaded)
    modules = [part.module for part in found] + [whole.module for whole in around]
    call, device = {**inputs, "use_cache": False}, loaded.configuration.device

    def forward() -> None:
        loaded.model(**call)

    with torch.inference_mode():
        for _ in range(WARMUP_PASSES):
            forward()
        whole, hooked = [], []
        with _watched(modules, device) as seen:
            forward()
        # Whole and hooked passes alternate, so that a change of the machine's speed affects both.
        for _ in range(PASSES):
            whole.append(_timed(forward, device))
            with _watched(modules, device, seen):
                hooked.append(_timed(forward, device))
        with counters.quiet(loaded.model):
            counts = [
                counters.count_call(part.module, *_call(note))
                for part, note in zip(found, seen, strict=False)
            ]
        measured = [_part(part, seen[i], counts[i], device) for i, part in enumerate(found)]
        measured = energies(measured, [_replay(part, seen[i]) for i, part in enumerate(found)], device)
    for whole_part, note in zip(around, seen[len(found) :], strict=True):
        measured.append(_rest(whole_part, note, measured))
    return LayerProfile(
        forward_s=tuple(whole),
        hooked_s=tuple(hooked),
        parts=tuple(measured),
        ceilings=peak_rates.measured(device, loaded.configuration.optimization.dtype),
    )


def _timed(work: Callable[[], None], device: str) -> float:
    synchronize(device)
    began_s = now_s()
    work()
    synchronize(device)
    return now_s() - began_s


@contextmanager
def _watched(modules: list[Any], device: str, seen: list[_Seen] | None = None) -> Iterator[list[_Seen]]:
    """Put hooks on every module: the first time they keep its inputs, later they record times only."""
    keep = seen is None
    notes = [_Seen() for _ in modules] if seen is None else seen
    hooks = []

    def before(note: _Seen) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if keep:
                note.call = (args, dict(kwargs))
            note.began = phases.stamp(device)

        return hook

    def after(note: _Seen) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            ended = phases.stamp(device)
            if keep:
                note.output = output
            else:
                note.seconds.append((note.began, ended))

        return hook

    for module, note in zip(modules, notes, strict=True):
        hooks.append(module.register_forward_pre_hook(before(note), with_kwargs=True))
        hooks.append(module.register_forward_hook(after(note), with_kwargs=True))
    try:
        yield notes
    finally:
        for hook in hooks:
            hook.remove()


def _call(seen: _Seen) -> tuple[tuple[Any, ...], dict[str, Any]]:
    assert seen.call is not None
    return seen.call


def _replay(part: Part, seen: _Seen) -> Callable[[], None]:
    """Return a call of the part with the inputs it had."""
    args, kwargs = _call(seen)

    def replay() -> None:
        part.module(*args, **kwargs)

    return replay


def _part(part: Part, seen: _Seen, count: int | None, device: str) -> LayerPart:
    """Return a part's times within the pass, and replayed alone."""
    replay = _replay(part, seen)
    once_s = min(_timed(replay, device) for _ in range(3))
    calls = max(3, round(ALONE_S / max(once_s, 1e-6)))

    def again() -> None:
        for _ in range(calls):
            replay()

    parameters = list(part.module.parameters())
    return LayerPart(
        name=part.name,
        component=part.component,
        depth=part.depth,
        parameters=sum(p.numel() for p in parameters),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters),
        activation_bytes=_bytes(_call(seen)) + _bytes(seen.output),
        flops=count,
        in_pass_s=_per_pass(seen),
        replay_s=_timed(again, device) / calls,
    )


def energies(
    measured: Sequence[LayerPart], replays: Sequence[Callable[[], None]], device: str
) -> list[LayerPart]:
    """Measure the energy of every part, in a window of its own or in one that equal parts share.

    Args:
        measured: Parts with the seconds of a call.
        replays: A call of each.
        device: ``cpu`` or ``cuda``.
    """
    meter = EnergyMeter(device)
    # A tenth more than the counter needs: a replay may be faster than it was when it was timed.
    window_s = max(REPLAY_S[device], 1.1 * meter.least_window_s)
    groups: dict[object, list[int]] = {}
    together = len(measured) * window_s > ENERGY_BUDGET_S
    for i, part in enumerate(measured):
        alike = (part.component, part.parameters, part.activation_bytes, part.flops)
        groups.setdefault(alike if together else i, []).append(i)
    made = list(measured)
    for members in groups.values():
        round_s = sum(measured[i].replay_s or 0.0 for i in members)
        rounds = max(3, math.ceil(window_s / max(round_s, 1e-6)))
        meter = EnergyMeter(device)
        with meter:
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


def _rest(whole: Whole, seen: _Seen, measured: list[LayerPart]) -> LayerPart:
    """Return the time of a module minus that of the parts within it, pass by pass."""
    inside = [part.in_pass_s for part in measured if part.name in whole.inside]
    rest = (own - sum(each[i] for each in inside) for i, own in enumerate(_per_pass(seen)))
    return LayerPart(name=whole.name, component=whole.component, depth=whole.depth, in_pass_s=tuple(rest))


def _per_pass(seen: _Seen) -> tuple[float, ...]:
    """Return the seconds of each pass; several calls of a module in one pass are added up."""
    times = [phases.between_s(began, ended) for began, ended in seen.seconds]
    calls = len(times) // PASSES
    return tuple(sum(times[i : i + calls]) for i in range(0, len(times), calls)) if calls else (0.0,) * PASSES


def _bytes(value: Any) -> int:
    """Return the bytes of all tensors within a value."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        return sum(_bytes(item) for item in value)
    return 0
