"""Load models: checkpoints, and full geometries with random weights."""

from __future__ import annotations

import contextlib
import copy
import gc
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmnb.device import host_memory
from vlmnb.errors import UserError, one_line
from vlmnb.measure import llama_cpp, process_state, random_weights
from vlmnb.measure.failures import NotMeasured, Unsupported
from vlmnb.models import checkpoints, folders, geometry, prompting, quiet_libraries, soundness, stand_in
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family, Sizing
from vlmnb.models.generic import structure
from vlmnb.records.resolved import Resolved
from vlmnb.spec import optimizations
from vlmnb.spec.optimizations import Optimization, Setting, quantization
from vlmnb.spec.optimizations.setting import OF_CALLS
from vlmnb.types import Device, Weights


@dataclass(frozen=True)
class Configuration:
    """The part of a cell that decides which model object is needed.

    Attributes:
        optimization: Precision and settings that are part of the model; those of ``OF_CALLS`` are left out.
        seed: Of random weights, made by ``config``; 0 for pretrained ones.
    """

    entry: ModelEntry
    family: Family
    weights: Weights
    device: Device
    optimization: Optimization
    seed: int
    interpolate: bool
    config: dict[str, Any]
    folder: Path | None


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate.

    Attributes:
        configuration: What was asked for.
        sizing: What sizes images for it (``sized``, ``image_side``): the family, or
            another object if positions are interpolated.
        model: The transformers model, on its device, in evaluation mode.
        processor: Its processor, padding on the left.
        geometry: How a checkpoint's geometry differs from that of the model it is named after.
        template: Where its chat template comes from, with a digest.
        notes: What a reader of its numbers should know about the checkpoint.
        engine: What generates in the model's place (``llama_cpp.Engine``); None if the model does.
    """

    configuration: Configuration
    sizing: Sizing
    model: Any
    processor: Any
    geometry: str = ""
    template: str = ""
    notes: tuple[str, ...] = ()
    engine: Any = None

    @property
    def processor_source(self) -> str:
        """Return ``checkpoint`` or ``stand-in``."""
        return "checkpoint" if self.configuration.folder else stand_in.NAME

    @property
    def family(self) -> Family:
        """Return the model's family."""
        return self.configuration.family

    @property
    def stepping(self) -> Any:
        """The module whose forward pass is one step of ``generate``; the model, unless it holds one."""
        return self.family.stepping(self.model)

    @property
    def decoder(self) -> Any:
        """The language model without its head."""
        return self.family.decoder(self.model)


def configuration(resolved: Resolved) -> Configuration:
    """Return which model object a cell needs."""
    cell, chosen = resolved.cell, resolved.optimization
    names = tuple(setting.name for setting in chosen.settings if setting.kind not in OF_CALLS)
    return Configuration(
        entry=resolved.entry,
        family=resolved.family,
        weights=cell.weights,
        device=cell.device,
        optimization=Optimization(name="", dtype=cell.dtype, names=names),
        seed=cell.seed if cell.weights == "random" else 0,
        interpolate=cell.interpolate,
        config=resolved.config,
        folder=resolved.folder,
    )


def plain(wanted: Configuration) -> Configuration:
    """Return the same configuration without an optimization, in its precision."""
    names = (optimizations.BASE_ATTENTION,)
    return replace(wanted, optimization=wanted.optimization.model_copy(update={"names": names}))


class ModelSlot:
    """Holds one loaded model at a time: cells of one configuration share it, the next replaces it."""

    def __init__(self) -> None:
        self._held: Loaded | None = None

    def get(self, wanted: Configuration) -> Loaded:
        """Return the model of a configuration, loading it unless it is the one held."""
        if self._held is None or self._held.configuration != wanted:
            self.clear()
            with process_state.of_a_cell():
                self._held = load(wanted)
        return self._held

    def clear(self) -> None:
        """Release the model and the memory that it took.

        Raises:
            RuntimeError: An error has broken the CUDA context.
        """
        self._held = None
        process_state.forget_compiled()
        gc.collect()
        process_state.free_unused()


def require(missing: Sequence[Resolved]) -> None:
    """Find the checkpoints and packages that cells need, before anything is measured.

    Raises:
        UserError: A checkpoint is not there or cannot be used, or a package is not installed.
    """
    prepare()
    import torch

    usable = {"cpu"} | ({"cuda"} if torch.cuda.is_available() else set())
    found: set[tuple[str, str]] = set()
    for resolved in missing:
        cell, entry = resolved.cell, resolved.entry
        if cell.device not in usable:
            continue
        optimizations.require(cell.optimization, cell.dtype)
        if (entry.name, cell.weights) in found:
            continue
        if entry.generic and not entry.bundled and (cell.weights == "random" or entry.source[0] != "/"):
            # Small files are enough to see that a processor wants a package, before weights are downloaded.
            geometry.document(entry)
            _processor(configuration(resolved), folders.anywhere(entry))
        found.add((entry.name, cell.weights))
        if cell.weights == "pretrained":
            folder = checkpoints.find(entry)
            if not entry.bundled:
                # Loading it without its values takes a second and shows whether its files belong together.
                for note in _from_folder(configuration(resolved), folder, device_map="meta").notes:
                    print(f"{entry.name}: {note} ({folder})", file=sys.stderr)


def prepare() -> None:
    """Set up torch and transformers before the first use: where compiled code is kept, and silence."""
    quiet_libraries.hush()
    process_state.keep_compiled_code()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load(wanted: Configuration) -> Loaded:
    """Load a model as a configuration asks.

    Raises:
        Unsupported: The device, the attention or the quantization does not work here.
        UserError: The checkpoint is missing or cannot be used.
        MemoryError: The weights take more memory than is free.
    """
    prepare()
    import torch

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise Unsupported("this machine has no CUDA device that torch can use")
    if reason := optimizations.obstacle(wanted.optimization, wanted.device):
        raise Unsupported(reason)
    loaded = _random(wanted) if wanted.weights == "random" else _pretrained(wanted)
    if wanted.entry.generic and (crossing := structure.crossing_note(loaded.model)):
        loaded = replace(loaded, notes=(*loaded.notes, crossing))
    if wanted.interpolate:
        loaded = replace(loaded, sizing=wanted.family.interpolated(loaded.model, loaded.processor))
    for setting in wanted.optimization.settings:
        apply(setting, loaded.model, wanted.device)
    if name := wanted.optimization.of("engine"):
        # No list of them is kept, so that each may be freed once it is written.
        weights = _random_values(loaded) if wanted.weights == "random" else loaded.model.named_parameters()
        engine = llama_cpp.Engine(loaded.family, loaded.model, loaded.processor, name, weights)
        loaded = replace(loaded, engine=engine, notes=(*loaded.notes, *engine.notes))
    if wanted.optimization.of("quantization") and (left := quantization.unquantized(loaded.model)):
        loaded = replace(loaded, notes=(*loaded.notes, f"linear layers that are not quantized: {left}"))
    host_memory.give_back()  # what was quantized or converted, which would count as the model's memory
    return loaded


def outline(loaded: Loaded) -> Loaded:
    """Return the plain model of a loaded one without values: its weights take no memory."""
    wanted, model = plain(loaded.configuration), loaded.model
    made = random_weights.outline(
        type(model), copy.deepcopy(model.config), torch_dtype(wanted.optimization.dtype), model.device
    )
    if wanted.interpolate:
        wanted.family.interpolated(made, loaded.processor)
    return replace(loaded, configuration=wanted, model=made)


def torch_dtype(name: str) -> Any:
    """Return torch's dtype of a precision: ``fp32``, ``bf16`` or ``fp16``."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def apply(setting: Setting, model: Any, device: str) -> None:
    """Apply a setting to a loaded model in place; what the library raises is why it is unsupported here."""
    import torch

    try:
        with torch.no_grad():
            setting.apply(model, device)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the libraries raise exceptions of many classes
        reason = one_line(error) or "no reason given"
        raise Unsupported(f"{setting.name} does not work here: {type(error).__name__}: {reason}") from None


def _random(wanted: Configuration) -> Loaded:
    family, folder, config = wanted.family, wanted.folder, geometry.of(wanted.config)
    kind, dtype = family.model_class(config), torch_dtype(wanted.optimization.dtype)
    if wanted.optimization.of("engine"):  # which gets the values one by one
        model = random_weights.outline(kind, config, dtype, wanted.device)
    else:
        model = random_weights.build(kind, config, dtype=dtype, device=wanted.device, seed=wanted.seed)
        family.stepping(model).generation_config = model.generation_config
    if folder is None:
        return Loaded(wanted, family, model, stand_in.build(family, config))
    processor = _processor(wanted, folder)
    template = prompting.template_source(processor, folder)
    return Loaded(wanted, family, model, processor, template=template)


def _random_values(loaded: Loaded) -> Iterator[tuple[str, Any]]:
    wanted = loaded.configuration
    dtype = torch_dtype(wanted.optimization.dtype)
    return random_weights.values(loaded.model, dtype=dtype, device=wanted.device, seed=wanted.seed)


def _pretrained(wanted: Configuration) -> Loaded:
    folder = wanted.folder
    assert folder is not None  # `require` has found and checked it
    dtype = torch_dtype(wanted.optimization.dtype)
    host_memory.require(soundness.loaded_bytes(wanted.entry, folder, dtype.itemsize), "the weights")
    loaded = _from_folder(wanted, folder, dtype=dtype)
    model = loaded.model
    if reason := soundness.check_values(model, wanted.entry, folder):
        raise NotMeasured(reason)
    model.to(wanted.device).eval()
    for one in (model, loaded.stepping):  # an inner model generates by settings of its own
        one.generation_config = _greedy(one.generation_config)
    return loaded


def _from_folder(wanted: Configuration, folder: Path, **how: Any) -> Loaded:
    """Load a checkpoint that has exactly the model's weights, with arguments of ``from_pretrained``."""
    with _usable(wanted, folder):
        model, report = wanted.family.model_class().from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with both shapes
            attn_implementation="eager",  # not what config.json names; the optimization sets its own
            **how,
        )
    name = wanted.entry.name
    soundness.check_report(report, name, folder)
    processor = _processor(wanted, folder)
    notes = soundness.check_model(wanted.family.stepping(model), processor.tokenizer, name)
    return Loaded(
        wanted, wanted.family, model, processor,
        geometry=geometry.differences(wanted.entry, model.config),
        template=prompting.template_source(processor, folder),
        notes=(*soundness.beside(wanted.entry, folder), *prompting.passed_over(processor, folder), *notes),
    )  # fmt: skip


def _processor(wanted: Configuration, folder: Path) -> Any:
    with _usable(wanted, folder):
        return wanted.family.load_processor(folder)


@contextlib.contextmanager
def _usable(wanted: Configuration, folder: Path) -> Iterator[None]:
    """Report what a library raises, which can be anything, as a broken checkpoint, unless memory ran out."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except UserError as error:
        raise UserError(f"cannot load {wanted.entry.name} from {folder}: {error}") from None
    except Exception as error:
        if "allocate" in str(error):
            raise
        reason = f"{type(error).__name__}: {one_line(str(error).replace(str(folder), 'it'), 300)}"
        raise UserError(f"cannot load {wanted.entry.name} from {folder}: {reason}") from None


def _greedy(given: Any) -> Any:
    """Keep only the special tokens of a checkpoint's generation config: no sampling, no penalties."""
    from transformers import GenerationConfig

    end, pad = given.eos_token_id, given.pad_token_id
    if pad is None:
        pad = end[0] if isinstance(end, list) else end
    return GenerationConfig(bos_token_id=given.bos_token_id, eos_token_id=end, pad_token_id=pad)
