"""The registry entry of a model: what is known before any weight is read."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vlmnb.types import Dtype, Frozen, ModelName

NAMED_FAMILY = "generic"
"""Name of the family of models that have none of their own: most are measured by repository or folder."""


class ModelEntry(Frozen):
    """A registry entry.

    Attributes:
        name: The model's name in YAML, columns and pages; ``title`` is its name in text.
        summary: One sentence on the architecture.
        source: Hub repository, or empty for a bundled checkpoint.
        revision: Commit of the Hub repository that is loaded, or empty for a bundled checkpoint.
        base_image_size: Side in pixels of the base configuration. If the model takes one side only, the image
            is first brought to this side, and then by the processor to the model's own.
        image_sizes: Sides of the image-size axis.
        native_image_size: The only side that the model takes, or None if it takes several.
        seq_lens: Prompt lengths in text tokens of the prompt-length axis; the first is the base.
        base_dtype: Precision of the base configuration on a CPU; a GPU's is ``fp16``, as in the reports.
        datasets: Data sets of the quality tables, in column order: captions, multiple choice, text
            reading, and any others.
        speed_dataset: Data set of the device and batch-size tables.
        choice_dataset: Data set of the optimization table.
        max_new_tokens: Upper limit of an answer's length.
        fixed_tokens: Length of answers of fixed length, if no other limit is given.
    """

    name: ModelName
    family: str
    title: str
    summary: str
    source: str = ""
    revision: str = ""
    base_image_size: int
    image_sizes: tuple[int, ...]
    native_image_size: int | None = None
    seq_lens: tuple[int, ...] = (200, 100, 50)
    base_dtype: Dtype = "fp32"
    datasets: tuple[str, ...]
    speed_dataset: str
    choice_dataset: str
    max_new_tokens: int = 24
    fixed_tokens: int = 32

    @property
    def bundled(self) -> bool:
        """Return whether the weights are part of the project."""
        return not self.source

    @property
    def generic(self) -> bool:
        """Return whether the model has no family of its own, so that its parts are found by looking."""
        return self.family == NAMED_FAMILY

    @property
    def image_size(self) -> int:
        """Return the side of images if none is asked for: the model's own, else the base configuration's."""
        return self.native_image_size or self.base_image_size

    def size_obstacle(self, image_size: int, interpolate: bool) -> str:
        """Say why the model cannot take images of a side in pixels; empty if it can.

        With interpolated position embeddings it takes all.
        """
        native = self.native_image_size
        if not native or interpolate or image_size in (native, self.base_image_size):
            return ""
        return f"the vision tower takes images of {native} pixels a side and no other"


BUNDLED_DATA = {
    "datasets": ("coco-mini", "scienceqa-mini", "textvqa-mini", "easy-vqa"),
    "speed_dataset": "textvqa-mini",
    "choice_dataset": "scienceqa-mini",
}
"""Data sets that need no download."""

BUNDLED_DEFAULTS = {
    "fixed_tokens": 8,
    "base_image_size": 64,
    "image_sizes": (32, 64, 96, 128),
    "seq_lens": (200, 100, 50, 25, 10),
    **BUNDLED_DATA,
}
"""Fields that the bundled models share, because they were trained for the same data."""

BUNDLED = (
    ModelEntry(
        name="smolvlm-tiny",
        family=NAMED_FAMILY,
        title="SmolVLM tiny",
        summary="SmolVLM's architecture at two million parameters: tiles, SigLIP-like tower, pixel shuffle, "
        "Llama decoder; measured as any model without a family of its own.",
        **BUNDLED_DEFAULTS,
    ),
)
"""Bundled models without a family of their own: the folder in ``models/`` says the rest."""

REPORTED_DEFAULTS = {
    "base_image_size": 224,
    "image_sizes": (224, 336, 448),
    "base_dtype": "bf16",
    "datasets": ("coco", "scienceqa", "textvqa"),
    "speed_dataset": "textvqa",
    "choice_dataset": "scienceqa",
    "max_new_tokens": 64,
}
"""Fields that the reports' models share. The reports do not state a limit of new tokens; 64 is lmms-eval's
for COCO captions, and shorter answers end by themselves."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def named_entry(name: str) -> ModelEntry | None:
    """Return the entry of a model by its repository or folder; None if the name is neither.

    A path is absolute, or begins with ``./``, ``../`` or ``~``, or is there. What could be a repository too
    is a folder if a ``config.json`` is in it. Nothing is read.
    """
    place, repository = Path(os.path.abspath(Path(name).expanduser())), bool(REPOSITORY.fullmatch(name))
    there = (place / "config.json").is_file() or place.is_file() if repository else place.exists()
    if name and (there or name.startswith(("/", "./", "../", "~"))):
        return _made(str(place), str(place))
    return _made(name, name) if repository else None


def _made(name: str, source: str) -> ModelEntry:
    return ModelEntry(
        name=name, family=NAMED_FAMILY, title=name, summary=f"{source}, measured by name.", source=source,
        **(REPORTED_DEFAULTS | BUNDLED_DATA),
    )  # fmt: skip
