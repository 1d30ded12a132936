"""Compute a prompt's FLOPs by formula, and the number of text tokens that a count of FLOPs corresponds to."""

from __future__ import annotations

from collections.abc import Callable

from vlmnb.errors import UserError
from vlmnb.fit import shape
from vlmnb.fit.shape import Shape
from vlmnb.flops import formula
from vlmnb.flops.flop_count import Parts
from vlmnb.stats import formatting

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
    return formula.prefill(of.family, of.config, of.side(image_size), prompt_tokens, batch_size)


def step(model: str, tokens: int, batch_size: int = 1) -> int | None:
    """Return FLOPs of a decoding step of a batch after some tokens; None if the geometry is unknown."""
    of = geometry(model)
    return formula.decode(of.family, of.config, tokens, 1).times(batch_size).total if of else None


def unused(model: str, image_size: int, batch_size: int = 1) -> int:
    """Return FLOPs of vision layers whose output nothing reads; 0 if the geometry is unknown."""
    of = geometry(model)
    return formula.unused(of.family, of.config, of.side(image_size), batch_size) if of else 0


def least(model: str, image_size: int, text_tokens: int) -> int:
    """Return the FLOPs of one prompt that every way of computing it needs.

    This leaves out the logits of all positions but the last, the half of the attention scores that a causal
    mask discards, and vision layers that nothing reads.
    """
    tokens = shape.of(model).image_tokens(image_size) + text_tokens
    parts = prefill(model, image_size, tokens)
    assert parts is not None
    return parts.total - parts.head + parts.head // tokens - parts.scores // 2 - unused(model, image_size)


def most(model: str, image_size: int, text_tokens: int) -> int:
    """Return the FLOPs of one prompt as eager attention executes them, with logits for every position."""
    parts = prefill(model, image_size, shape.of(model).image_tokens(image_size) + text_tokens)
    assert parts is not None
    return parts.total


def text_tokens(model: str, image_size: int, flops: float) -> tuple[int, int] | None:
    """Return the fewest and most text tokens for which a pass over one prompt has so many FLOPs.

    Returns:
        None if there are fewer than the image alone takes, or more than ``MOST_TEXT_TOKENS`` take.
    """
    if flops < least(model, image_size, 0):
        return None
    fewest = _first(lambda n: most(model, image_size, n) >= flops)
    largest = _first(lambda n: least(model, image_size, n + 1) > flops)
    return None if fewest is None or largest is None else (fewest, largest)


def shown(flops: float) -> str:
    """Return FLOPs with an SI prefix."""
    return formatting.format_si(flops, digits=4)


def _first(reached: Callable[[int], bool]) -> int | None:
    """Return the first number up to ``MOST_TEXT_TOKENS`` from which on a condition holds."""
    low, high = 0, MOST_TEXT_TOKENS
    if not reached(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low
