"""The answer of ``vlmnb flops``: the work of a model by formula and by counting, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlmnb import models
from vlmnb.errors import UserError
from vlmnb.flops import formula
from vlmnb.flops.flop_count import Parts
from vlmnb.models import geometry
from vlmnb.types import Frozen

LABELS = {
    "vision": "vision tower",
    "vision_scores": "  its attention scores",
    "projector": "projector",
    "projections": "language model, projections",
    "mlp": "language model, MLP",
    "scores": "  its attention scores",
    "head": "head, every position",
}

CONVENTION = (
    "A multiply-add is 2 FLOPs. Matrix products and convolutions as executed by eager attention, which "
    "computes all scores; elementwise work is left out. Prefill has logits for every position; a decoded "
    "token is one step of the whole batch, the first after the prompt."
)


class Pass(Frozen):
    """One pass of a batch, counted both ways.

    Attributes:
        counted: None if the model's code does not run without a real image.
        note: Why it does not.
    """

    formula: Parts
    counted: Parts | None
    note: str = ""

    @property
    def largest_difference(self) -> float | None:
        """Return the largest relative difference between the two over all parts and the total."""
        if self.counted is None:
            return None
        pairs = [*zip(self.formula.model_dump().values(), self.counted.model_dump().values(), strict=True)]
        pairs.append((self.formula.total, self.counted.total))
        return float(max(abs(one - other) / max(one, other, 1) for one, other in pairs))


class Estimate(Frozen):
    """FLOPs of a batch of prompts with one image each.

    Attributes:
        image_size: Side of the image in pixels that the processor gets.
        seen_image_size: Side that the model sees.
        decode: The first decoding step: one token for every prompt.
        unused: FLOPs of the prefill whose result nothing uses: vision layers after the one that is taken.
    """

    model: str
    text_tokens: int
    image_size: int
    seen_image_size: int
    batch_size: int
    image_tokens: int
    prefill: Pass
    decode: Pass
    unused: int

    @property
    def last_position(self) -> int:
        """Return the prefill with logits for the last position alone, as ``generate`` computes them."""
        tokens = self.image_tokens + self.text_tokens
        parts = self.prefill.counted or self.prefill.formula
        return parts.total - parts.head + parts.head // tokens


def estimate(model: str, text_tokens: int, image_size: int | None, batch_size: int) -> Estimate:
    """Count the work of a model from its configuration, without weights and GPU.

    The text tokens leave out those of the image. The image has a side in pixels; None: the model's own.

    Raises:
        UserError: The model is unknown, cannot take the image size, or holds fewer tokens.
    """
    entry = models.get(model)
    config, family = geometry.plain(entry), models.family_of(entry)  # in this order: config.json says which
    size = image_size or entry.image_size
    seen = family.seen_side(config, size)
    # A model of one size is given it at its base size too, as cells call it.
    if entry.size_obstacle(size, interpolate=False) or (
        not entry.native_image_size and not entry.generic and seen != size
    ):
        raise UserError(f"{model} cannot take an image of {size} pixels; the nearest side it takes is {seen}")
    given = size if entry.generic else seen
    image_tokens = family.image_tokens(config, given)
    tokens, limit = image_tokens + text_tokens, family.decoder_shape(config).context
    if limit and tokens > limit:
        # An image alone can be too much.
        way_out = f"use at most {limit - image_tokens}" if limit > image_tokens else "use a smaller image"
        raise UserError(
            f"{model} holds {limit} tokens; {image_tokens} image and {text_tokens} text tokens are {tokens}; "
            f"{way_out}"
        )

    from vlmnb.flops import meta

    built = meta.build(entry)

    def both(by_formula: Parts, count: Callable[[], Parts]) -> Pass:
        if not entry.generic:
            return Pass(formula=by_formula.times(batch_size), counted=count().times(batch_size))
        found, note = meta.attempt(count)
        return Pass(
            formula=by_formula.times(batch_size), counted=found and found.times(batch_size), note=note
        )

    # Every prompt of a batch does the same work; sizes of a large batch would overflow if counted at once.
    return Estimate(
        model=model, text_tokens=text_tokens, image_size=size, seen_image_size=seen, batch_size=batch_size,
        image_tokens=image_tokens,
        prefill=both(
            formula.prefill(family, config, given, tokens), lambda: meta.prefill(built, given, tokens)
        ),
        decode=both(formula.decode(family, config, tokens), lambda: meta.decode(built, tokens)),
        unused=batch_size * family.image_flops(config, given).unused,
    )  # fmt: skip


def document(found: Estimate) -> dict[str, Any]:
    """Return the estimate for a program: FLOPs as whole numbers.

    ``vision``, ``projector``, ``language_model``, ``head`` and ``attention_scores`` add up to ``total``; the
    other fields split them further.
    """
    out = found.model_dump()
    for name, both in (("prefill", found.prefill), ("decode", found.decode)):
        for way, parts in (("formula", both.formula), ("counted", both.counted)):
            if parts is None:
                continue
            out[name][way].update(
                language_model=parts.projections + parts.mlp,
                attention_scores=parts.vision_scores + parts.scores,
                total=parts.total,
            )
        out[name]["largest_difference"] = both.largest_difference
    return {**out, "prefill_logits_of_last_position": found.last_position, "convention": CONVENTION}
