"""The bundled checkpoints, each loaded once, and batches for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image

from vlmnb import models, paths

NAMES = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny", "smolvlm-tiny")
WITH_FAMILY = NAMES[:3]
"""Those with a family of their own, which can count the vision side on shapes alone."""


@cache
def checkpoint(name: str) -> tuple[Any, Any]:
    """A model in evaluation mode and its processor."""
    family, folder = models.family_of(models.get(name)), paths.bundled_model(name)
    return family.model_class().from_pretrained(folder).eval(), family.load_processor(folder)


def rendered(processor: Any, text: str) -> str:
    """A question with an image within the chat template."""
    content = [{"type": "image"}, {"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert isinstance(prompt, str)
    return prompt


def batch(name: str, texts: Sequence[str], images: Sequence[Image.Image] = (), **options: Any) -> Any:
    """What the processor makes of questions, about red squares unless there are images."""
    processor = checkpoint(name)[1]
    shown = list(images) or [Image.new("RGB", (64, 64), "red")] * len(texts)
    if name == "smolvlm-tiny":  # its processor takes an image at its own size
        shown = [image.resize((64, 64), processor.image_processor.resample) for image in shown]
    prompts = [rendered(processor, text) for text in texts]
    return processor(images=shown, text=prompts, padding=True, return_tensors="pt", **options)
