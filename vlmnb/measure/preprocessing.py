"""Prepare batches in several ways: by backend of the image processor, by threads, and with pixels kept.

As with the workers of a data loader, each thread prepares whole batches with a processor of its own.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vlmnb.data import pictures
from vlmnb.data.catalogue import Sample
from vlmnb.device.clock import spent_s, synchronize
from vlmnb.measure import batches, encoding, failures
from vlmnb.measure.encoding import Prompt
from vlmnb.measure.failures import NotApplicable, NotMeasured
from vlmnb.measure.generation import Generator
from vlmnb.measure.loading import Loaded
from vlmnb.meters.energy import EnergyMeter
from vlmnb.models import prompting
from vlmnb.records.parts import STEPS, FailedSample, Prepared, Preprocessing
from vlmnb.records.resolved import Resolved
from vlmnb.types import Shape

THREADS = (1, 2, 4)
BACKENDS = ("pil", "torchvision", "cached")
ROUNDS = 6
"""Fewest rounds over all batches: from six on the median has a 95 % interval."""

WINDOW_S = 0.3
"""Shortest window: 30 ticks of CPU time, which the energy model needs. An energy counter may need more."""


@dataclass(frozen=True)
class Stored:
    """A batch as it is before preparing.

    Attributes:
        samples: With the pictures as they are stored.
        prompts: Cut to the prompt length.
        pixels: What the model gets of the pictures, as kept.
    """

    samples: Sequence[Sample]
    prompts: Sequence[Prompt]
    pixels: dict[str, Any]


class Clock:
    """Seconds spent in each step."""

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(STEPS, 0.0)
        self._open: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of a block to a step, and take it off the step around it."""
        began = time.perf_counter()
        self._open.append(name)
        yield
        self._open.pop()
        seconds = time.perf_counter() - began
        self.spent_s[name] += seconds
        if self._open:
            self.spent_s[self._open[-1]] -= seconds


class TimedTokenizer:
    """Stands for a processor's tokenizer, whose time it adds to the step ``tokenize``."""

    def __init__(self, tokenizer: Any, clock: Clock) -> None:
        self._tokenizer, self._clock = tokenizer, clock

    def __call__(self, *texts: Any, **how: Any) -> Any:
        """Tokenize."""
        with self._clock.step("tokenize"):
            return self._tokenizer(*texts, **how)

    def pad(self, *rows: Any, **how: Any) -> Any:
        """Pad."""
        with self._clock.step("tokenize"):
            return self._tokenizer.pad(*rows, **how)

    def __getattr__(self, name: str) -> Any:
        """Return what the tokenizer has."""
        return getattr(self._tokenizer, name)


def profile(
    resolved: Resolved, loaded: Loaded, samples: Sequence[Sample], failed: list[FailedSample]
) -> Preprocessing:
    """Time the preparation of full batches in every way, and the model on the same batches.

    Raises:
        NotApplicable: The model would see the images at another size than the cell's, or the cell has fewer
            samples than a batch.
        NotMeasured: Too many samples cannot be used, or not even one batch is full.
    """
    cell = resolved.cell
    if cell.samples < cell.batch_size:
        raise NotApplicable(
            f"a batch of {cell.batch_size} needs as many samples, and samples is {cell.samples}: set it so"
        )
    side, sized = batches.at_size(cell, loaded, samples, failed)
    # Stored pictures of the samples whose pictures can be opened.
    known = {sample.sample_id: sample for sample in samples}
    usable = [known[sample.sample_id] for sample, _ in sized]
    batches.require_most(cell, failed)
    groups = [usable[i : i + cell.batch_size] for i in range(0, len(usable), cell.batch_size)]
    full = [group for group in groups if len(group) == cell.batch_size]
    if not full:
        raise NotMeasured(f"{len(usable)} usable samples do not fill a batch of {cell.batch_size}")
    stored, inputs = [], []
    for group in full:
        prompts = [
            encoding.fit(loaded.processor, sample.prompt, cell.seq_len, len(sample.images))
            for sample in group
        ]
        made = _prepare(loaded, loaded.processor, side, cell.image_shape, Clock(), Stored(group, prompts, {}))
        pixels = {name: value.cpu() for name, value in made.items() if name.startswith(("pixel", "image"))}
        stored.append(Stored(group, prompts, pixels))
        inputs.append(made)
    generate = Generator.of(resolved, loaded, inputs)
    for one in (inputs[0], inputs[-1]):
        generate(one)
    model_s = [spent_s(partial(generate, one), cell.device) for one in inputs]
    ways: list[Prepared] = []
    for backend in BACKENDS:
        for threads in THREADS:
            ways.append(_timed(resolved, loaded, stored, backend, threads, side))
            if ways[-1].reason:
                break  # more threads would not bring the backend here
    return Preprocessing(batches=len(stored), model_s=tuple(model_s), ways=tuple(ways))


def _timed(
    resolved: Resolved, loaded: Loaded, stored: Sequence[Stored], backend: str, threads: int, side: int
) -> Prepared:
    """Prepare all batches round after round; what a library raises is why a backend is not here."""
    device = resolved.cell.device
    try:
        processors = [_processor(loaded, backend) for _ in range(threads)]
        prepare: Callable[..., Any] = _from_cache
        if backend != "cached":
            prepare = partial(_prepare, side=side, shape=resolved.cell.image_shape)
        with ThreadPoolExecutor(threads) as pool:
            work = partial(_round, pool, loaded, processors, prepare, stored, device)
            work()
            made: list[tuple[float, dict[str, float]]] = []
            least_s = max(WINDOW_S, EnergyMeter(device).least_window_s)
            with EnergyMeter(device) as meter:
                while len(made) < ROUNDS or meter.elapsed_s < least_s:
                    made.append(work())
    except MemoryError:
        raise
    except Exception as error:
        reason = f"not here: {failures.of(error)[1]}"
        return Prepared(backend=backend, threads=threads, reason=reason)
    round_s, steps = zip(*made, strict=True)
    return Prepared(
        backend=backend,
        threads=threads,
        processor="" if backend == "cached" else type(processors[0].image_processor).__name__,
        round_s=round_s,
        steps={name: tuple(each[name] for each in steps) for name in STEPS},
        samples=len(made) * sum(len(one.samples) for one in stored),
        energy=meter.readings,
        energy_refused=meter.refused,
    )


def _round(
    pool: ThreadPoolExecutor, loaded: Loaded, processors: Sequence[Any], prepare: Callable[..., Any],
    stored: Sequence[Stored], device: str,
) -> tuple[float, dict[str, float]]:  # fmt: skip
    """Prepare all batches once, each thread a share of them; return the seconds, in all and by step."""

    def share(place: int) -> Clock:
        clock = Clock()
        processor = copy.copy(processors[place])
        processor.tokenizer = TimedTokenizer(processor.tokenizer, clock)
        for one in stored[place :: len(processors)]:
            prepare(loaded, processor, clock=clock, stored=one)
        return clock

    began = time.perf_counter()
    clocks = list(pool.map(share, range(len(processors))))
    synchronize(device)
    seconds = time.perf_counter() - began
    return seconds, {name: sum(clock.spent_s[name] for clock in clocks) for name in STEPS}


def _prepare(loaded: Loaded, processor: Any, side: int, shape: Shape, clock: Clock, stored: Stored) -> Any:
    """Do all that turns stored pictures and cut questions into tensors on the device."""
    with clock.step("decode"):
        opened = [[pictures.decoded(image) for image in sample.images] for sample in stored.samples]
    with clock.step("resize"):
        sized = [batches.resized(loaded, images, side, shape) for images in opened]
    samples = [replace(one, images=images) for one, images in zip(stored.samples, sized, strict=True)]
    with clock.step("tokenize"):
        prompts = [
            replace(prompt, rendered=prompting.render(processor, prompt.text, images=prompt.images))
            for prompt in stored.prompts
        ]
    with clock.step("normalise"):
        inputs = encoding.encode(loaded.sizing, processor, samples, prompts, side, shape)
    with clock.step("copy"):
        return batches.on_device(loaded, inputs)


def _from_cache(loaded: Loaded, processor: Any, clock: Clock, stored: Stored) -> Any:
    """Tokenize the questions anew and copy the pixels that were kept."""
    with clock.step("tokenize"):
        for prompt in stored.prompts:
            prompting.text_ids(processor, prompting.render(processor, prompt.text, images=prompt.images))
    with clock.step("copy"):
        return {
            name: value.to(loaded.configuration.device, copy=True) for name, value in stored.pixels.items()
        }


def _processor(loaded: Loaded, backend: str) -> Any:
    """Return a processor of its own for a thread, with the image processor of a backend."""
    processor = copy.deepcopy(loaded.processor)
    if backend != "torchvision":
        return processor
    import torchvision  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    from transformers import AutoImageProcessor

    if hasattr(processor, "patches"):
        raise NotImplementedError(f"{type(processor).__name__} cuts patches itself")
    processor.image_processor = AutoImageProcessor.from_pretrained(
        loaded.configuration.folder, backend="torchvision"
    )
    return processor
