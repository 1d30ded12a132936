"""The protocol of a model family: everything that the project must know about one architecture.

A family is one file in ``vlmnb/models/families`` with an object ``FAMILY``. Most subclass ``Family``, which
has the usual answers for a vision tower, a projector and a Llama-like decoder in transformers.
"""

from __future__ import annotations

import importlib
import inspect
import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from vlmnb.models.architecture import Decoder, ImageFlops, Tensor, Vision, decoder_tensors, llama_like
from vlmnb.models.entry import ModelEntry
from vlmnb.models.gguf_files import GgufParts

PLACES = (
    (r"lm_head", "head"),
    (r"multi_modal_projector", "projector"),
    (r"vision_tower\..*self_attn$", "vision_scores"),
    (r"vision_tower", "vision"),
    (r"language_model\..*\.self_attn$", "scores"),
    (r"language_model\..*\.self_attn\.", "projections"),
    (r"language_model\..*\.mlp", "mlp"),
    (r"rotary", "scores"),  # a product of matrices in older transformers, such as 5.17
)


def chat_template(name: str) -> str:
    """Return a chat template from the folder ``templates``."""
    file = resources.files("vlmnb.models") / "templates" / f"{name}.jinja"
    return file.read_text(encoding="utf-8").removesuffix("\n")


def square(tokens: int) -> tuple[int, int]:
    """Return rows and columns of image tokens: a square if they can fill one, else a single row."""
    side = math.isqrt(tokens)
    return (side, side) if side * side == tokens else (1, tokens)


class Sizing(Protocol):
    """How images are given to a loaded model at a size in pixels."""

    def sized(self, image_size: int) -> dict[str, Any]:
        """Return the arguments of the processor for a side."""
        return {"size": image_size}

    def own_size(self) -> dict[str, Any] | None:
        """Return its arguments for images that keep their shape and size; None if all are made square."""
        return {"size": "own"}

    def image_side(self, processor: Any, image_size: int) -> int:
        """Return the side at which the model then takes the image, as records state it."""
        return image_size


class Family(Sizing, Protocol):
    """What the project knows about one architecture.

    A configuration (``config``) is an object with the attributes of the family's class in transformers:
    that class itself, or the plain object of ``geometry.plain``.

    Attributes:
        name: Name of the family, as registry entries have it.
        rank: Place of the family in lists; families of equal rank are sorted by name.
        entries: Registry entries of its models.
        class_name: The model class in transformers.
        processor_class: Module and name of a processor class that works without torchvision.
        processor_note: What a reader should know about that processor, as Markdown.
        stand_in: Bundled model whose processor serves random weights without a tokenizer of their own.
        configurations: ``config.json`` by model, for Hub models that have no file in ``geometries``.
        defaults: Values that a published ``config.json`` leaves to the classes of transformers, by part
            (``text_config``, ``vision_config``, or "" for the whole).
        places: Patterns of module names, with the part that FLOPs of such a module are counted in; the first
            match counts.
        vision_names: Names of the modules that turn pixels into image tokens, in the order in which they run.
        projector_name: Name of the module that brings pixels or vision features to the width of the decoder.
        layers_name: Name of the list of layers of the vision tower, or empty without a tower.
        patches_name: Name of the module that makes vectors of patches; empty if the projector does.
        gguf_obstacle: Why llama.cpp cannot run these models, or empty.
        line_ends: A token of its own follows each row of image tokens.
        attention_obstacle: Why the attention that its image tokens get in the tower is not known, or empty.
        serves_named: Models of its ``model_type`` (its name) that are measured by repository or folder use it
            too, because it prepares their images better than transformers does here.
    """

    name: str
    rank: int = 100
    entries: tuple[ModelEntry, ...]
    class_name: str
    processor_class: tuple[str, str]
    processor_note: str = ""
    stand_in: str
    configurations: Mapping[str, Mapping[str, Any]] = {}
    defaults: Mapping[str, Mapping[str, Any]] = {}
    places: tuple[tuple[str, str], ...] = PLACES
    vision_names: tuple[str, ...]
    projector_name: str
    layers_name: str = ""
    patches_name: str = ""
    gguf_obstacle: str = ""
    line_ends: bool = False
    attention_obstacle: str = ""
    serves_named: bool = False

    # Loading

    def model_class(self, config: Any = None) -> Any:
        """Return the model class of transformers, for a configuration if the family has several."""
        import transformers

        return getattr(transformers, self.class_name)

    def load_processor(self, folder: str | Path) -> Any:
        """Load the processor of a checkpoint folder, padding on the left.

        Raises:
            ValueError: The tokenizer writes an image as another token than the configuration expects.
        """
        module, name = self.processor_class
        processor = getattr(importlib.import_module(module), name).from_pretrained(folder)
        if (Path(folder) / "config.json").exists():
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(folder)
            self.match(processor, config)
            ids = (processor.image_token_id, config.image_token_id)
            if ids[0] != ids[1]:
                raise ValueError(f"the tokenizer writes an image as token {ids[0]}, config.json has {ids[1]}")
        return processor

    def match(self, processor: Any, config: Any) -> None:
        """Let a processor make as many image tokens as the model; older checkpoints do not say how many."""
        return

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the full-size ids of special tokens that the stand-in's tokenizer has at other ids."""
        return {}

    @abstractmethod
    def adapt(self, processor: Any, config: Any) -> None:
        """Give a stand-in processor, which matches, the checkpoint's image size and prompt template."""

    def interpolated(self, model: Any, processor: Any) -> Sizing:
        """Let a loaded model of one image size take others, and return how images are then sized."""
        raise ValueError(f"{self.name} has no position embeddings to interpolate")

    def gguf(self, config: Any, images: Any) -> GgufParts:
        """Return how a model is written for llama.cpp, given its configuration and image processor.

        Raises:
            ValueError: llama.cpp cannot run it, or its conversion is not known.
        """
        raise ValueError(self.gguf_obstacle or f"no conversion of {self.name} to GGUF is known here")

    # Modules of a loaded model

    def stepping(self, model: Any) -> Any:
        """Return the module whose forward pass is one step of ``generate``, with the settings of it."""
        return model

    def vision_modules(self, model: Any) -> list[Any]:
        """Return the modules that turn pixels into image tokens, in the order in which they run."""
        return [model.get_submodule(name) for name in self.vision_names]

    def vision_layers(self, model: Any) -> list[Any]:
        """Return the layers of the vision tower."""
        return list(model.get_submodule(self.layers_name)) if self.layers_name else []

    def patch_embedding(self, model: Any) -> Any:
        """Return the module that makes vectors of patches, or None if the projector does."""
        return model.get_submodule(self.patches_name) if self.patches_name else None

    def projector(self, model: Any) -> Any:
        """Return the module that brings pixels or vision features to the width of the decoder."""
        return model.get_submodule(self.projector_name)

    def decoder(self, model: Any) -> Any:
        """Return the language model without its head."""
        return model.model.language_model

    def decoder_layers(self, model: Any) -> list[Any]:
        """Return the layers of the language model."""
        return list(self.decoder(model).layers)

    def layer_parts(self, layer: Any) -> tuple[Any, Any]:
        """Return attention and MLP of a decoder layer; None for a part that it does not have."""
        return layer.self_attn, layer.mlp

    def places_of(self, model: Any) -> tuple[tuple[str, str], ...]:
        """Return ``places``; a family that does not know its modules by name finds them in the model."""
        return self.places

    # Image tokens on their way into the decoder

    def image_grid(self, config: Any, image_size: int) -> tuple[int, int]:
        """Return rows and columns of the image tokens of a square image, line ends left out."""
        return square(self.image_tokens(config, image_size))

    def image_features(self, model: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Encode the images of a batch, as ``generate`` does.

        Returns:
            What the model made, and the image tokens in it: a tensor of prompts x tokens x width.
        """
        import torch

        made = self.encode(model, **self.encoder_inputs(model, inputs), return_dict=True)
        found = made.pooler_output
        every = found if isinstance(found, torch.Tensor) else torch.cat(tuple(found))
        return made, every.reshape(len(inputs["input_ids"]), -1, every.shape[-1])

    def encode(self, model: Any, **tensors: Any) -> Any:
        """Run tower and projector on the tensors of a prompt that ``encoder_inputs`` takes of it."""
        return model.base_model.get_image_features(**tensors)

    def encoder_inputs(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return those tensors of a prompt that the encoding of its image takes."""
        wanted = inspect.signature(model.base_model.get_image_features).parameters
        return {name: value for name, value in inputs.items() if name in wanted}

    def with_features(self, made: Any, features: Any) -> Any:
        """Put other image tokens into what ``image_features`` returned first, and return it."""
        listed = isinstance(made.pooler_output, (list, tuple))
        made.pooler_output = tuple(features) if listed else features
        return made

    def image_positions(self, model: Any, inputs: Mapping[str, Any]) -> Any | None:
        """Return positions of all tokens, axes x prompts x tokens; None if they are counted in one row."""
        return None

    def attending(self, model: Any) -> tuple[Any, bool]:
        """Return the attention of the tower's last used layer, and whether there is a class token."""
        shape = self.vision_shape(model.config)
        assert shape is not None
        return self.vision_layers(model)[shape.used_layers - 1].self_attn, shape.class_token

    # Numbers of a configuration

    def complete(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a ``config.json`` with defaults filled in and the decoder's part by itself."""
        made = {**self.defaults.get("", {}), **document}
        made["text_config"] = {
            **self.defaults.get("text_config", {}), **document, **document.get("text_config", {}),
        }  # fmt: skip
        if "vision_config" in document:
            made["vision_config"] = {**self.defaults.get("vision_config", {}), **document["vision_config"]}
        return made

    def decoder_shape(self, config: Any) -> Decoder:
        """Return the numbers of the language model, as a Llama has them."""
        text = config.text_config
        return llama_like(config, text, text.intermediate_size)

    def vision_shape(self, config: Any) -> Vision | None:
        """Return the numbers of the vision tower, or None without one."""
        return None

    def text_tensors(self, config: Any) -> Iterable[Tensor]:
        """Yield the weights of the language model; a tied output layer has none of its own."""
        return decoder_tensors(self.decoder_shape(config))

    @abstractmethod
    def image_tensors(self, config: Any) -> Iterable[Tensor]:
        """Yield the weights of the vision tower and the projector."""

    @abstractmethod
    def image_tokens(self, config: Any, image_size: int, height: int | None = None) -> int:
        """Return the number of tokens for a square image of a side in pixels, or of a width and a height."""

    def seen_side(self, config: Any, image_size: int) -> int:
        """Return the side that the model sees of an image given to its processor at a size."""
        return image_size

    @abstractmethod
    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Return the FLOPs of one image of the side that the model sees."""

    def image_flops_of(self, model: Any, inputs: Mapping[str, Any], image_size: int) -> ImageFlops:
        """Return the FLOPs of the images, at least one, in the tensors of a prompt, for a loaded model.

        Each place of the first axis of the pixels is an image of the size that the model sees.
        """
        return self.image_flops(model.config, image_size).times(len(inputs["pixel_values"]))

    @abstractmethod
    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's arguments of ``get_image_features``, as tensors without content."""
