"""Counts by module to FLOPs by phase, whichever counter made them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vlmnb.flops.formula import Parts

PLACES = (
    (r"lm_head", "head"),
    (r"multi_modal_projector|visual\.merger|vision_embed_tokens", "projector"),
    (r"(vision_tower|visual)\..*(self_attn|\.attn)$", "vision_scores"),
    (r"vision_tower|visual", "vision"),
    (r"language_model\..*\.self_attn$", "scores"),
    (r"language_model\..*\.self_attn\.", "projections"),
    (r"language_model\..*\.mlp", "mlp"),
)
"""Module names to parts, first match wins; a module counts what it computes itself, its children apart."""


def totals_of(counter: Any) -> dict[str, int]:
    """FLOPs of each module, its children included, by torch's counter after it has counted."""
    found = counter.get_flop_counts().items()
    return {name: int(sum(ops.values())) for name, ops in found if name != "Global"}


def split(totals: Mapping[str, int]) -> Parts:
    """FLOPs by phase.

    Args:
        totals: FLOPs of each module with those of its children, by its dotted name.

    Raises:
        ValueError: A module that computes something has no place in ``PLACES``.
    """
    own = dict(totals)
    for name, total in totals.items():
        parent = name.rpartition(".")[0]
        while parent and parent not in own:
            parent = parent.rpartition(".")[0]
        if parent:
            own[parent] -= total
    parts: dict[str, int] = {}
    for name, value in own.items():
        if value:
            place = next((part for pattern, part in PLACES if re.search(pattern, name)), None)
            if place is None:
                raise ValueError(f"{name} computes {value} FLOPs and has no place in the split")
            parts[place] = parts.get(place, 0) + int(value)
    return Parts(**parts)
