"""Prepare the batches of a cell: samples, prompts and the tensors on the model's device."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL.Image import Resampling

from vlmnb.data import catalogue, pictures
from vlmnb.data.catalogue import Dataset, Sample
from vlmnb.data.rows import BadRow
from vlmnb.errors import one_line
from vlmnb.measure import encoding, llama_cpp
from vlmnb.measure.encoding import Prompt
from vlmnb.measure.failures import NotApplicable, NotMeasured
from vlmnb.measure.loading import Loaded
from vlmnb.records.parts import FailedSample
from vlmnb.records.resolved import Resolved
from vlmnb.spec.cell import Cell
from vlmnb.stats.formatting import counted
from vlmnb.types import Shape

MOST_FAILED = 0.25
"""Share of a cell's samples that may be unusable. With more the cell fails: it would be another data set."""


@dataclass(frozen=True)
class Batch:
    """One batch, ready to generate from.

    Attributes:
        samples: The questions.
        prompts: The same, cut to the prompt length.
        inputs: Tensors on the model's device.
        preprocess_s: Seconds of decoding, image processing, tokenization and copying.
    """

    samples: Sequence[Sample]
    prompts: Sequence[Prompt]
    inputs: Any
    preprocess_s: float


def require_data(missing: Iterable[Resolved]) -> None:
    """Look up the data that cells need, so that a missing set stops a run before a model is loaded.

    Raises:
        UserError: A data set is not there, or has too few samples.
    """
    most: dict[tuple[Dataset, int], int] = {}
    for resolved in missing:
        asked = (resolved.dataset, resolved.cell.seed)
        most[asked] = max(most.get(asked, 0), resolved.cell.samples)
    for (dataset, seed), samples in most.items():
        dataset.choose(samples, seed)


def choose(resolved: Resolved) -> tuple[list[Sample], list[FailedSample]]:
    """Return the samples of a cell, and the chosen rows that cannot be used.

    Raises:
        NotMeasured: Too many cannot be used.
    """
    cell = resolved.cell
    samples, failed = catalogue.load(resolved.dataset, cell.samples, cell.seed)
    bad = [FailedSample(row=row, id=own, reason=reason) for row, own, reason in failed]
    require_most(cell, bad)
    return samples, bad


def prepare(cell: Cell, loaded: Loaded, samples: Iterable[Sample], failed: list[FailedSample]) -> list[Batch]:
    """Return all batches of a cell on the model's device, so that the timed window prepares nothing.

    Pictures are opened and brought to the cell's size one by one; one that cannot be opened is added to
    ``failed``, and the next sample takes its place in the batch.

    Raises:
        NotApplicable: The model would see the images at another size or shape than the cell's, or takes no
            prompts of so many images.
        NotEnoughTokens: The prompt length cannot hold a question of the data set.
        NotMeasured: Too many samples cannot be used.
    """
    side, sized = at_size(cell, loaded, samples, failed)
    batches: list[Batch] = []
    while part := list(itertools.islice(sized, cell.batch_size)):
        of_batch, resize_s = zip(*part, strict=True)
        began = time.perf_counter()
        prompts = [
            encoding.fit(loaded.processor, sample.prompt, cell.seq_len, len(sample.images))
            for sample in of_batch
        ]
        inputs = encode(loaded, of_batch, prompts, side, cell.image_shape)
        if loaded.engine:
            inputs[llama_cpp.PICTURES] = [np.asarray(image) for each in of_batch for image in each.images]
        seconds = time.perf_counter() - began + sum(resize_s)
        # FLOPs are counted for the first batch alone, the only one whose pictures are needed again.
        kept = of_batch if not batches else [replace(sample, images=()) for sample in of_batch]
        batches.append(Batch(kept, prompts, inputs, seconds))
    require_most(cell, failed)
    return batches


def at_size(
    cell: Cell, loaded: Loaded, samples: Iterable[Sample], failed: list[FailedSample]
) -> tuple[int, Iterator[tuple[Sample, float]]]:
    """Return the side of a cell's images, and its samples with their pictures of that side and the seconds.

    Raises:
        NotApplicable: The model would see the images at another size or shape than the cell's.
    """
    side = loaded.sizing.image_side(loaded.processor, cell.image_size)
    if side != cell.image_size:
        raise NotApplicable(
            f"the model cannot take a side of {counted(cell.image_size, 'pixel')}; the nearest is {side}"
        )
    if cell.image_shape == "kept" and loaded.sizing.own_size() is None:
        raise NotApplicable("the model's processor makes every image square, whatever its shape")
    return side, _sized(loaded, samples, side, cell.image_shape, failed)


def _sized(
    loaded: Loaded, samples: Iterable[Sample], side: int, shape: Shape, failed: list[FailedSample]
) -> Iterator[tuple[Sample, float]]:
    """Yield samples with their pictures opened and resized, and the seconds."""
    for sample in samples:
        began = time.perf_counter()
        try:
            opened = [pictures.decoded(image) for image in sample.images]
        except BadRow as error:
            reason = f"{sample.file}: {error}"
            failed.append(FailedSample(row=sample.row, id=sample.sample_id, reason=reason))
            continue
        made = resized(loaded, opened, side, shape)
        yield replace(sample, images=made), time.perf_counter() - began


def resized(loaded: Loaded, opened: Iterable[Any], side: int, shape: Shape) -> tuple[Any, ...]:
    """Return pictures resized as the processor would resize them.

    A picture becomes a square, or keeps its shape and gets the side as its longer one.
    """
    resampling = int(getattr(loaded.processor.image_processor, "resample", None) or Resampling.BICUBIC)
    return tuple(picture.resize(_sides(picture.size, side, shape), resampling) for picture in opened)


def _sides(own: tuple[int, int], side: int, shape: Shape) -> tuple[int, int]:
    """Return the width and height to which a picture is resized."""
    if shape == "square":
        return side, side
    width, height = (max(1, round(length * side / max(own))) for length in own)
    return width, height


def require_most(cell: Cell, failed: Sequence[FailedSample]) -> None:
    """Raise NotMeasured if too many of a cell's samples could not be used."""
    if len(failed) > MOST_FAILED * cell.samples:
        rows = "; ".join(f"row {each.row} (id {each.id}): {each.reason}" for each in failed[:3])
        raise NotMeasured(
            f"{len(failed)} of the {cell.samples} chosen rows of {cell.dataset} cannot be used, more than "
            f"{MOST_FAILED:.0%}: {rows}{'; ...' * (len(failed) > 3)}"
        )


def encode(
    loaded: Loaded, samples: Sequence[Sample], prompts: Sequence[Prompt], image_size: int, shape: Shape
) -> Any:
    """Return the tensors of a batch on the model's device, floating-point ones in the model's precision.

    Raises:
        NotApplicable: The processor refuses prompts without an image, or with several.
    """
    processor = loaded.processor
    try:
        inputs = encoding.encode(loaded.sizing, processor, samples, prompts, image_size, shape)
    except Exception as error:  # whatever the library raises
        counts = {prompt.images for prompt in prompts}
        if counts == {1}:
            raise
        several = f"{max(counts)} images" if max(counts) > 1 else "no image"
        said = f"{type(error).__name__}: {one_line(error, 300)}"
        raise NotApplicable(f"{type(processor).__name__} takes no prompt of {several}: {said}") from error
    return on_device(loaded, inputs)


def on_device(loaded: Loaded, inputs: Any) -> Any:
    """Return tensors on the model's device, floating-point ones in the model's precision."""
    import torch

    for name, value in inputs.items():
        kept = value.to(loaded.model.dtype) if torch.is_floating_point(value) else value
        inputs[name] = kept.to(loaded.configuration.device)
    return inputs
