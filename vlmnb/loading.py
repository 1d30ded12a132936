"""Checkpoints into memory: one path for bundled folders and Hub repositories."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vlmnb import models, optimizations, paths
from vlmnb.errors import UserError
from vlmnb.models.entry import ModelEntry
from vlmnb.spec import Cell, Dtype, Frozen


class Unsupported(Exception):
    """The cell cannot run here; the message is the reason that its record carries."""


class NotApplicable(Exception):
    """The cell asks for what the model's architecture does not have; the message is the reason."""


class Configuration(Frozen):
    """The part of a cell that decides which model object is needed."""

    model: str
    weights: str
    device: str
    dtype: Dtype
    attention: str
    compiled: bool


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate.

    Attributes:
        entry: Its registry entry.
        family: Its family module.
        model: The transformers model, on its device, in evaluation mode.
        processor: Its processor, padding on the left.
    """

    configuration: Configuration
    entry: ModelEntry
    family: Any
    model: Any
    processor: Any


def configuration(cell: Cell) -> Configuration:
    """Which model object a cell needs."""
    chosen = optimizations.parse(cell.optimization, cell.dtype)
    return Configuration(
        model=cell.model,
        weights=cell.weights,
        device=cell.device,
        dtype=cell.dtype,
        attention=chosen.attention,
        compiled=chosen.compiled,
    )


class ModelSlot:
    """Holds one loaded model at a time: cells of one configuration share it, the next replaces it."""

    def __init__(self) -> None:
        """Start empty."""
        self._held: Loaded | None = None

    def get(self, wanted: Configuration) -> Loaded:
        """The model of a configuration, loaded if another one is held.

        Raises:
            Unsupported: The device or the weights cannot be had here.
            UserError: The checkpoint is missing.
        """
        if self._held is None or self._held.configuration != wanted:
            self.clear()
            self._held = load(wanted)
        return self._held

    def clear(self) -> None:
        """Let go of the model and of the memory that it took."""
        import torch

        self._held = None
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(wanted: Configuration) -> Loaded:
    """Load a checkpoint as a configuration wants it.

    Raises:
        Unsupported: The device or the weights cannot be had here.
        UserError: The checkpoint is missing.
    """
    import torch
    import transformers

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise Unsupported("this machine has no CUDA device that torch can use")
    if wanted.weights == "random":
        raise Unsupported("random weights need a full-size geometry, which bundled models do not have")
    entry = models.get(wanted.model)
    family = models.family_of(entry)
    folder = entry.source or paths.bundled_model(entry.name)
    if entry.bundled and not (paths.bundled_model(entry.name) / "model.safetensors").exists():
        raise UserError(f"the bundled model {folder} is missing; restore it with: git checkout -- {folder}")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted.dtype]
    model = getattr(transformers, family.MODEL_CLASS).from_pretrained(
        folder, dtype=dtype, attn_implementation=wanted.attention, use_safetensors=True
    )
    model.to(wanted.device).eval()
    if wanted.compiled:
        compile_decoder(model)
    return Loaded(wanted, entry, family, model, family.load_processor(folder))


def compile_decoder(model: Any) -> None:
    """Compile the decoder's forward pass, once for all lengths (dynamic shapes).

    The decoder is where generation spends its time: it runs once per token. The vision tower runs once
    per batch and stays as it is, which keeps the time to compile in bounds.
    """
    import torch

    decoder = model.model.language_model
    decoder.forward = torch.compile(decoder.forward, dynamic=True)


@contextlib.contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """The model without its compiled forward pass, for counting: counters see Python's operators only."""
    decoder = model.model.language_model
    compiled = vars(decoder).pop("forward", None)
    try:
        yield
    finally:
        if compiled is not None:
            decoder.forward = compiled


def attention_in_use(model: Any) -> str:
    """The attention implementation the decoder is set to."""
    return str(model.model.language_model.config._attn_implementation)
