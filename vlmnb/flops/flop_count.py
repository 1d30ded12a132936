"""FLOPs of a pass by part, and in a record: by formula and by two counters, executed and used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from vlmnb.types import Frozen

AGREE = 0.01
"""Formula and counters agree when they differ by no more than this share."""

SHOWN = {
    "vision": ("vision", "vision_scores"),
    "projector": ("projector",),
    "language model": ("projections", "mlp", "scores"),
    "head": ("head",),
}
"""Phases in which FLOPs are compared and shown; attention scores count with what they belong to."""


class Parts(Frozen):
    """FLOPs of one pass, split by where they are spent; a multiply-add is two.

    Attributes:
        vision: Vision tower without attention scores: patch embedding, projections, MLP.
        vision_scores: Attention scores of the tower: queries times keys, and weights times values.
        projector: What brings the image to the width of the language model.
        projections: The language model's query, key, value and output projections.
        mlp: Its MLPs.
        scores: Its attention scores.
        head: Its logits, for every position of the pass.
    """

    vision: int = 0
    vision_scores: int = 0
    projector: int = 0
    projections: int = 0
    mlp: int = 0
    scores: int = 0
    head: int = 0

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return sum(self.model_dump().values())

    def times(self, factor: int) -> Parts:
        """Return the parts of so many equal passes."""
        return Parts(**{name: factor * value for name, value in self.model_dump().items()})

    def plus(self, other: Parts) -> Parts:
        """Return the parts of two passes together."""
        theirs = other.model_dump()
        return Parts(**{name: value + theirs[name] for name, value in self.model_dump().items()})


class FlopCount(Frozen):
    """Floating-point operations over one batch of prompts, 2 per multiply-add, as executed.

    ``fvcore``, ``torch`` and ``formula`` are totals of one forward pass over the prompts, with logits for
    every position. A decoded token is one step of the whole batch, the first after the prompt.

    Attributes:
        fvcore: fvcore's count of multiply-adds, times two. What the output does not use is not in it.
        torch: Count of torch's ``FlopCounterMode``.
        formula: Sum over the numbers of the geometry.
        unsupported_ops: Operators fvcore left out, with how often each occurred.
        note: Why a count is missing, or where two counts differ by more than ``AGREE``; else empty.
        prefill_formula: ``formula``, by phase, as ``prefill_torch`` and ``prefill_fvcore`` are.
        decode_formula: One decoding step by formula; ``decode_torch`` is counted on tensors without content.
        unused: FLOPs of the prefill that are executed and never used: vision layers after the one taken.
    """

    fvcore: int | None
    torch: int | None
    formula: int | None = None
    unsupported_ops: dict[str, int] = {}
    note: str = ""
    prefill_formula: Parts | None = None
    prefill_torch: Parts | None = None
    prefill_fvcore: Parts | None = None
    decode_formula: Parts | None = None
    decode_torch: Parts | None = None
    unused: int | None = None

    @property
    def executed(self) -> int | None:
        """Return the FLOPs of the pass as it runs: torch's count, else the formula's, else fvcore's."""
        return self.torch or self.formula or self.fvcore

    @property
    def used(self) -> int | None:
        """Return the executed FLOPs that the output depends on; None if that is not known."""
        return None if self.executed is None or self.unused is None else self.executed - self.unused

    @property
    def per_token(self) -> int | None:
        """Return the FLOPs of a decoding step of the batch."""
        found = self.decode_torch or self.decode_formula
        return found.total if found else None

    def times(self, prompts: int) -> FlopCount:
        """Return the count of a batch of so many equal prompts."""
        made: dict[str, object] = {}
        for name, value in self:
            if isinstance(value, int):
                made[name] = prompts * value
            elif isinstance(value, Parts):
                made[name] = value.times(prompts)
        return self.model_copy(update=made)


def phase(parts: Parts, name: str) -> int:
    """Return the FLOPs of one phase of ``SHOWN``."""
    return sum(getattr(parts, field) for field in SHOWN[name])


def disagreements(count: FlopCount) -> list[str]:
    """Say in which phases two of the three ways differ by more than ``AGREE``; empty if they agree.

    fvcore leaves out what the output does not use, so it is compared with the vision tower without that.
    """
    mine, found = count.prefill_formula, []
    pairs = [("torch's counter", count.prefill_torch, 0), ("fvcore", count.prefill_fvcore, count.unused or 0)]
    for title, other, dropped in pairs:
        if other is not None and mine is not None:
            for name in SHOWN:
                expected = phase(mine, name) - (dropped if name == "vision" else 0)
                found.append((title, name, expected, phase(other, name)))
    if count.decode_formula is not None and count.decode_torch is not None:
        steps = (count.decode_formula.total, count.decode_torch.total)
        found.append(("torch's counter", "a decoding step", *steps))
    return [
        f"{title} and formula differ by {100 * share:.1f} % in {where}"
        for title, where, expected, counted in found
        if (share := abs(counted - expected) / max(counted, expected, 1)) > AGREE
    ]


def own(totals: Mapping[str, int]) -> dict[str, int]:
    """Return what each module computes itself, without its children, of FLOPs with those of its children."""
    found = dict(totals)
    for name, total in totals.items():
        parent = name
        while parent:
            parent = parent.rpartition(".")[0]
            if parent in found:
                found[parent] -= total
                break
    return found


def split(totals: Mapping[str, int], places: Sequence[tuple[str, str]]) -> Parts:
    """Sum FLOPs of modules to parts; each module counts what it computes itself, without its children.

    Args:
        totals: FLOPs of each module with those of its children, by its dotted name; of the whole under "".
        places: Patterns of module names, with the part that they belong to; the first match counts.

    Raises:
        ValueError: A module computes something and matches no pattern.
    """
    parts: Counter[str] = Counter()
    for name, value in own(totals).items():
        if value:
            place = next((part for pattern, part in places if re.search(pattern, name)), None)
            if place is None:
                raise ValueError(f"{name or 'the model'} computes {value} FLOPs and belongs to no part")
            parts[place] += value
    return Parts(**parts)
