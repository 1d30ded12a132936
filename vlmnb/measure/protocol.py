"""Time a cell: warm up, generate every batch, and add passes until the window is long enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vlmnb.device import load
from vlmnb.device.clock import now_s, spent_s
from vlmnb.flops import counters
from vlmnb.measure.batches import Batch
from vlmnb.measure.generation import Generator, Heard
from vlmnb.measure.loading import Loaded
from vlmnb.measure.phases import PhaseClock, Phases
from vlmnb.meters import memory
from vlmnb.meters.readings import MemoryUsage
from vlmnb.meters.window import MeteredWindow
from vlmnb.records.parts import Timing
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

SETTLED = 0.1
"""A third batch of warm-up is left out when the first took at most this share longer than the second: what is
initialized, is initialized in the first."""

REPEAT_BUDGET_S = 1.0
"""Time after which the warm-up makes no third batch."""

LONG_S = 8.0
"""A first batch that takes longer is all of the warm-up: what it initializes takes a second or two. Compiling
takes longer, so a compiled decoder warms up as ever."""

WINDOW_S = 1.0
"""Time for all passes together: after the first pass, others follow as long as they would end within it.

It is for energy, memory and a first latency: what is compared is timed in turns as well (``measure.turns``),
because windows of a few seconds differ nearly as much as those of one. Only a counter of energy that needs a
longer window exceeds it."""


@dataclass(frozen=True)
class TimedWindow:
    """Results of the timed window.

    Attributes:
        warmup_s: Seconds of the whole warm-up.
        outputs: Those of the first pass.
        heard: What the first batch of the warm-up showed; None of a compiled decoder, of which a later batch
            may run other code.
    """

    timing: Timing
    warmup_s: float
    outputs: list[Any]
    meters: MeteredWindow
    heard: Heard | None


def timed(cell: Cell, generate: Generator, batches: Sequence[Batch]) -> TimedWindow:
    """Generate every batch, once or in several passes, and time each with its phases.

    Inside the window nothing is printed, saved or converted: a batch's inputs are on the device when its
    clock starts, and the device is synchronized before the clock starts and before it stops. Energy and
    memory are those of the whole window with all its passes. Passes are added until the energy counters can
    measure the window. A pass with background load is marked, and repeated within the budget; none is
    thrown away.
    """
    import torch

    loaded = generate.loaded
    clock_of = loaded.engine or PhaseClock(
        loaded.stepping, loaded.family.vision_modules(loaded.model), cell.device
    )
    inputs, samples = [batch.inputs for batch in batches], [len(batch.samples) for batch in batches]
    outputs: list[Any] = []
    taken: list[Phases] = []
    with (
        torch.inference_mode(),
        clock_of as clock,
    ):
        warmup, heard = _warm_up(generate, inputs, cell.device)
        with MeteredWindow(cell.device) as window:
            began_s, marks = now_s(), [load.reading()]
            while (
                not taken
                or window.too_short
                or _another_fits(window.energy.elapsed_s, len(taken) // len(inputs))
            ):
                found = one_pass(clock, generate, inputs, samples, window)
                marks.append(load.reading())
                taken += [phases for _, phases in found]
                outputs = outputs or [output for output, _ in found]
            loop_s = now_s() - began_s
    latencies_s, vision_s, prefill_s, decode_s, decode_steps = zip(*taken, strict=True)
    passes = len(taken) // len(inputs)
    timing = Timing(
        warmup_batches=len(warmup),
        latencies_s=latencies_s,
        vision_s=vision_s,
        prefill_s=prefill_s,
        decode_s=decode_s,
        decode_steps=decode_steps,
        batch_samples=tuple(samples) * passes,
        passes=passes,
        pass_loads=tuple(load.shares(marks)),
        contaminated=tuple(map(load.is_high, load.shares(marks))),
        loop_s=loop_s,
        preprocess_s=tuple(batch.preprocess_s for batch in batches),
        first_call_s=warmup[0],
    )
    return TimedWindow(timing, sum(warmup), outputs, window, heard)


def one_pass(
    clock: PhaseClock,
    generate: Generator,
    inputs: Sequence[Any],
    samples: Sequence[int],
    window: MeteredWindow,
) -> list[tuple[Any, Phases]]:
    """Generate every batch once and return output and phases of each, in order."""
    found = []
    for batch, size in zip(inputs, samples, strict=True):
        found.append(clock.time(partial(generate, batch), generate.prompt_passes(batch)))
        window.covered(size)
    return found


def memory_of(cell: Cell, loaded: Loaded, window: TimedWindow) -> MemoryUsage:
    """Return the window's memory with the parts that can be computed: weights, keys and values."""
    import torch

    if engine := loaded.engine:
        sizes: dict[str, Any] = {
            "weights_by_type": engine.weights_by_type,
            "weights_bytes": sum(engine.weights_by_type.values()),
            "cache_bytes": engine.cache_bytes(),
        }
        return window.meters.memory.usage.model_copy(update=sizes)
    model, by_type = loaded.model, memory.weights_by_type(loaded.model)

    stored = optimizations.of(cell).cache_type

    def cache(output: Any) -> dict[str, int]:
        """Leave out the last token, which is never fed back."""
        decoder = loaded.family.decoder_shape(model.config)
        kind = getattr(torch, stored) if stored else model.dtype
        size = int(output.shape[0]) * decoder.cache_bytes(output.shape[1] - 1, kind.itemsize)
        scales = 2 * model.config.get_text_config(decoder=True).num_hidden_layers * torch.float32.itemsize
        sizes = {kind: size} | ({torch.float32: scales} if stored else {})
        return {str(name).removeprefix("torch."): size for name, size in sizes.items()}

    largest, _ = counters.attempt(
        "the cache", lambda: max(map(cache, window.outputs), key=lambda sizes: sum(sizes.values()))
    )
    return window.meters.memory.usage.model_copy(
        update={
            "weights_bytes": sum(by_type.values()),
            "weights_by_type": by_type,
            "cache_bytes": sum(largest.values()) if largest else None,
            "cache_by_type": largest or {},
            "decode_weights_bytes": memory.decode_weights_bytes(model, loaded.decoder),
        }
    )


def _warm_up(generate: Generator, inputs: Sequence[Any], device: str) -> tuple[list[float], Heard | None]:
    """Generate the first batch, then the one with the longest prompts, then that again unless it has settled.

    It is not generated again either if the two took more than ``REPEAT_BUDGET_S`` together. A last batch of
    fewer rows comes last: it may need code of its own. A first batch that takes more than ``LONG_S`` is the
    only one. Return the seconds of each, of which the first includes lazy initialization and compilation, and
    what it showed.
    """
    first, longest = inputs[0], max(inputs, key=lambda batch: int(batch["input_ids"].shape[1]))
    made: list[Any] = []
    with generate.heard(first) as heard:
        seconds = [spent_s(lambda: made.append(generate(first)), device)]
    heard.token = int(made.pop()[0, generate.text(first)["input_ids"].shape[1]])
    compiled = bool(generate.loaded.configuration.optimization.of("compilation"))
    if seconds[0] > LONG_S and not compiled:
        return seconds, heard
    seconds.append(spent_s(partial(generate, longest), device))
    if seconds[0] > (1 + SETTLED) * seconds[1] and sum(seconds) <= REPEAT_BUDGET_S:
        seconds.append(spent_s(partial(generate, longest), device))
    if len(inputs[-1]["input_ids"]) not in (len(first["input_ids"]), len(longest["input_ids"])):
        seconds.append(spent_s(partial(generate, inputs[-1]), device))
    return seconds, None if compiled else heard


def _another_fits(spent_s: float, passes: int) -> bool:
    """Return whether one more pass like those made would end within the window."""
    return spent_s * (passes + 1) / passes <= WINDOW_S
