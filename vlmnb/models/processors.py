"""Image-and-text processors for Qwen2.5-VL and Fuyu that need neither torchvision nor a video processor.

Both read everything they need (patch sizes, normalization, token strings) from the checkpoint folder, bundled
or from the Hub, and return everything the model's ``forward`` and ``generate`` want. Both are called as
``processor(images=[...], text=[...], padding=True, return_tensors="pt", size=64)``; ``size`` is a side in
pixels or a ``(height, width)`` pair, to which every image is resized exactly (see each class for rounding),
and without it images keep the checkpoint's own sizing.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

Size = int | tuple[int, int] | None
_RESERVED = frozenset({"padding", "return_tensors", "add_special_tokens", "padding_side"})

QWEN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
)
"""What Qwen2.5-VL's own template puts in front where no system prompt is given."""
FUYU_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '|SPEAKER|' }}{% endif %}{% endfor %}"
    "{{ '<s>' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<0x04>' }}{% endif %}"
)
FUYU_LINE_TEMPLATE = FUYU_CHAT_TEMPLATE.replace("{{ part['text'] }}", "{{ part['text'] + '\\n' }}")
"""The same with a line end after the question, as adept/fuyu-8b expects; that repository has no template."""


@cache
def fuyu_pixels_name() -> str:
    """The name of the patches in ``FuyuForCausalLM.forward``; older releases say ``image_patches``."""
    from transformers import FuyuForCausalLM

    parameters = inspect.signature(FuyuForCausalLM.forward).parameters
    return "pixel_values" if "pixel_values" in parameters else "image_patches"


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _pictures(images: Any) -> list[Image.Image]:
    """Images in RGB, one after the other, also when each text's stand in a list, as pipelines give them."""
    given = [] if images is None else _as_list(images)
    return [_rgb(image) for one in given for image in _as_list(one)]


def _height_width(size: Any) -> tuple[int, int]:
    """``(height, width)`` of a side, a pair, a mapping or an object with ``height`` and ``width``."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    if isinstance(size, Sequence):
        return int(size[0]), int(size[1])
    return int(size.height), int(size.width)


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _check_call(images: list[Any], texts: list[str], kwargs: Mapping[str, Any]) -> None:
    unknown = {name for name, value in kwargs.items() if value is not None} - _RESERVED
    if unknown:
        raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
    if images and len(images) != len(texts):
        raise ValueError(f"one image per text: got {len(images)} images and {len(texts)} texts")


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
        template = chat_template or getattr(tokenizer, "chat_template", None) or QWEN_CHAT_TEMPLATE
        super().__init__(image_processor, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]

    def resized_to(self, size: Size, image: Image.Image) -> tuple[int, int]:
        """The exact ``(height, width)`` an image is given for a requested ``size``."""
        height, width = (image.height, image.width) if size is None else _height_width(size)
        factor = int(self.image_processor.patch_size) * int(self.image_processor.merge_size)
        return max(1, round(height / factor)) * factor, max(1, round(width / factor)) * factor

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] = (),
        size: Size = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Pixels and tokens for a batch of one image per text.

        Args:
            images: One image, or one for each text, or none at all.
            text: Rendered prompts, each with one image token where its image goes.
            size: Side, or ``(height, width)``, to which every image is resized; see the class.
            **kwargs: ``padding`` (default true) and ``return_tensors`` (only ``"pt"``).

        Returns:
            ``input_ids``, ``attention_mask``, ``mm_token_type_ids``, ``pixel_values``, ``image_grid_thw``.
        """
        pictures = _pictures(images)
        texts = [str(item) for item in _as_list(text)]
        _check_call(pictures, texts, kwargs)
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
        """What a call returns."""
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw"]


class ImageOnlyFuyuProcessor(ProcessorMixin):
    """Fuyu's processor, cutting images into patches itself.

    A prompt is ``|SPEAKER|<s>question<0x04>``, where the image token stands for one ``|SPEAKER|`` per
    patch and one ``|NEWLINE|`` per row; a text without the image token gets it (and the begin-of-text
    token) in front. With ``size``, each image is resized to exactly that size; without, it is scaled
    down, never up, to fit within the image processor's ``size``. Edges that do not fill a patch are
    padded.
    """

    image_token = "|SPEAKER|"
    newline_token = "|NEWLINE|"
    begin_token = "<s>"
    answer_token = "<0x04>"

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        """Keep the parts and look up the special tokens.

        Args:
            image_processor: A Fuyu image processor; only its settings are used.
            tokenizer: The checkpoint's tokenizer; switched to left padding.
            chat_template: The checkpoint's chat template, if it has one.
        """
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        tokenizer.padding_side = "left"
        vocabulary = tokenizer.get_vocab()
        self.image_token_id = vocabulary[self.image_token]
        self.newline_token_id = vocabulary[self.newline_token]
        self.answer_token_id = vocabulary[self.answer_token]
        self.begin_token_id = vocabulary[self.begin_token]
        template = chat_template or getattr(tokenizer, "chat_template", None) or FUYU_LINE_TEMPLATE
        super().__init__(image_processor, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]

    @property
    def patch_size(self) -> tuple[int, int]:
        """Patch height and width of the checkpoint."""
        return _height_width(self.image_processor.patch_size)

    def patches(self, image: Image.Image, size: Size = None) -> tuple[torch.Tensor, int, int]:
        """The normalized patches of one image in reading order, and the numbers of rows and columns."""
        settings = self.image_processor
        if size is not None:
            height, width = _height_width(size)
        else:
            limit_height, limit_width = _height_width(settings.size)
            scale = min(1.0, limit_height / image.height, limit_width / image.width)
            height, width = max(1, int(image.height * scale)), max(1, int(image.width * scale))
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling(int(settings.resample)))
        patch_height, patch_width = self.patch_size
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
        """Ids of one prompt without its image: begin-of-text, text, and the answer mark if it has one.

        The published tokenizer knows both marks, but not in a text: there it would spell them. Its own
        begin-of-text token is the end mark, which the model was not trained to begin with.
        """
        text = text.replace(self.image_token, "").removeprefix(self.begin_token)
        wants_answer = text.endswith(self.answer_token)
        ids = self.tokenizer(text.removesuffix(self.answer_token), add_special_tokens=False)["input_ids"]
        return [self.begin_token_id, *ids, *([self.answer_token_id] if wants_answer else [])]

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] = (),
        size: Size = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Patches and tokens for a batch of one image per text.

        Args:
            images: One image, or one for each text, or none at all.
            text: Prompts; see the class for their form.
            size: Side, or ``(height, width)``, to which every image is resized; see the class.
            **kwargs: ``padding`` (always on) and ``return_tensors`` (only ``"pt"``).

        Returns:
            ``input_ids``, ``attention_mask`` and ``pixel_values`` (or as `fuyu_pixels_name` says) of shape
            ``(batch, patches, values)``, or ``(1, all patches, values)`` where the images differ in their
            number of patches.
        """
        pictures = _pictures(images)
        texts = [str(item) for item in _as_list(text)]
        _check_call(pictures, texts, kwargs)
        sequences = [self.text_ids(item) for item in texts]
        vision: dict[str, torch.Tensor] = {}
        if pictures:
            cut = [self.patches(image, size) for image in pictures]
            equal = len({len(patches) for patches, _, _ in cut}) == 1
            every = [patches for patches, _, _ in cut]
            vision[fuyu_pixels_name()] = torch.stack(every) if equal else torch.cat(every)[None]
            rows_of = [
                ([self.image_token_id] * columns + [self.newline_token_id]) * rows for _, rows, columns in cut
            ]
            sequences = [rows + ids for rows, ids in zip(rows_of, sequences, strict=True)]
        length = max(len(ids) for ids in sequences)
        pad = self.tokenizer.pad_token_id
        input_ids = torch.tensor([[pad] * (length - len(ids)) + ids for ids in sequences])
        mask = torch.tensor([[0] * (length - len(ids)) + [1] * len(ids) for ids in sequences])
        return BatchFeature({"input_ids": input_ids, "attention_mask": mask, **vision})

    @property
    def model_input_names(self) -> list[str]:
        """What a call returns."""
        return ["input_ids", "attention_mask", fuyu_pixels_name()]
