"""Compute a prompt's FLOPs by formula, and the number of text tokens that a count of FLOPs corresponds to."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from vlmnb.errors import UserError
from vlmnb.fit import bounds, shape
from vlmnb.fit.shape import Shape
from vlmnb.flops import formula
from vlmnb.flops.flop_count import Parts

MOST_TEXT_TOKENS = 2000
"""Text tokens that are tried: ten times the longest prompt limit."""


def geometry(model: str) -> Shape | None:
    """Return a model's geometry; None if the registry no longer has it or its configuration is missing."""
    try:
        return shape.of(model)
    except (UserError, OSError):
        return None


def prefill(model: str, image_size: int, prompt_tokens: int, batch_size: int = 1) -> Parts | None:
    """Return FLOPs of a forward pass over a batch of prompts; None if the geometry is unknown."""
    of = geometry(model)
    if of is None:
        return None
    return formula.prefill(of.family, of.config, of.side(image_size), prompt_tokens).times(batch_size)


def step(model: str, tokens: int, batch_size: int = 1) -> int | None:
    """Return FLOPs of a decoding step of a batch after some tokens; None if the geometry is unknown."""
    of = geometry(model)
    return formula.decode(of.family, of.config, tokens).times(batch_size).total if of else None


def unused(model: str, image_size: int, batch_size: int = 1) -> int:
    """Return FLOPs of vision layers whose output nothing reads; 0 if the geometry is unknown."""
    of = geometry(model)
    return batch_size * of.family.image_flops(of.config, of.side(image_size)).unused if of else 0


def least(model: str, image_size: int, text_tokens: int) -> int:
    """Return the FLOPs of one prompt that every way of computing it needs."""
    return bounds.prompt_flops(shape.of(model), image_size, text_tokens)


def most(model: str, image_size: int, text_tokens: int) -> int:
    """Return the FLOPs of one prompt as eager attention executes them, with logits for every position."""
    of = shape.of(model)
    tokens = of.image_tokens(image_size) + text_tokens
    return formula.prefill(of.family, of.config, of.side(image_size), tokens).total


def text_tokens(model: str, image_size: int, flops: float) -> tuple[int, int] | None:
    """Return the fewest and most text tokens for which a pass over one prompt has so many FLOPs.

    Returns:
        None if there are fewer than the image alone takes, or more than ``MOST_TEXT_TOKENS`` take.
    """
    tried = range(MOST_TEXT_TOKENS + 1)
    fewest = bisect_left(tried, flops, key=lambda n: most(model, image_size, n))
    largest = bisect_right(tried, flops, key=lambda n: least(model, image_size, n + 1))
    if flops < least(model, image_size, 0) or max(fewest, largest) > MOST_TEXT_TOKENS:
        return None
    return fewest, largest
