"""Processors of families whose own class in transformers needs torchvision or a video processor.

Only families import this folder, within functions: its files import torch. Here is what the processors share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from PIL import Image
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from vlmnb.models import prompting

Size = int | tuple[int, int] | Literal["own"] | None
_RESERVED = frozenset({"padding", "return_tensors", "add_special_tokens", "padding_side"})


class ImageOnlyProcessor(ProcessorMixin):
    """A processor of images and texts that always pads, on the left, and returns torch's tensors.

    It is called as ``processor(images=[...], text=[...], padding=True, return_tensors="pt", size=64)``.
    Images are one for each text, or a list for each. ``size`` is a side in pixels or ``(height, width)``;
    every image is resized to it exactly (each class says how it rounds). With ``own`` an image keeps its
    size, without ``size`` it is sized as the checkpoint says. Everything else is read from the
    checkpoint folder, and the result has all that ``forward`` and ``generate`` need.
    """

    nested_images = True
    own_template = ""
    """The chat template that is used if the checkpoint has none that puts an image."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        """Keep the parts; the tokenizer is switched to padding on the left."""
        tokenizer.padding_side = "left"
        super().__init__(image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]
        prompting.choose_template(self, self.own_template)

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] = (),
        size: Size = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Make pixels and tokens for texts with an image or a list of images each, or for texts alone.

        Raises:
            TypeError: An argument is unknown.
            ValueError: There are more or fewer images than texts.
        """
        unknown = {name for name, value in kwargs.items() if value is not None} - _RESERVED
        if unknown:
            raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
        given = [] if images is None else _as_list(images)
        pictures = [[image.convert("RGB") for image in _as_list(one)] for one in given]
        texts = [str(item) for item in _as_list(text)]
        if pictures and len(pictures) != len(texts):
            raise ValueError(f"one image per text: got {len(pictures)} images and {len(texts)} texts")
        return BatchFeature(self.features(pictures or [[] for _ in texts], texts, size))

    @abstractmethod
    def features(self, pictures: list[list[Any]], texts: list[str], size: Size) -> dict[str, Any]:
        """Return what the model takes, by name, for the images in RGB of each text."""


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def height_width(size: Any, image: Image.Image | None = None) -> tuple[int, int]:
    """Return ``(height, width)`` of a side, a pair or a mapping, or of an image that keeps its own."""
    if image is not None and size in ("own", None):
        return image.height, image.width
    if isinstance(size, int):
        return size, size
    height, width = (0, 1) if isinstance(size, Sequence) else ("height", "width")
    return int(size[height]), int(size[width])
