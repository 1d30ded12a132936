"""Batches: pictures at one size and, for phase two, their questions packed behind a shared image prefix."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from models.training.build import CLIP_MEAN, CLIP_STD, PATCH, TILE
from models.training.pictures import EYE_MIXTURE, MIXTURE, SLOTS, Picture, cell_maps, draw_picture
from models.training.questions import Task
from models.training.words import Split

Batch = dict[str, torch.Tensor]
SIZES = ((64, 0.66), (32, 0.1), (96, 0.12), (128, 0.12))
IGNORE = -100
TRUNCATED = 0.15
MARK = "\u2603"
KINDS = (
    "easy",
    "yes_no",
    "scene",
    "chart",
    "caption",
    "word",
    "number",
    "letter",
    "binding",
    "choice_scene",
    "choice_chart",
)
EMPHASIS = {"yes_no": 1.5, "word": 1.5, "number": 1.5, "choice_scene": 2.0, "choice_chart": 2.0}


class Prompter:
    """Token ids of prompts, cut into the shared image prefix and the part that differs by question."""

    def __init__(self, processor: Any) -> None:
        """Read the chat format off the processor's template."""
        self.processor, self.tokenizer = processor, processor.tokenizer
        content = [{"type": "image"}, {"type": "text", "text": MARK}]
        rendered = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        head, tail = rendered.split(processor.image_token)
        self.before, self.after = tail.split(MARK)
        self.head = self.encode(head)
        if self.tokenizer("")["input_ids"]:
            self.head = [self.tokenizer.bos_token_id, *self.head]
        self.encode = lru_cache(maxsize=100_000)(self.encode)  # type: ignore[method-assign]

    def encode(self, text: str) -> list[int]:
        """Ids of a text without anything added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def image_ids(self, size: int) -> list[int]:
        """The image part of a prompt at a size."""
        side = size // PATCH
        image = self.processor.image_token_id
        if hasattr(self.processor, "fake_image_token"):
            across = 0 if size <= TILE else tile_side(size) // TILE
            cut: dict[str, Any] = {"rows": [[across]], "cols": [[across]]}
            return self.encode(self.processor.replace_image_token(cut, 0))
        newline = getattr(self.processor, "newline_token_id", None)
        if newline is not None:
            return ([image] * side + [newline]) * side
        merge = getattr(self.processor.image_processor, "merge_size", 1)
        return [image] * (side // merge) ** 2

    def prefix(self, size: int) -> list[int]:
        """Everything up to and including the image."""
        return [*self.head, *self.image_ids(size)]

    def described(self, description: str) -> list[int]:
        """A prefix with words in place of the image."""
        return [*self.head, *self.encode(description)]

    def question(self, text: str) -> list[int]:
        """The rest of the prompt: the question and what follows it."""
        return self.encode(self.before + text + self.after)

    def answer(self, text: str) -> list[int]:
        """An answer and the end of text."""
        return [*self.encode(text), self.tokenizer.eos_token_id]

    def maybe_truncated(self, rng: random.Random, task: Task) -> str:
        """The text of a task, now and then cut from the right somewhere behind the question proper."""
        if rng.random() >= TRUNCATED:
            return task.text
        ids = self.encode(task.text)
        least = len(self.encode(task.text[: task.question_end]))
        return str(self.tokenizer.decode(ids[: rng.randint(min(least, len(ids)), len(ids))]))


def pixels(images: list[Image.Image], size: int, clip: bool) -> torch.Tensor:
    """Images resized and normalized as the processors do, ``(batch, 3, size, size)``."""
    arrays = []
    for image in images:
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        arrays.append(np.asarray(image, dtype=np.float32))
    values = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255
    mean = torch.tensor(CLIP_MEAN if clip else [0.5] * 3).view(1, 3, 1, 1)
    std = torch.tensor(CLIP_STD if clip else [0.5] * 3).view(1, 3, 1, 1)
    return (values - mean) / std


def tile_side(size: int) -> int:
    """The side that a picture is brought to before it is cut: whole tiles."""
    return -(-size // TILE) * TILE


def cut(squares: torch.Tensor, tile: int) -> torch.Tensor:
    """The last two axes cut into tiles in reading order: ``(batch, tiles, ..., tile, tile)``."""
    parts = squares.unflatten(-1, (-1, tile)).unflatten(-3, (-1, tile))
    return parts.movedim((-4, -2), (1, 2)).flatten(1, 2)


def tiles(images: list[Image.Image], size: int) -> torch.Tensor:
    """Pictures at a size as SmolVLM takes them: the tiles and, if several, the whole made small."""
    scale = Image.Resampling.LANCZOS
    side = tile_side(size)
    whole = [image.resize((size, size), scale).resize((side, side), scale) for image in images]
    made = cut(pixels(whole, side, clip=False), TILE)
    if side == TILE:
        return made
    small = [image.resize((TILE, TILE), scale) for image in whole]
    return torch.cat([made, pixels(small, TILE, clip=False)[:, None]], dim=1)


def attributes(pictures: list[Picture], size: int, causal: bool, tiled: bool) -> Batch:
    """Targets of the throw-away heads, those of cells in the order of tiles."""
    slots = [[p.slots.get(name, IGNORE) for name in SLOTS] for p in pictures]
    sides = [size]
    if tiled:
        sides = [tile_side(size)] + [TILE] * (size > TILE)
    found: list[list[torch.Tensor]] = [[], []]
    for grid in (side // PATCH for side in sides):
        maps = zip(*(cell_maps(p.sign, grid, causal) for p in pictures), strict=True)
        for made, rows in zip(found, maps, strict=True):
            squares = torch.tensor(rows).unflatten(1, (grid, grid))
            made.append(cut(squares, TILE // PATCH if tiled else grid).flatten(1))
    cells, places = (torch.cat(made, dim=1) for made in found)
    return {"slots": torch.tensor(slots), "cells": cells, "places": places}


def packed(
    prompter: Prompter, rng: random.Random, pictures: list[Picture], size: int | None, budget: int
) -> Batch:
    """Questions of each picture behind one another, as many as the token budget holds.

    Args:
        prompter: Token ids of prompts.
        rng: Source of the order of the questions.
        pictures: The pictures of the batch.
        size: Side of the images in pixels, or none to put descriptions in words in their place.
        budget: Question tokens per picture.

    Returns:
        ``ids``, ``segment`` (0 for the prefix, -1 for padding), ``offset`` (place within the own segment),
        ``labels`` and ``weights`` of the answers, ``marks`` and ``kinds`` of the questions at
        the first token of each answer, each ``(batch, length)``; ``start``, the lengths of the prefixes.
    """
    rows: list[tuple[list[int], list[int], list[int], list[int], list[float], list[int], list[int]]] = []
    starts = []
    for picture in pictures:
        prefix = prompter.described(picture.description) if size is None else prompter.prefix(size)
        starts.append(len(prefix))
        ids, segment, offset = list(prefix), [0] * len(prefix), list(range(len(prefix)))
        labels, weights = [IGNORE] * len(prefix), [0.0] * len(prefix)
        marks, kinds = [IGNORE] * len(prefix), [-1] * len(prefix)
        number = 0
        for task in rng.sample(picture.tasks, len(picture.tasks)):
            text = prompter.maybe_truncated(rng, task)
            question = prompter.question(text)
            answer = prompter.answer(task.answer)
            length = len(question) + len(answer) - 1
            if number and len(ids) - len(prefix) + length > budget:
                continue
            number += 1
            ids += question + answer[:-1]
            segment += [number] * length
            offset += list(range(length))
            labels += [IGNORE] * (len(question) - 1) + answer
            weight = EMPHASIS.get(task.kind, 1.0) * len(answer) ** -0.5
            weights += [0.0] * (len(question) - 1) + [weight] * len(answer)
            kinds += [-1] * (len(question) - 1) + [KINDS.index(task.kind)] + [-1] * (len(answer) - 1)
            own = [IGNORE] * length
            for end, mark in task.marks:
                if end < len(text):
                    own[len(prompter.encode(prompter.before + text[:end])) - 1] = mark
            marks += own
        rows.append((ids, segment, offset, labels, weights, marks, kinds))
    longest = max(len(row[0]) for row in rows)
    fill = (prompter.tokenizer.pad_token_id, -1, 0, IGNORE, 0.0, IGNORE, -1)
    columns = [[[*row[i], *[fill[i]] * (longest - len(row[i]))] for row in rows] for i in range(len(fill))]
    names = ("ids", "segment", "offset", "labels", "weights", "marks", "kinds")
    batch = {name: torch.tensor(column) for name, column in zip(names, columns, strict=True)}
    return batch | {"start": torch.tensor(starts)}


class Stream(IterableDataset[Batch]):
    """An endless seeded stream of batches of one checkpoint's training data."""

    def __init__(
        self, name: str, processor: Any, seed: int, images: int, budget: int | None, split: Split = "train"
    ) -> None:
        """Set up the stream.

        Args:
            name: Checkpoint name.
            processor: Its processor.
            seed: Seed of everything drawn.
            images: Pictures in a batch at size 64; fewer at larger sizes.
            budget: Question tokens per picture, or none for phase one.
            split: Vocabulary and easy-VQA images to draw from.
        """
        self.name, self.processor, self.seed, self.split = name, processor, seed, split
        self.images, self.budget = images, budget

    def __iter__(self) -> Iterator[Batch]:
        """Draw batches for ever."""
        rng = random.Random(self.seed)
        prompter = Prompter(self.processor)
        fixed, tiled = self.name == "llava-tiny", self.name == "smolvlm-tiny"
        while True:
            size = 64 if fixed else rng.choices([s for s, _ in SIZES], [w for _, w in SIZES])[0]
            count = self.images if size <= 64 else self.images * 64 // size // (2 if tiled else 1)
            mixture = EYE_MIXTURE if self.budget is None else MIXTURE
            pictures = [draw_picture(rng, self.split, mixture=mixture) for _ in range(count)]
            images = [p.image for p in pictures]
            seen = tiles(images, size) if tiled else pixels(images, size, self.name != "fuyu-tiny")
            batch: Batch = {"pixels": seen}
            batch |= attributes(pictures, size, causal=self.name == "fuyu-tiny", tiled=tiled)
            if self.budget is not None:
                batch |= packed(prompter, rng, pictures, size, self.budget)
            yield batch
