"""The numbers of a model on which memory and latency depend, from its configuration alone."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from vlmnb import models
from vlmnb.models import geometry
from vlmnb.models.architecture import Component, Decoder, Tensor, Vision
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family
from vlmnb.types import Frozen


class Shape(Frozen):
    """A model in numbers.

    Attributes:
        vision: None for a model without a vision tower.
        released_dtype: Precision of the published weights.
    """

    entry: ModelEntry
    decoder: Decoder
    vision: Vision | None
    released_dtype: str

    @property
    def family(self) -> Family:
        """Return the family of the model."""
        return models.family_of(self.entry)

    @property
    def config(self) -> Any:
        """Return the configuration with plain attributes."""
        return geometry.plain(self.entry)

    @property
    def windowed(self) -> bool:
        """Return whether the vision tower attends within windows."""
        return hasattr(getattr(self.config, "vision_config", None), "window_size")

    def image_tokens(self, image_size: int) -> int:
        """Return the number of tokens that stand for one square image of a side in pixels."""
        return _image_tokens(self, image_size)

    def side(self, image_size: int) -> int:
        """Return the side that the model sees of an image given to its processor at a size."""
        return self.family.seen_side(self.config, image_size)

    def patches(self, image_size: int) -> int:
        """Return the positions of the vision tower for one square image; 0 without a tower."""
        if self.vision is None:
            return 0
        tokens = self.image_tokens(image_size) * self.vision.merge**2 + self.vision.class_token
        return self.decoder.crosses or tokens

    @functools.cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return all weights; a tied output layer has none of its own."""
        tower = _of_tower(self.entry, self.config)
        return (*tower.image_tensors(self.config), *self.family.text_tensors(self.config))

    @property
    def parameters(self) -> dict[Component, int]:
        """Return the parameters of each component that the model has, in the order of ``TITLES``."""
        counts: Counter[Component] = Counter()
        for tensor in self.tensors:
            counts[tensor.component] += tensor.count
        return {component: counts[component] for component in TITLES if counts[component]}


TITLES: dict[Component, str] = {
    "vision": "Vision tower", "projector": "Projector", "embedding": "Token embedding",
    "decoder": "Decoder layers", "output": "Output layer", "other": "Other parts",
}  # fmt: skip
"""Components in the order in which an image passes them."""


@functools.cache
def of(name: str) -> Shape:
    """Return the numbers of a model of the registry.

    Raises:
        UserError: There is no such model; the message names the nearest.
    """
    entry = models.get(name)
    config = geometry.plain(entry)  # before its family is known, its files may have to be downloaded
    family = models.family_of(entry)
    dtype = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None) or "float32"
    return Shape(
        entry=entry,
        decoder=family.decoder_shape(config),
        vision=_of_tower(entry, config).vision_shape(config),
        released_dtype=str(dtype).removeprefix("torch."),
    )


@functools.cache
def _image_tokens(of: Shape, image_size: int) -> int:
    """Return the tokens of an image; a processor takes milliseconds, and memory asks it for every GPU."""
    return of.family.image_tokens(of.config, image_size)


def _of_tower(entry: ModelEntry, config: Any) -> Family:
    """Return the family that describes the vision tower: LLaVA's own, where a LLaVA named by folder has CLIP.

    It says which layers are not used; llama.cpp's converter leaves them out.
    """
    of_clip = getattr(getattr(config, "vision_config", None), "model_type", "") == "clip_vision_model"
    if entry.generic and of_clip and getattr(config, "model_type", "") == "llava":
        return models.by_family()["llava"]
    return models.family_of(entry)
