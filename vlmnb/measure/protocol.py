"""The timed window of a cell: warm up, generate every batch, repeat until the median is known well enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vlmnb.device.clock import now_s, synchronize
from vlmnb.device.load import LoadMarks, is_high
from vlmnb.measure.loading import Loaded
from vlmnb.measure.phases import PhaseClock, Phases
from vlmnb.meters import memory
from vlmnb.meters.readings import MemoryUsage, ProbeLogits
from vlmnb.meters.window import MeteredWindow
from vlmnb.records.timing import Timing
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals
from vlmnb.stats.batches import batch_values

MOST_WARMUP_BATCHES = 3
"""Untimed batches before the window, at most; at least two, of which the first pays for lazy
initialization and compilation."""

SETTLED = 0.1
"""Warm-up ends when a batch takes within this share of the time the same batch took before."""

REPEAT_BUDGET_S = 1.0
"""After the first pass, passes are added until one is clean and the median stable, or this much time has gone
by: short, so that a sweep's time goes to cells rather than to repeats of what is known well enough."""


@dataclass(frozen=True)
class TimedWindow:
    """What the timed window gave; outputs are those of the first pass."""

    timing: Timing
    outputs: list[Any]
    meters: MeteredWindow
    memory: MemoryUsage


@dataclass(frozen=True)
class Generator:
    """Calls ``generate`` as a cell wants it.

    Attributes:
        caches: Static caches, where the cell's optimization has them.
    """

    cell: Cell
    loaded: Loaded
    caches: Any | None

    @classmethod
    def of(cls, cell: Cell, loaded: Loaded, inputs: Sequence[Any]) -> Generator:
        """For a cell, its model, and all of its batches."""
        longest = max(int(batch["input_ids"].shape[1]) for batch in inputs)
        # Answers of natural and of fixed length take the same block, so that a compiled step serves both.
        new = max(cell.max_new_tokens, loaded.entry.max_new_tokens)
        return cls(cell, loaded, optimizations.of(cell).caches(loaded.model, longest + new))

    def __call__(self, batch: Any) -> Any:
        """Prompts and new tokens of a batch."""
        return self._generate(batch, **limits(self.cell), **self._extra())

    def probe(self, batch: Any) -> ProbeLogits:
        """Logits of the first question's first two new tokens, by a prompt's pass and a decoding step."""
        import torch

        two = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}
        with torch.inference_mode():
            made = self._generate(
                batch, **two, **self._extra(), output_logits=True, return_dict_in_generate=True
            )
        first, second = (_kept(logits[0]) for logits in made.logits[:2])
        return ProbeLogits(
            vocabulary=made.logits[0].shape[-1],
            values=first,
            token=int(made.sequences[0, batch["input_ids"].shape[1]]),
            step_values=second,
        )

    def _extra(self) -> dict[str, Any]:
        """Return the arguments of ``generate`` that the cell's optimization adds."""
        return optimizations.of(self.cell).arguments(self.loaded.model)

    def _generate(self, batch: Any, **arguments: Any) -> Any:
        if self.caches is not None:
            # generate would compile by itself on a GPU; what is compiled here is what the cell says.
            arguments |= {
                "past_key_values": self.caches.empty(len(batch["input_ids"])),
                "disable_compile": True,
            }
        with self.loaded.configuration.optimization.within():
            return self.loaded.model.generate(**batch, **arguments)


PROBED = 128
"""Logits of a token that a record keeps: enough to see a shift, few enough to be committed."""


def _kept(logits: Any) -> tuple[float, ...]:
    """Some of a token's logits, in the digits that are worth keeping."""
    import torch

    places = torch.linspace(0, len(logits) - 1, min(PROBED, len(logits))).round().long()
    return tuple(float(f"{value:.6g}") for value in logits.float().cpu()[places].tolist())


def limits(cell: Cell) -> dict[str, Any]:
    """Arguments of ``generate``: greedy, and of fixed length if the cell says so."""
    fixed = {"min_new_tokens": cell.max_new_tokens} if cell.length == "fixed" else {}
    return {"max_new_tokens": cell.max_new_tokens, "do_sample": False, **fixed}


def timed(generate: Generator, inputs: Sequence[Any], samples: Sequence[int]) -> TimedWindow:
    """Generate every batch, once or in several passes, timing each with its phases.

    Inside the window nothing is printed, saved or converted: a batch's inputs are on the device when its
    clock starts, and the device is synchronized before the clock starts and before it stops. Energy and
    memory are those of the whole window, all passes included; passes are added until the counters of energy
    can tell it. A pass during which other processes used the machine is marked, and repeated within the
    budget; none is thrown away.

    Args:
        generate: Of the cell that is measured.
        inputs: Tensors of each batch, on the device.
        samples: Samples in each batch.
    """
    import torch

    cell, loaded = generate.cell, generate.loaded
    outputs: list[Any] = []
    taken: list[Phases] = []
    with (
        torch.inference_mode(),
        PhaseClock(loaded.model, loaded.family.vision_modules(loaded.model), cell.device) as clock,
    ):
        warmup = _warm_up(generate, inputs)
        with MeteredWindow(cell.device) as window:
            began_s, marks = now_s(), LoadMarks()
            while (
                not taken
                or window.too_short
                or _worth_repeating(taken, cell, samples, window.energy.elapsed_s, _marked(marks))
            ):
                found = one_pass(clock, generate, inputs, samples, window)
                marks.mark()
                taken += [phases for _, phases in found]
                outputs = outputs or [output for output, _ in found]
            loop_s = now_s() - began_s
    timing = Timing(
        warmup_batches=len(warmup),
        latencies_s=tuple(phases.latency_s for phases in taken),
        vision_s=tuple(phases.vision_s for phases in taken),
        prefill_s=tuple(phases.prefill_s for phases in taken),
        decode_s=tuple(phases.decode_s for phases in taken),
        decode_steps=tuple(phases.decode_steps for phases in taken),
        batch_samples=tuple(samples) * (len(taken) // len(inputs)),
        passes=len(taken) // len(inputs),
        pass_loads=tuple(marks.shares()),
        contaminated=tuple(_marked(marks)),
        loop_s=loop_s,
        first_call_s=warmup[0],
    )
    return TimedWindow(timing, outputs, window, _memory(loaded, outputs, window))


def one_pass(
    clock: PhaseClock,
    generate: Callable[[Any], Any],
    inputs: Sequence[Any],
    samples: Sequence[int],
    window: MeteredWindow,
) -> list[tuple[Any, Phases]]:
    """Generate every batch once: output and phases of each, in order."""
    found = []
    for batch, size in zip(inputs, samples, strict=True):
        found.append(clock.time(partial(generate, batch)))
        window.covered(size)
    return found


def _marked(marks: LoadMarks) -> list[bool]:
    """Which passes others disturbed, as far as can be told."""
    return [share is not None and is_high(share) for share in marks.shares()]


def _memory(loaded: Loaded, outputs: Sequence[Any], window: MeteredWindow) -> MemoryUsage:
    """What the window's meter found, and the parts of it that can be told: weights, keys and values."""
    model = loaded.model
    caches = [
        memory.cache_bytes(model.config, output.shape[0], output.shape[1] - 1, model.dtype.itemsize)
        for output in outputs
    ]
    return window.memory.usage.model_copy(
        update={
            "weights_bytes": memory.weights_bytes(model),
            "cache_bytes": max(caches),
            "decode_weights_bytes": memory.decode_weights_bytes(model),
        }
    )


def _warm_up(generate: Generator, inputs: Sequence[Any]) -> list[float]:
    """Seconds of each warm-up batch: the first batch, then the longest one until its time has settled."""
    longest = max(inputs, key=lambda batch: int(batch["input_ids"].shape[1]))
    seconds: list[float] = []
    for batch in (inputs[0], *[longest] * (MOST_WARMUP_BATCHES - 1)):
        began_s = now_s()
        generate(batch)
        synchronize(generate.cell.device)
        seconds.append(now_s() - began_s)
        if len(seconds) > 1 and (longest is inputs[0] or len(seconds) > 2):
            before, last = seconds[-2:]
            if abs(last - before) <= SETTLED * last:
                break
        if len(seconds) > 1 and sum(seconds) > REPEAT_BUDGET_S:
            break
    return seconds


def _worth_repeating(
    taken: Sequence[Phases], cell: Cell, samples: Sequence[int], spent_s: float, contaminated: Sequence[bool]
) -> bool:
    """Whether another pass fits the budget, and no pass is clean or the median is not yet stable."""
    passes = len(taken) // len(samples)
    if spent_s * (passes + 1) / passes > REPEAT_BUDGET_S:
        return False
    if all(contaminated):
        return True
    timing, sizes = [phases.latency_s for phases in taken], tuple(samples) * passes
    full = batch_values(timing, sizes, cell.batch_size, passes, cell.length, contaminated)
    return bool(full) and intervals.verdict(full) != "stable"
