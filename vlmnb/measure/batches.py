"""Prepare the batches of a cell: samples, prompts and the tensors on the model's device."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vlmnb.data import catalogue
from vlmnb.data.catalogue import Dataset, Sample
from vlmnb.measure import encoding
from vlmnb.measure.encoding import Prompt
from vlmnb.measure.failures import NotApplicable
from vlmnb.measure.loading import Loaded
from vlmnb.records.resolved import Resolved


@dataclass(frozen=True)
class Batch:
    """One batch, ready to generate from.

    Attributes:
        samples: The questions.
        prompts: The same, cut to the prompt length.
        inputs: Tensors on the model's device.
        preprocess_s: Seconds of image processing and tokenization.
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


def prepare(resolved: Resolved, loaded: Loaded) -> list[Batch]:
    """Return all batches of a cell on the model's device, so that the timed window prepares nothing.

    Raises:
        NotApplicable: The model would see the images at another size than the cell's.
        NotEnoughTokens: The prompt length cannot hold a question of the data set.
    """
    cell = resolved.cell
    side = loaded.sizing.image_side(loaded.processor, cell.image_size)
    if side != cell.image_size:
        raise NotApplicable(
            f"the model cannot take a side of {cell.image_size} pixels; the nearest is {side}"
        )
    samples = catalogue.load(cell.dataset, cell.samples, cell.seed)
    batches = []
    for start in range(0, len(samples), cell.batch_size):
        part = samples[start : start + cell.batch_size]
        began = time.perf_counter()
        prompts = [encoding.fit(loaded.processor, sample.prompt, cell.seq_len) for sample in part]
        inputs = encode(loaded, part, prompts, cell.image_size)
        batches.append(Batch(part, prompts, inputs, time.perf_counter() - began))
    return batches


def encode(loaded: Loaded, samples: Sequence[Sample], prompts: Sequence[Prompt], image_size: int) -> Any:
    """Return the tensors of a batch on the model's device, floating-point ones in the model's precision."""
    import torch

    inputs = encoding.encode(loaded.sizing, loaded.processor, samples, prompts, image_size)
    for name, value in inputs.items():
        kept = value.to(loaded.model.dtype) if torch.is_floating_point(value) else value
        inputs[name] = kept.to(loaded.configuration.device)
    return inputs
