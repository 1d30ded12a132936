"""Turn samples into the tensors of a batch: prompt length, chat template, image size, left padding."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import regex

from vlmnb.data.catalogue import Sample
from vlmnb.measure.failures import NotEnoughTokens
from vlmnb.models import prompting
from vlmnb.models.family import Sizing
from vlmnb.stats.formatting import counted
from vlmnb.types import Shape

FILLER = " the"
"""A word that is one token of the bundled tokenizers."""


@dataclass(frozen=True)
class Prompt:
    """A prompt cut to its length.

    Attributes:
        text: What is left of the question.
        rendered: The same within the chat template.
        text_tokens: Its length in tokens, image placeholders not counted.
        images: How many images it has.
    """

    text: str
    rendered: str
    text_tokens: int
    images: int = 1


def fit(processor: Any, text: str, seq_len: int, images: int = 1) -> Prompt:
    """Cut the end of a question until the whole text prompt fits ``seq_len`` tokens.

    The template, the image placeholders and the generation prompt are kept whole, and so is what a reader
    takes for one character, which can be several code points and many tokens. A stand-in processor
    (``fills``) does not know the real length of a question, so its prompts get exactly ``seq_len`` tokens.

    Raises:
        NotEnoughTokens: Not even one character of the question fits.
    """
    prompt = _prompt(processor, text, images)
    if prompt.text_tokens > seq_len:
        room = max(0, seq_len - _prompt(processor, "", images).text_tokens + 2)
        characters = [0, *(found.end() for found in regex.finditer(r"\X", text))]
        ends = characters
        if processor.tokenizer.is_fast:
            found = processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            ends = [end for _, end in found["offset_mapping"][:room]]
        cuts = {characters[bisect.bisect_right(characters, end) - 1] for end in ends} - {0}
        for cut in sorted(cuts, reverse=True):
            prompt = _prompt(processor, text[:cut], images)
            if prompt.text_tokens <= seq_len:
                break
        else:
            needed = _prompt(processor, text[: characters[1]], images).text_tokens
            raise NotEnoughTokens(
                f"a prompt length of {counted(seq_len, 'text token')} cannot hold the template and one "
                f"character of the question, which take {needed}"
            )
    if getattr(processor, "fills", False):
        prompt = _prompt(processor, prompt.text + FILLER * (seq_len - prompt.text_tokens), images)
    return prompt


def _prompt(processor: Any, text: str, images: int) -> Prompt:
    """Put a question into the checkpoint's chat template and count the tokens that are not the images'."""
    rendered = prompting.render(processor, text, images=images)
    ids = prompting.text_ids(processor, rendered)
    return Prompt(text, rendered, len(prompting.without_breaks(processor, ids)), images)


def encode(
    sizing: Sizing,
    processor: Any,
    samples: Sequence[Sample],
    prompts: Sequence[Prompt],
    size: int,
    shape: Shape = "square",
) -> Any:
    """Return the tensors of one batch, padded on the left, given images of ``size`` pixels a side.

    Images that keep their shape have their final size. The processor of a model with one image size resizes
    all to that size.

    Raises:
        ValueError: The processor padded on the right, which spoils answers without any error.
    """
    nested = [list(sample.images) for sample in samples]
    flat = [image for images in nested for image in images]
    batch = processor(
        images=(nested if getattr(processor, "nested_images", False) else flat) if flat else None,
        text=[prompt.rendered for prompt in prompts],
        padding=True,
        return_tensors="pt",
        **((sizing.own_size() if shape == "kept" else sizing.sized(size)) or {}),
    )
    if not bool(batch["attention_mask"][:, -1].all()):
        raise ValueError(f"{type(processor).__name__} pads on the right; generation needs left padding")
    return prompting.mend(processor, batch)


def image_tokens(batch: Any, prompts: Sequence[Prompt]) -> list[int]:
    """Count the tokens of each prompt that stand for its images: all that are neither padding nor text."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [int(length) - prompt.text_tokens for length, prompt in zip(lengths, prompts, strict=True)]
