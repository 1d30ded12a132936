"""Every weight tensor of a model by name, shape and role, from its configuration alone."""

from __future__ import annotations

import functools
from collections import Counter

from vlmnb.fit.shape import Shape
from vlmnb.models.architecture import Component, Tensor, decoder_tensors

TITLES: dict[Component, str] = {
    "vision": "Vision tower",
    "projector": "Projector",
    "embedding": "Token embedding",
    "decoder": "Decoder layers",
    "output": "Output layer",
}
"""Components in the order in which an image passes them."""


@functools.cache
def of(shape: Shape) -> tuple[Tensor, ...]:
    """Return all tensors of a model; a tied output layer has none of its own."""
    return (*shape.family.image_tensors(shape.config), *decoder_tensors(shape.decoder))


def by_component(shape: Shape) -> dict[Component, int]:
    """Return the parameters of each component that the model has, in the order of ``TITLES``."""
    counts: Counter[Component] = Counter()
    for tensor in of(shape):
        counts[tensor.component] += tensor.count
    return {component: counts[component] for component in TITLES if counts[component]}
