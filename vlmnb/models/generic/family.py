"""The family of every model that has no file of its own: configuration and modules say what it is."""

from __future__ import annotations

import copy
import functools
import inspect
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from vlmnb.errors import UserError
from vlmnb.models import folders, named, quiet_libraries
from vlmnb.models.architecture import Decoder, ImageFlops, Tensor, Vision, llama_like
from vlmnb.models.entry import NAMED_FAMILY, ModelEntry
from vlmnb.models.family import Family, chat_template
from vlmnb.models.generic import decoder, structure


class Generic(Family):
    """Any image-text-to-text model of transformers."""

    name = NAMED_FAMILY
    entries = ()
    class_name = "AutoModelForImageTextToText"
    processor_class = ("transformers", "AutoProcessor")
    stand_in = ""
    vision_names = ()
    projector_name = ""

    def __init__(self, folder: Path) -> None:
        """Take the folder that has the model's files."""
        self.folder = folder
        self._last: tuple[str, Any] | None = None

    def model_class(self, config: Any = None) -> Any:
        """Return the class of a configuration, or without one the class that picks the model's own."""
        from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoModelForImageTextToText

        if config is None:
            return AutoModelForImageTextToText
        return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]

    @property
    def gguf_obstacle(self) -> str:  # type: ignore[override]
        """Say why llama.cpp cannot run the model; empty if its converter knows the class."""
        file = resources.files("vlmnb.models.generic") / "gguf.yaml"
        known = yaml.safe_load(file.read_text(encoding="utf-8"))
        found = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        name = named.class_name(str(found.get("model_type")))
        if name in known["classes"].split():
            return ""
        return f"llama.cpp's converter, at {known['commit'][:7]}, has no {name or 'model of this type'}"

    def load_processor(self, folder: str | Path) -> Any:
        """Load the checkpoint's own processor for pictures and text, padding on the left."""
        from vlmnb.models.generic import processor

        return processor.load(folder, chat_template("plain"))

    def adapt(self, processor: Any, config: Any) -> None:
        """Refuse: only the model's own processor knows how it cuts images."""
        raise UserError(
            "random weights of this model need its own tokenizer and processor files beside config.json"
        )

    def sized(self, image_size: int) -> dict[str, Any]:
        """Return nothing: the processor keeps its own rules for an image of any size."""
        return {}

    def own_size(self) -> dict[str, Any] | None:
        """Return nothing to say, or None if the processor makes the same of a square and of a wide image."""
        return {} if self._keeps_shape else None

    def image_side(self, processor: Any, image_size: int) -> int:
        """Return the one side that the processor brings or cuts every image to, else the side given."""
        images = processor.image_processor
        sizes = [getattr(images, "size", None)]
        if getattr(images, "do_center_crop", None) and not getattr(images, "image_grid_pinpoints", None):
            sizes.append(getattr(images, "crop_size", None))  # with those it is the size of one tile of many
        for size in sizes:
            height = size.get("height") if isinstance(size, Mapping) else getattr(size, "height", None)
            if height:
                return int(height)
        return image_size

    def stepping(self, model: Any) -> Any:
        """Return the model, or the inner one that its own ``generate`` hands on to."""
        return structure.stepping(model)

    def vision_modules(self, model: Any) -> list[Any]:
        """Return the tower, and what follows it up to the decoder unless that is in the tower."""
        tower = structure.tower(model)
        inside = set(map(id, tower.modules())) if tower is not None else set()
        beside = [module for module in structure.projectors(model) if id(module) not in inside]
        return [*([tower] if tower is not None else []), *beside]

    def vision_layers(self, model: Any) -> list[Any]:
        """Return the layers of the vision tower."""
        return structure.vision_layers(model)

    def patch_embedding(self, model: Any) -> Any:
        """Return the module that makes vectors of patches."""
        return structure.patch_embedding(model)

    def projector(self, model: Any) -> Any:
        """Return the last module before the decoder, or None if none was found."""
        return next(iter(structure.projectors(model)[-1:]), None)

    def decoder(self, model: Any) -> Any:
        """Return the language model without its head."""
        return structure.decoder_of(model)

    def decoder_layers(self, model: Any) -> list[Any]:
        """Return the layers of the language model."""
        return structure.decoder_layers(self.decoder(model))

    def layer_parts(self, layer: Any) -> tuple[Any, Any]:
        """Return attention and MLP of a decoder layer; None for a part that was not found."""
        return structure.layer_parts(layer)

    def places_of(self, model: Any) -> tuple[tuple[str, str], ...]:
        """Return where FLOPs of this model's modules are counted."""
        return structure.places(model)

    def encode(self, model: Any, **tensors: Any) -> Any:
        """Run tower and projector, with the model's own function if it has one."""
        return structure.encoder(model)(**tensors)

    def encoder_inputs(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return those tensors of a prompt that the encoding of its image takes."""
        wanted = inspect.signature(structure.encoder(model)).parameters
        return {name: value for name, value in inputs.items() if name in wanted}

    def image_positions(self, model: Any, inputs: Mapping[str, Any]) -> Any | None:
        """Return the positions in time, height and width, if the model computes such."""
        index = getattr(model.base_model, "get_rope_index", None)
        if index is None:
            return None
        wanted = inspect.signature(index).parameters
        return index(**{name: value for name, value in inputs.items() if name in wanted})[0]

    def attending(self, model: Any) -> tuple[Any, bool]:
        """Return the attention of the last layer of the tower, and whether the tower has a class token."""
        from vlmnb.models.generic import image_work

        layers, tower = structure.vision_layers(model), structure.tower(model)
        used = layers[: len(layers) - image_work.unused_layers(model.config)]
        attention = structure.layer_parts(used[-1])[0] if used else None
        if tower is None or attention is None:
            raise ValueError("the attention of the vision tower was not found")
        class_token = any(hasattr(m, name) for m in tower.modules() for name in image_work.CLASS_TOKENS)
        return attention, class_token

    def decoder_shape(self, config: Any) -> Decoder:
        """Return the numbers of the language model, experts counted as far as a token passes them."""
        text, model = structure.text_of(config), self._built(config)
        shape, head = llama_like(config, text, _active_mlp(text)), model.get_output_embeddings()
        tied = head is not None and head.weight is model.get_input_embeddings().weight
        return shape.model_copy(update={"tied": tied, "own_layers": decoder.layers(model)})

    def vision_shape(self, config: Any) -> Vision | None:
        """Return the numbers of the vision tower as far as the configuration names them."""
        vision = getattr(config, "vision_config", None)
        layers, width, heads, mlp = (_first(vision, names) for names in _VISION_NAMES)
        if not (layers and width and heads):
            return None
        merge = _first(vision, ("spatial_merge_size",)) or 1
        layers += _first(vision, ("num_global_layers",))
        return Vision(
            layers=layers, width=width, heads=heads, mlp=mlp or 4 * width, merge=merge, used_layers=layers
        )

    def text_tensors(self, config: Any) -> Iterable[Tensor]:
        """Yield the other weights, found in the model built without memory."""
        yield from decoder.tensors(self._built(config))

    def image_tensors(self, config: Any) -> Iterable[Tensor]:
        """Yield the weights of the tower and of the projector, found in the model built without memory."""
        yield from structure.image_tensors(self._built(config))

    def image_tokens(self, config: Any, image_size: int, height: int | None = None) -> int:
        """Ask the processor how many tokens stand for an image."""
        inputs = self._image(image_size, height)
        text = len(self._processor.text_ids(self._rendered))
        return int(inputs["attention_mask"].sum()) - text

    def seen_side(self, config: Any, image_size: int) -> int:
        """Return the side that the processor brings images to, or the side given."""
        return self.image_side(self._processor, image_size)

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Count tower and projector over the patches that the processor makes of a square image."""
        with named.explained(f"{self.folder}: the formula of its FLOPs"):
            return self.image_flops_of(self._built(config), self._image(image_size), image_size)

    def image_flops_of(self, model: Any, inputs: Mapping[str, Any], image_size: int) -> ImageFlops:
        """Count tower and projector over the patches in a prompt's tensors."""
        from vlmnb.models.generic import image_work

        return image_work.count(model, inputs)

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return what ``get_image_features`` takes of a square image; only its pixels are without content."""
        inputs = self.encoder_inputs(self._built(config), self._image(image_size))
        return {name: v.to("meta") if v.is_floating_point() else v for name, v in inputs.items()}

    @functools.cached_property
    def _keeps_shape(self) -> bool:
        square, wide = (self._image(672, height) for height in (672, 224))
        # Llama 3.2 Vision's tensors have one shape whatever tiles are filled.
        arranged = [one.get("aspect_ratio_ids") for one in (square, wide)]
        return any(square[name].shape != wide[name].shape for name in square) or (
            arranged[0] is not None and not arranged[0].equal(arranged[1])
        )

    @functools.cached_property
    def _processor(self) -> Any:
        with named.explained(f"{self.folder}: its processor"):
            return self.load_processor(self.folder)

    @property
    def _rendered(self) -> str:
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
        return str(self._processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False))

    def _image(self, image_size: int, height: int | None = None) -> Any:
        from PIL import Image

        blank, processor = Image.new("RGB", (image_size, height or image_size)), self._processor
        what = f"{self.folder}: its processor, for an image of {blank.width} x {blank.height} pixels,"
        with named.explained(what):
            return processor(images=[blank], text=[self._rendered], padding=True, return_tensors="pt")

    def _built(self, config: Any) -> Any:
        """Return the model without memory, built once for each configuration."""
        import torch

        asked = config.to_json_string(use_diff=False)
        if self._last is None or self._last[0] != asked:
            with named.explained(f"{self.folder}: its configuration"), torch.device("meta"):
                model = self.model_class(config)._from_config(
                    copy.deepcopy(config), attn_implementation="eager"
                )
            self._last = asked, model
        return self._last[1]


_VISION_NAMES = (
    ("num_hidden_layers", "depth", "num_layers"), ("hidden_size", "embed_dim"),
    ("num_attention_heads", "num_heads"), ("intermediate_size",),
)  # fmt: skip
"""Names that configurations of towers give to layers, width, heads and the width of the MLP."""


def _first(of: Any, names: tuple[str, ...]) -> int:
    found = (getattr(of, name, None) for name in names)
    return next((int(value) for value in found if isinstance(value, int)), 0)


def _active_mlp(text: Any) -> int:
    """Return the width of the MLP that one token passes: of all experts, only those it is sent to."""
    experts = getattr(text, "num_experts_per_tok", None) or getattr(text, "top_k_experts", None)
    width = getattr(text, "moe_intermediate_size", None)
    width = width[0] if isinstance(width, (list, tuple)) else width  # Ernie: of text, of pictures
    if experts and width:
        return int(experts * width + (getattr(text, "shared_expert_intermediate_size", None) or 0))
    found = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return int(max(found) if isinstance(found, (list, tuple)) else found)


def of(entry: ModelEntry, families: Mapping[str, Family]) -> Family:
    """Return the family of a model measured by its name: its type's own if that serves such models."""
    quiet_libraries.hush()
    own = families.get(named.kind(entry))
    return own if own is not None and own.serves_named else _generic(folders.anywhere(entry))


@functools.cache
def _generic(folder: Path) -> Generic:
    return Generic(folder)
