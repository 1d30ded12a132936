"""Fuyu's processor, which cuts images into patches itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlmnb.models.family import chat_template
from vlmnb.models.processors import ImageOnlyProcessor, Size, height_width

CHAT_TEMPLATE = chat_template("fuyu")
LINE_TEMPLATE = CHAT_TEMPLATE.replace("{{ part['text'] }}", "{{ part['text'] + '\\n' }}")
"""The template with a line end after the question, as adept/fuyu-8b expects; its repository has none."""


class ImageOnlyFuyuProcessor(ImageOnlyProcessor):
    """Fuyu's processor, cutting images into patches itself.

    A prompt is ``|SPEAKER|<s>question<0x04>``, where the image token stands for one ``|SPEAKER|`` per
    patch and one ``|NEWLINE|`` per row; a text without the image token gets it (and the begin-of-text
    token) in front. With ``size``, each image is resized to exactly that size; without, it is scaled
    down, never up, to fit within the image processor's ``size``. Edges that do not fill a patch are
    padded. The patches have the shape ``(batch, patches, values)``, or ``(1, all patches, values)`` where the
    images differ in their number of patches.
    """

    image_token = "|SPEAKER|"
    newline_token = "|NEWLINE|"
    begin_token = "<s>"
    answer_token = "<0x04>"
    own_template = LINE_TEMPLATE

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        """Keep the parts and look up the special tokens; only settings of the image processor are used."""
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        vocabulary = tokenizer.get_vocab()
        self.image_token_id, self.newline_token_id = (
            vocabulary[self.image_token],
            vocabulary[self.newline_token],
        )
        self.begin_token_id, self.answer_token_id = (
            vocabulary[self.begin_token],
            vocabulary[self.answer_token],
        )
        super().__init__(image_processor, tokenizer, chat_template)

    def patches(self, image: Image.Image, size: Size = None) -> tuple[torch.Tensor, int, int]:
        """Return an image's normalized patches in reading order, and the numbers of rows and columns."""
        settings = self.image_processor
        if size is not None:
            height, width = height_width(size, image)
        else:
            limit_height, limit_width = height_width(settings.size)
            scale = min(1.0, limit_height / image.height, limit_width / image.width)
            height, width = max(1, int(image.height * scale)), max(1, int(image.width * scale))
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling(int(settings.resample)))
        patch_height, patch_width = height_width(settings.patch_size)
        rows, columns = math.ceil(height / patch_height), math.ceil(width / patch_width)
        pixels = np.asarray(image, dtype=np.float32)
        edges = ((0, rows * patch_height - height), (0, columns * patch_width - width), (0, 0))
        pixels = np.pad(pixels, edges, constant_values=float(settings.padding_value))
        mean = np.asarray(settings.image_mean, dtype=np.float32)
        std = np.asarray(settings.image_std, dtype=np.float32)
        pixels = (pixels * float(settings.rescale_factor) - mean) / std
        grid = pixels.reshape(rows, patch_height, columns, patch_width, pixels.shape[-1]).swapaxes(1, 2)
        return torch.from_numpy(np.ascontiguousarray(grid).reshape(rows * columns, -1)), rows, columns

    def text_ids(self, text: str) -> list[int]:
        """Return a prompt's ids without its image: begin-of-text, text, and the answer mark if it has one.

        The published tokenizer has both marks but spells them where they occur in a text. Its own
        begin-of-text token is the end mark, and the model was not trained to begin with that.
        """
        text = text.replace(self.image_token, "").removeprefix(self.begin_token)
        wants_answer = text.endswith(self.answer_token)
        ids = self.tokenizer(text.removesuffix(self.answer_token), add_special_tokens=False)["input_ids"]
        return [self.begin_token_id, *ids, *([self.answer_token_id] if wants_answer else [])]

    def features(self, pictures: list[list[Any]], texts: list[str], size: Size) -> dict[str, Any]:
        """Return tokens and patches.

        Raises:
            ValueError: A text has several images, which Fuyu was not trained for.
        """
        sequences, every = [], []
        vision: dict[str, torch.Tensor] = {}
        for images, item in zip(pictures, texts, strict=True):
            if len(images) > 1:
                raise ValueError(f"Fuyu takes one image in a prompt or none, not {len(images)}")
            before: list[int] = []
            for patches, rows, columns in (self.patches(image, size) for image in images):
                every.append(patches)
                before = ([self.image_token_id] * columns + [self.newline_token_id]) * rows
            sequences.append(before + self.text_ids(item))
        if every:
            equal = len({len(patches) for patches in every}) == 1
            vision["pixel_values"] = torch.stack(every) if equal else torch.cat(every)[None]
        return {**self.tokenizer.pad({"input_ids": sequences}, return_tensors="pt"), **vision}

    @property
    def model_input_names(self) -> list[str]:
        """Return the names of what a call returns."""
        return ["input_ids", "attention_mask", "pixel_values"]
