"""The numbers of a model on which memory and latency depend, from its configuration alone."""

from __future__ import annotations

import functools
from types import SimpleNamespace

from vlmnb import models
from vlmnb.models import geometry
from vlmnb.models.architecture import Decoder, Vision
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
    def config(self) -> SimpleNamespace:
        """Return the configuration with plain attributes."""
        return geometry.plain(self.entry.name)

    def image_tokens(self, image_size: int) -> int:
        """Return the number of tokens that stand for one square image of a side in pixels."""
        return self.family.image_tokens(self.config, image_size)

    def side(self, image_size: int) -> int:
        """Return the side that the model sees of an image given to its processor at a size."""
        return self.family.seen_side(self.config, image_size)

    def patches(self, image_size: int) -> int:
        """Return the positions of the vision tower for one square image; 0 without a tower."""
        if self.vision is None:
            return 0
        return self.image_tokens(image_size) * self.vision.merge**2 + self.vision.class_token


@functools.cache
def of(name: str) -> Shape:
    """Return the numbers of a model of the registry.

    Raises:
        UserError: There is no such model; the message names the nearest.
    """
    entry, config = models.get(name), geometry.plain(name)
    family = models.family_of(entry)
    dtype = getattr(config, "torch_dtype", None) or getattr(config, "dtype", None) or "float32"
    return Shape(
        entry=entry,
        decoder=family.decoder_shape(config),
        vision=family.vision_shape(config),
        released_dtype=dtype,
    )
