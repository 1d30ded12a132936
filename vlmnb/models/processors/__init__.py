"""Processors of families whose own class in transformers needs torchvision or a video processor.

Only families import this folder, within functions: its files import torch. Here is what the processors share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from PIL import Image
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from vlmnb.models import prompting

Size = int | tuple[int, int] | None
_RESERVED = frozenset({"padding", "return_tensors", "add_special_tokens", "padding_side"})


class ImageOnlyProcessor(ProcessorMixin):
    """A processor of one image per text that always pads, on the left, and returns torch's tensors.

    It is called as ``processor(images=[...], text=[...], padding=True, return_tensors="pt", size=64)``.
    ``size`` is a side in pixels or ``(height, width)``; every image is resized to it exactly (each class says
    how it rounds). Without ``size`` images keep the checkpoint's own sizing. Everything else is read from the
    checkpoint folder, and the result has all that ``forward`` and ``generate`` need.
    """

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
        """Make pixels and tokens for texts with one image each, as pipelines in a list, or for texts alone.

        Raises:
            TypeError: An argument is unknown.
            ValueError: There are more or fewer images than texts.
        """
        unknown = {name for name, value in kwargs.items() if value is not None} - _RESERVED
        if unknown:
            raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
        given = [] if images is None else _as_list(images)
        pictures = [image.convert("RGB") for one in given for image in _as_list(one)]
        texts = [str(item) for item in _as_list(text)]
        if pictures and len(pictures) != len(texts):
            raise ValueError(f"one image per text: got {len(pictures)} images and {len(texts)} texts")
        return BatchFeature(self.features(pictures, texts, size))

    @abstractmethod
    def features(self, pictures: list[Any], texts: list[str], size: Size) -> dict[str, Any]:
        """Return what the model takes, by name, for images in RGB and as many texts, or texts alone."""


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def height_width(size: Any) -> tuple[int, int]:
    """Return ``(height, width)`` of a side, a pair or a mapping."""
    if isinstance(size, int):
        return size, size
    height, width = (0, 1) if isinstance(size, Sequence) else ("height", "width")
    return int(size[height]), int(size[width])
