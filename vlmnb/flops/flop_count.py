"""FLOPs in a record: by formula and by two counters, by phase, executed and used."""

from __future__ import annotations

from vlmnb.flops.formula import Parts
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


class FlopCount(Frozen):
    """Floating-point operations over one batch of prompts, 2 per multiply-add, as executed.

    ``fvcore``, ``torch`` and ``formula`` are totals of one forward pass over the prompts, with logits for
    every position. A decoded token is one step of the whole batch, the first after the prompt.

    Attributes:
        fvcore: fvcore's count of multiply-adds, times two. What the output does not use is not in it.
        torch: Count of torch's ``FlopCounterMode``.
        formula: Sum over the numbers of the geometry.
        unsupported_ops: Operators fvcore left out, with how often each occurred.
        note: Why a count is missing, or where two differ by more than ``AGREE``; else empty.
        prefill_formula: ``formula``, by phase.
        prefill_torch: ``torch``, by phase.
        prefill_fvcore: ``fvcore``, by phase.
        decode_formula: One decoding step by formula.
        decode_torch: The same by torch's counter, on tensors that have a shape and no content.
        unused: FLOPs of the prefill that are executed and never used: vision layers behind the one taken.
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
        """FLOPs of the forward pass as it runs: torch's count, else the formula's, else fvcore's."""
        return self.torch or self.formula or self.fvcore

    @property
    def used(self) -> int | None:
        """Of these, what the output is made of; None where that is not known."""
        return None if self.executed is None or self.unused is None else self.executed - self.unused

    @property
    def per_token(self) -> int | None:
        """FLOPs of a decoding step of the batch."""
        found = self.decode_torch or self.decode_formula
        return found.total if found else None

    def times(self, rows: int) -> FlopCount:
        """The count of a batch of so many equal rows."""
        made = {}
        for name in ("fvcore", "torch", "formula", "unused"):
            value = getattr(self, name)
            made[name] = None if value is None else rows * value
        for name in ("prefill_formula", "prefill_torch", "prefill_fvcore", "decode_formula", "decode_torch"):
            value = getattr(self, name)
            made[name] = None if value is None else value.times(rows)
        return self.model_copy(update=made)


def phase(parts: Parts, name: str) -> int:
    """FLOPs of one phase of ``SHOWN``."""
    return sum(getattr(parts, field) for field in SHOWN[name])


def disagreements(count: FlopCount) -> list[str]:
    """Where two of the three ways differ by more than ``AGREE``, phase by phase; empty where they agree.

    fvcore leaves out what the output does not use, so it is held against the vision tower without that.
    """
    said = []
    pairs = [("torch's counter", count.prefill_torch, 0), ("fvcore", count.prefill_fvcore, count.unused or 0)]
    for title, other, dropped in pairs:
        if other is not None and count.prefill_formula is not None:
            for name in SHOWN:
                mine = phase(count.prefill_formula, name) - (dropped if name == "vision" else 0)
                said += _differ(f"{title} and formula", name, mine, phase(other, name))
    if count.decode_formula is not None and count.decode_torch is not None:
        own, theirs = count.decode_formula.total, count.decode_torch.total
        said += _differ("torch's counter and formula", "a decoding step", own, theirs)
    return said


def _differ(who: str, where: str, expected: int, counted: int) -> list[str]:
    share = abs(counted - expected) / max(counted, expected, 1)
    return [f"{who} differ by {100 * share:.1f} % in {where}"] if share > AGREE else []
