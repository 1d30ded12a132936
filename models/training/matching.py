"""Teaching the decoder, on text alone, to look things up, to compare and to name a choice.

These skills take a small decoder very long to find while it also learns to see. Here a description in words
stands where the image will: the questions, their packing and their answers are those of phase two. Every
pack also names choices over a wide vocabulary, so that naming is learned as such.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from models.training.eyes import Marker
from models.training.forward import packed_forward
from models.training.pictures import draw_picture
from models.training.questions import binding
from models.training.stream import KINDS, Batch, Prompter, packed

MIXTURE = {"sign": 0.1, "scene": 0.3, "chart": 0.3, "easy": 0.3}


class TextStream(IterableDataset[Batch]):
    """An endless seeded stream of packed questions about described, undrawn pictures."""

    def __init__(self, processor: Any, seed: int, rows: int, budget: int) -> None:
        """Keep what the batches are made of."""
        self.processor, self.seed, self.rows, self.budget = processor, seed, rows, budget

    def __iter__(self) -> Iterator[Batch]:
        """Draw batches for ever."""
        rng = random.Random(self.seed)
        prompter = Prompter(self.processor)
        while True:
            pictures = [draw_picture(rng, "train", mixture=MIXTURE) for _ in range(self.rows)]
            for picture in pictures:
                picture.tasks.append(binding(rng))
            yield packed(prompter, rng, pictures, None, self.budget)


def answer_loss(logits: torch.Tensor, places: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Weighted cross entropy of the answer tokens."""
    weights = batch["weights"][places]
    losses = F.cross_entropy(logits, batch["labels"][places], reduction="none")
    return (losses * weights).sum() / weights.sum()


class Tally:
    """Running shares of right first answer tokens, by kind of question."""

    def __init__(self) -> None:
        """Start empty."""
        self.right: dict[int, float] = {}

    @torch.no_grad()
    def add(self, logits: torch.Tensor, places: torch.Tensor, batch: Batch) -> None:
        """Count one batch."""
        kinds = batch["kinds"][places]
        hits = (logits.argmax(-1) == batch["labels"][places]).float()
        for kind in kinds[kinds >= 0].unique().tolist():
            share = hits[kinds == kind].mean().item()
            self.right[kind] = 0.9 * self.right.get(kind, share) + 0.1 * share

    def shares(self) -> dict[str, float]:
        """What to log."""
        return {KINDS[kind]: round(share, 3) for kind, share in sorted(self.right.items())}


def text_loss(
    name: str, model: Any, marker: Marker, prompter: Prompter, batch: Batch, tally: Tally
) -> torch.Tensor:
    """Loss of the answers and of the marks of choices over one batch of text."""
    with torch.autocast("cpu", torch.bfloat16):
        logits, places, _ = packed_forward(name, model, batch, prompter)
        marking = marker.loss(batch["marks"])
    tally.add(logits, places, batch)
    return answer_loss(logits, places, batch) + marking
