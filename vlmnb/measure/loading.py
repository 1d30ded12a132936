"""Models into memory: checkpoints, and full geometries with random weights."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmnb import models
from vlmnb.errors import UserError
from vlmnb.measure import compilation, random_weights
from vlmnb.models import checkpoints, geometry, quiet_libraries, stand_in
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family, Sizing
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import Optimization
from vlmnb.types import Dtype, Frozen


class Unsupported(Exception):
    """The cell cannot run here; the message is the reason that its record carries."""


class NotApplicable(Exception):
    """The cell asks for what the model's architecture does not have; the message is the reason."""


class Configuration(Frozen):
    """The part of a cell that decides which model object is needed.

    Attributes:
        settings: Settings of the optimization that are part of the model; those of decoding are not.
        seed: Of random weights; 0 where there are none.
    """

    model: str
    weights: str
    device: str
    dtype: Dtype
    settings: tuple[str, ...]
    seed: int = 0
    interpolate: bool = False

    @property
    def optimization(self) -> Optimization:
        """The settings, of which those of decoding are left out."""
        return Optimization(name="", dtype=self.dtype, names=self.settings)


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate.

    Attributes:
        entry: Its registry entry.
        family: Its family.
        sizing: What sizes images for it (``sized``, ``image_side``, ``source_image``): the family, or
            another object where positions are interpolated.
        model: The transformers model, on its device, in evaluation mode.
        processor: Its processor, padding on the left.
        processor_source: ``checkpoint``, or ``stand-in`` where random weights had none.
        geometry: In what a checkpoint's geometry is not that of the model it is named after.
    """

    configuration: Configuration
    entry: ModelEntry
    family: Family
    sizing: Sizing
    model: Any
    processor: Any
    processor_source: str = "checkpoint"
    geometry: str = ""


def configuration(cell: Cell) -> Configuration:
    """Which model object a cell needs."""
    in_model = (s.name for s in optimizations.of(cell).settings if s.kind != "decoding")
    return Configuration(
        model=cell.model,
        weights=cell.weights,
        device=cell.device,
        dtype=cell.dtype,
        settings=tuple(in_model),
        seed=cell.seed if cell.weights == "random" else 0,
        interpolate=cell.interpolate,
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
        if "torch._dynamo" in sys.modules:  # importing it takes seconds, and nothing was compiled without it
            torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def require(cells: Sequence[Cell]) -> None:
    """Find the checkpoints and packages that cells need, so that nothing is measured where one is missing.

    Raises:
        UserError: A checkpoint is not there or cannot be used, or a package is not installed.
    """
    _prepare()
    import torch

    usable = {"cpu"} | ({"cuda"} if torch.cuda.is_available() else set())
    for name, dtype in dict.fromkeys((c.optimization, c.dtype) for c in cells if c.device in usable):
        optimizations.require(name, dtype)
    for name in dict.fromkeys(c.model for c in cells if c.weights == "pretrained" and c.device in usable):
        entry = models.get(name)
        folder = checkpoints.find(entry).folder
        if not entry.bundled:
            _try(entry, folder)


def _try(entry: ModelEntry, folder: Path) -> None:
    """Load a checkpoint without its values, which takes a second: whether its files belong together.

    Raises:
        UserError: They do not: a tensor is missing or of another shape than the configuration says, or the
            tokenizer or the image processor cannot be made.
    """
    family = models.family_of(entry)
    _from_folder(entry, family, folder, device_map="meta")
    _processor(entry, family, folder)


def import_classes(cells: Sequence[Cell]) -> None:
    """Import the model classes of cells, which takes seconds, before the device is theirs alone."""

    for name in dict.fromkeys(cell.model for cell in cells):
        models.family_of(models.get(name)).model_class()


def _prepare() -> None:
    """What is to be settled before torch and transformers are imported."""
    quiet_libraries.hush()
    compilation.keep_compiled_code()


def load(wanted: Configuration) -> Loaded:
    """Load a model as a configuration wants it.

    Raises:
        Unsupported: The device cannot be had here.
        UserError: The checkpoint is missing or cannot be used.
    """
    _prepare()
    import torch

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise Unsupported("this machine has no CUDA device that torch can use")
    if reason := optimizations.obstacle(wanted.optimization, wanted.device):
        raise Unsupported(reason)
    _without_talk()
    entry = models.get(wanted.model)
    family = models.family_of(entry)
    loaded = (
        _random(wanted, entry, family) if wanted.weights == "random" else _pretrained(wanted, entry, family)
    )
    if wanted.interpolate:
        loaded = replace(loaded, sizing=family.interpolated(loaded.model, loaded.processor))
    for setting in wanted.optimization.settings:
        _apply(setting, loaded.model, wanted.device)
    return loaded


def _without_talk() -> None:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _apply(setting: optimizations.Setting, model: Any, device: str) -> None:
    """Apply a setting to a loaded model, in place; whether that works here is found out by trying.

    Raises:
        Unsupported: The library cannot do it here; the reason is the library's own.
    """
    import torch

    try:
        with torch.no_grad():
            if setting.prepare:
                setting.prepare(model, device)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the libraries assert, import and raise as they please
        reason = " ".join(str(error).split()) or "no reason given"
        raise Unsupported(f"{setting.name} cannot be had here: {type(error).__name__}: {reason}") from None


def _dtype(name: Dtype) -> Any:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def _random(wanted: Configuration, entry: ModelEntry, family: Family) -> Loaded:

    config = geometry.config(entry.name)
    model = random_weights.build(
        family.model_class(),
        config,
        dtype=_dtype(wanted.dtype),
        device=wanted.device,
        attention=wanted.optimization.attention_here(),
        seed=wanted.seed,
    )
    folder = checkpoints.processor_folder(entry)
    if folder is None:
        return Loaded(wanted, entry, family, family, model, stand_in.build(family, config), stand_in.NAME)
    return Loaded(wanted, entry, family, family, model, _processor(entry, family, folder))


def _pretrained(wanted: Configuration, entry: ModelEntry, family: Family) -> Loaded:
    folder = checkpoints.find(entry).folder
    kernel = wanted.optimization.attention_here()
    model = _from_folder(entry, family, folder, dtype=_dtype(wanted.dtype), attn_implementation=kernel)
    model.to(wanted.device).eval()
    _decode_greedily(model)
    other = geometry.differences(entry.name, model.config)
    processor = _processor(entry, family, folder)
    return Loaded(wanted, entry, family, family, model, processor, geometry=other)


def _from_folder(entry: ModelEntry, family: Family, folder: Path, **how: Any) -> Any:
    """The model of a checkpoint, every weight of which is the checkpoint's own.

    Args:
        entry: Its registry entry.
        family: Its family.
        folder: Where it lies.
        how: Further arguments of ``from_pretrained``.

    Raises:
        UserError: It cannot be loaded, lacks a weight, or has one of another shape.
    """
    import torch

    _without_talk()
    try:
        model, report = family.model_class().from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # said below, with both shapes
            **how,
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # whatever is wrong with a checkpoint shows as some error of a library
        if "allocate" in str(error):
            raise
        raise _unusable(entry, folder, error) from None
    absent = sorted(report["missing_keys"])
    if absent:
        raise UserError(
            f"{folder} lacks {len(absent)} weights that {entry.name} needs, the first is {absent[0]}; "
            "they would be random, so nothing is measured with it"
        )
    wrong = sorted(report["mismatched_keys"])
    if wrong:
        name, there, here = wrong[0]
        raise UserError(
            f"{folder}: {name} has the shape {tuple(there)} in the weights and {tuple(here)} by config.json, "
            f"one of {len(wrong)} that differ; restore the config.json that belongs to the weights of "
            f"{entry.name}"
        )
    return model


def _processor(entry: ModelEntry, family: Family, folder: Path) -> Any:
    try:
        return family.load_processor(folder)
    except Exception as error:  # as above
        raise _unusable(entry, folder, error) from None


def _unusable(entry: ModelEntry, folder: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300]
    return UserError(f"cannot load {entry.name} from {folder}: {type(error).__name__}: {reason}")


def _decode_greedily(model: Any) -> None:
    """Of the checkpoint's settings for generation keep the special tokens: no sampling, no penalties."""
    from transformers import GenerationConfig

    given = model.generation_config
    end = given.eos_token_id
    pad = given.pad_token_id if given.pad_token_id is not None else end[0] if isinstance(end, list) else end
    model.generation_config = GenerationConfig(
        bos_token_id=given.bos_token_id, eos_token_id=end, pad_token_id=pad
    )
