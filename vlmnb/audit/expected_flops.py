"""The work of a prompt by formula, and how many text tokens a count of FLOPs stands for."""

from __future__ import annotations

from collections.abc import Callable

from vlmnb.errors import UserError
from vlmnb.fit import shape
from vlmnb.flops import formula
from vlmnb.flops.flop_count import Parts
from vlmnb.stats import formatting

MOST_TEXT_TOKENS = 2000
"""Text tokens that are tried: ten times the longest prompt limit."""


def prefill(model: str, image_size: int, prompt_tokens: int, batch_size: int = 1) -> Parts | None:
    """FLOPs of a forward pass over a batch of prompts; None where the geometry is not known."""
    try:
        of = shape.of(model)
    except (UserError, OSError):
        return None
    return formula.prefill(of.family, of.config, of.side(image_size), prompt_tokens, batch_size)


def step(model: str, tokens: int, batch_size: int = 1) -> int | None:
    """FLOPs of a decoding step of a batch after so many tokens; None where the geometry is not known."""
    try:
        of = shape.of(model)
    except (UserError, OSError):
        return None
    return formula.decode(of.family, of.config, tokens, 1).times(batch_size).total


def unused(model: str, image_size: int, batch_size: int = 1) -> int:
    """FLOPs of vision layers whose output nothing reads."""
    of = shape.of(model)
    return formula.unused(of.family, of.config, of.side(image_size), batch_size)


def least(model: str, image_size: int, text_tokens: int) -> int:
    """FLOPs of one prompt that every way of computing it needs.

    Left out are the logits of all positions but the last, the half of the attention scores that a causal
    mask discards, and vision layers that nothing reads.
    """
    tokens = shape.of(model).image_tokens(image_size) + text_tokens
    parts = prefill(model, image_size, tokens)
    assert parts is not None
    return parts.total - parts.head + parts.head // tokens - parts.scores // 2 - unused(model, image_size)


def most(model: str, image_size: int, text_tokens: int) -> int:
    """FLOPs of one prompt as eager attention executes them, with logits for every position."""
    parts = prefill(model, image_size, shape.of(model).image_tokens(image_size) + text_tokens)
    assert parts is not None
    return parts.total


def text_tokens(model: str, image_size: int, flops: float) -> tuple[int, int] | None:
    """Fewest and most text tokens for which a pass over one prompt has so many FLOPs.

    Returns:
        None where there are fewer than the image alone takes, or more than ``MOST_TEXT_TOKENS`` take.
    """
    if flops < least(model, image_size, 0):
        return None
    fewest = _first(lambda n: most(model, image_size, n) >= flops)
    largest = _first(lambda n: least(model, image_size, n + 1) > flops)
    return None if fewest is None or largest is None else (fewest, largest)


def shown(flops: float) -> str:
    """FLOPs with an SI prefix."""
    return formatting.format_si(flops, digits=4)


def _first(reached: Callable[[int], bool]) -> int | None:
    low, high = 0, MOST_TEXT_TOKENS
    if not reached(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low
