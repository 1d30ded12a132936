"""Processors of families whose own class in transformers needs torchvision or a video processor.

Each is called as ``processor(images=[...], text=[...], padding=True, return_tensors="pt", size=64)``.
``size`` is a side in pixels or ``(height, width)``; every image is resized to it exactly (each class says how
it rounds). Without ``size`` images keep the checkpoint's own sizing. Everything else is read from the
checkpoint folder, and the result has all that ``forward`` and ``generate`` need. Only families import this
folder, within functions: its files import torch. Here is what the processors share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

Size = int | tuple[int, int] | None
_RESERVED = frozenset({"padding", "return_tensors", "add_special_tokens", "padding_side"})


def as_list(value: Any) -> list[Any]:
    """Return the items, or the one item in a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def pictures_of(images: Any) -> list[Image.Image]:
    """Return the images in RGB in one list; pipelines give a list for each text."""
    given = [] if images is None else as_list(images)
    return [_rgb(image) for one in given for image in as_list(one)]


def height_width(size: Any) -> tuple[int, int]:
    """Return ``(height, width)`` of a side, a pair, a mapping or an object with these attributes."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    if isinstance(size, Sequence):
        return int(size[0]), int(size[1])
    return int(size.height), int(size.width)


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def check_call(images: list[Any], texts: list[str], kwargs: Mapping[str, Any]) -> None:
    """Refuse unknown arguments, and more or fewer images than texts."""
    unknown = {name for name, value in kwargs.items() if value is not None} - _RESERVED
    if unknown:
        raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
    if images and len(images) != len(texts):
        raise ValueError(f"one image per text: got {len(images)} images and {len(texts)} texts")
