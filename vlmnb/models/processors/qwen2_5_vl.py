"""Qwen2.5-VL's processor without its video half."""

from __future__ import annotations

import re
from typing import Any

import torch
from PIL import Image

from vlmnb.models.family import chat_template
from vlmnb.models.processors import ImageOnlyProcessor, Size, height_width

CHAT_TEMPLATE = chat_template("qwen2_5_vl")
SYSTEM = chat_template("qwen2_5_vl_system")
"""What Qwen2.5-VL's own template puts in front if no system prompt is given."""


class ImageOnlyQwen2_5_VLProcessor(ImageOnlyProcessor):
    """Qwen2.5-VL's processor without its video half.

    Each prompt has an image token where an image goes. With ``size``, each image is resized to that size
    rounded to multiples of ``patch_size * merge_size`` (28 pixels in the published checkpoints, 16 in the
    bundled one); without, the image processor's own ``min_pixels``/``max_pixels`` rule applies.
    """

    own_template = CHAT_TEMPLATE

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        """Keep the parts and look up the special tokens; the image processor is Qwen2-VL's."""
        self.image_token = getattr(tokenizer, "image_token", None) or "<|image_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        super().__init__(image_processor, tokenizer, chat_template)

    def resized_to(self, size: Size, image: Image.Image) -> tuple[int, int]:
        """Return the exact ``(height, width)`` to which an image is brought for a requested ``size``."""
        height, width = height_width(size, image)
        factor = int(self.image_processor.patch_size) * int(self.image_processor.merge_size)
        return max(1, round(height / factor)) * factor, max(1, round(width / factor)) * factor

    def features(self, pictures: list[list[Any]], texts: list[str], size: Size) -> dict[str, Any]:
        """Return tokens, pixels and the grid of patches of each image."""
        vision: dict[str, torch.Tensor] = {}
        for images, item in zip(pictures, texts, strict=True):
            if item.count(self.image_token) != len(images):
                raise ValueError(f"expected {len(images)} {self.image_token} in the text: {item!r}")
        if every := [image for images in pictures for image in images]:
            options: dict[str, Any] = {"return_tensors": "pt"}
            if size is not None:
                sizes = [self.resized_to(size, image) for image in every]
                every = [
                    image.resize((width, height), Image.Resampling.BICUBIC)
                    for image, (height, width) in zip(every, sizes, strict=True)
                ]
                options["do_resize"] = False
            features = self.image_processor(images=every, **options)
            grid = features["image_grid_thw"]
            vision = {"pixel_values": features["pixel_values"], "image_grid_thw": grid}
            counts = iter((grid.prod(dim=-1) // int(self.image_processor.merge_size) ** 2).tolist())
            # A mark of another kind stands in, so that none is replaced twice.
            texts = [
                re.sub(re.escape(self.image_token), lambda mark: mark[0] * next(counts), t) for t in texts
            ]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt")
        ids = tokens["input_ids"]
        kinds = (ids == self.image_token_id).long()
        mask = tokens["attention_mask"]
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds, **vision}

    @property
    def model_input_names(self) -> list[str]:
        """Return the names of what a call returns."""
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw"]
