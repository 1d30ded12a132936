"""From samples to the tensors of a batch: prompt budget, chat template, image size, left padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlmnb.data.catalogue import Sample
from vlmnb.models.family import Sizing

FILLER = " the"
"""A word that the bundled tokenizers have as one token."""


class NotEnoughTokens(Exception):
    """The prompt budget cannot hold the template and one token of the question."""


@dataclass(frozen=True)
class Prompt:
    """A prompt cut to its budget.

    Attributes:
        text: The question text that is left.
        rendered: The same within the chat template.
        text_tokens: Its length in tokens, the image placeholder not counted.
    """

    text: str
    rendered: str
    text_tokens: int


def render(processor: Any, text: str) -> str:
    """A question within the checkpoint's chat template, generation prompt included."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return str(processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False))


def fit(processor: Any, text: str, seq_len: int) -> Prompt:
    """Cut the end of a question until the whole text prompt fits ``seq_len`` tokens.

    The template, the image placeholder and the generation prompt are kept whole. A stand-in processor
    (``fills``) does not know the real length of a question, so it gets exactly ``seq_len`` tokens.

    Raises:
        NotEnoughTokens: Not even one token of the question fits.
    """
    tokenizer = processor.tokenizer
    template = text_tokens(processor, render(processor, ""))
    rendered = render(processor, text)
    length = text_tokens(processor, rendered)
    if length <= seq_len:
        whole = Prompt(text, rendered, length)
        return _filled(processor, whole, seq_len) if getattr(processor, "fills", False) else whole
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for kept in range(min(seq_len - template + 2, len(ids)), 0, -1):
        short = tokenizer.decode(ids[:kept])
        rendered = render(processor, short)
        length = text_tokens(processor, rendered)
        if length <= seq_len:
            cut = Prompt(short, rendered, length)
            return _filled(processor, cut, seq_len) if getattr(processor, "fills", False) else cut
    needed = text_tokens(processor, render(processor, tokenizer.decode(ids[:1])))
    raise NotEnoughTokens(
        f"a budget of {seq_len} text tokens cannot hold the template and one token of the question, "
        f"which take {needed}"
    )


def _filled(processor: Any, prompt: Prompt, seq_len: int) -> Prompt:
    """The prompt with words added that are one token each, until it has ``seq_len`` tokens.

    Raises:
        ValueError: The stand-in's tokenizer does not know the word as one token.
    """
    text = prompt.text + FILLER * (seq_len - prompt.text_tokens)
    rendered = render(processor, text)
    length = text_tokens(processor, rendered)
    if length != seq_len:
        raise ValueError(f"a prompt filled up to {seq_len} tokens came out at {length}")
    return Prompt(text, rendered, length)


def text_tokens(processor: Any, rendered: str) -> int:
    """Tokens of a rendered prompt without those that stand for the image.

    The image token is counted out, not cut out: what stands around it may be cut into other tokens
    once it is gone.
    """
    if hasattr(processor, "text_ids"):
        return len(processor.text_ids(rendered))
    ids = processor.tokenizer(rendered)["input_ids"]
    return len(ids) - int(ids.count(processor.image_token_id))


def encode(
    sizing: Sizing, processor: Any, samples: Sequence[Sample], prompts: Sequence[Prompt], size: int
) -> Any:
    """Tensors of one batch, padded on the left, every image resized to ``size`` pixels a side.

    The processor of a model with one image size then makes that size of it.

    Args:
        sizing: The model's family, or what sizes images in its place.
        processor: The model's processor.
        samples: What is asked.
        prompts: The same, cut to the prompt budget.
        size: Side in pixels.

    Raises:
        ValueError: The processor padded on the right, which spoils answers without any other sign.
    """
    batch = processor(
        images=[sizing.source_image(sample.image, size) for sample in samples],
        text=[prompt.rendered for prompt in prompts],
        padding=True,
        return_tensors="pt",
        **sizing.sized(size),
    )
    if not bool(batch["attention_mask"][:, -1].all()):
        raise ValueError(f"{type(processor).__name__} pads on the right; generation needs left padding")
    return batch


def image_tokens(batch: Any, prompts: Sequence[Prompt]) -> list[int]:
    """Tokens of each prompt that stand for its image: all that are neither padding nor text."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [int(length) - prompt.text_tokens for length, prompt in zip(lengths, prompts, strict=True)]
