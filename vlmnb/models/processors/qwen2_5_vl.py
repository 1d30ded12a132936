"""Qwen2.5-VL's processor without its video half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from vlmnb.models.processors import Size, as_list, check_call, height_width, pictures_of

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
)
"""What Qwen2.5-VL's own template puts in front if no system prompt is given."""


class ImageOnlyQwen2_5_VLProcessor(ProcessorMixin):
    """Qwen2.5-VL's processor without its video half.

    With ``size``, each image is resized to that size rounded to multiples of ``patch_size * merge_size``
    (28 pixels in the published checkpoints, 16 in the bundled one); without, the image processor's own
    ``min_pixels``/``max_pixels`` rule applies.
    """

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        """Keep the parts and look up the special tokens.

        Args:
            image_processor: A Qwen2-VL image processor.
            tokenizer: The checkpoint's tokenizer; switched to left padding.
            chat_template: The checkpoint's chat template, if it has one.
        """
        self.image_token = getattr(tokenizer, "image_token", None) or "<|image_pad|>"
        self.video_token = getattr(tokenizer, "video_token", None) or "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        tokenizer.padding_side = "left"
        template = chat_template or getattr(tokenizer, "chat_template", None) or CHAT_TEMPLATE
        super().__init__(image_processor, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]

    def resized_to(self, size: Size, image: Image.Image) -> tuple[int, int]:
        """Return the exact ``(height, width)`` to which an image is brought for a requested ``size``."""
        height, width = (image.height, image.width) if size is None else height_width(size)
        factor = int(self.image_processor.patch_size) * int(self.image_processor.merge_size)
        return max(1, round(height / factor)) * factor, max(1, round(width / factor)) * factor

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] = (),
        size: Size = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Make pixels and tokens for a batch of one image per text.

        Args:
            images: One image, or one for each text, or none at all.
            text: Rendered prompts, each with one image token where its image goes.
            size: Side, or ``(height, width)``, to which every image is resized; see the class.
            **kwargs: ``padding`` (default true) and ``return_tensors`` (only ``"pt"``).

        Returns:
            ``input_ids``, ``attention_mask``, ``mm_token_type_ids``, ``pixel_values``, ``image_grid_thw``.
        """
        pictures = pictures_of(images)
        texts = [str(item) for item in as_list(text)]
        check_call(pictures, texts, kwargs)
        vision: dict[str, torch.Tensor] = {}
        if pictures:
            options: dict[str, Any] = {"return_tensors": "pt"}
            if size is not None:
                sizes = [self.resized_to(size, image) for image in pictures]
                pictures = [
                    image.resize((width, height), Image.Resampling.BICUBIC)
                    for image, (height, width) in zip(pictures, sizes, strict=True)
                ]
                options["do_resize"] = False
            features = self.image_processor(images=pictures, **options)
            grid = features["image_grid_thw"]
            vision = {"pixel_values": features["pixel_values"], "image_grid_thw": grid}
            counts = (grid.prod(dim=-1) // int(self.image_processor.merge_size) ** 2).tolist()
            for item in texts:
                if item.count(self.image_token) != 1:
                    raise ValueError(f"expected one {self.image_token} in the text: {item!r}")
            texts = [
                t.replace(self.image_token, self.image_token * n) for t, n in zip(texts, counts, strict=True)
            ]
        tokens = self.tokenizer(
            texts, padding=kwargs.get("padding", True), padding_side="left", return_tensors="pt"
        )
        ids = tokens["input_ids"]
        kinds = torch.zeros_like(ids)
        kinds[ids == self.image_token_id] = 1
        data = {"input_ids": ids, "attention_mask": tokens["attention_mask"], "mm_token_type_ids": kinds}
        return BatchFeature({**data, **vision})

    @property
    def model_input_names(self) -> list[str]:
        """Return the names of what a call returns."""
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw"]
