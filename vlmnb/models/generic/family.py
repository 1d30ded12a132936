"""The family of every model that has no file of its own: configuration and modules say what it is."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlmnb.errors import UserError
from vlmnb.models.architecture import Decoder, ImageFlops, Tensor, key_values
from vlmnb.models.entry import NAMED_FAMILY
from vlmnb.models.family import Family, chat_template
from vlmnb.models.generic import structure


class Generic(Family):
    """Any image-text-to-text model of transformers."""

    name = NAMED_FAMILY
    entries = ()
    class_name = "AutoModelForImageTextToText"
    processor_class = ("transformers", "AutoProcessor")
    stand_in = ""
    vision_names = ()
    projector_name = ""

    def model_class(self, config: Any = None) -> Any:
        """Return the class of a configuration, or without one the class that picks the model's own."""
        from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoModelForImageTextToText

        if config is None:
            return AutoModelForImageTextToText
        return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]

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

    def image_side(self, processor: Any, image_size: int) -> int:
        """Return the one side that the processor brings every image to, or without one the side given."""
        size = getattr(processor.image_processor, "size", None) or {}
        height = size.get("height") if isinstance(size, Mapping) else getattr(size, "height", None)
        return int(height) if height else image_size

    def source_image(self, image: Any, image_size: int) -> Any:
        """Return the image as a square of the side that was asked for."""
        from PIL import Image

        return image.resize((image_size, image_size), Image.Resampling.BICUBIC)

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
        return model.get_decoder()

    def decoder_layers(self, model: Any) -> list[Any]:
        """Return the layers of the language model."""
        return structure.decoder_layers(self.decoder(model))

    def layer_parts(self, layer: Any) -> tuple[Any, Any]:
        """Return attention and MLP of a decoder layer; None for a part that was not found."""
        return structure.layer_parts(layer)

    def places_of(self, model: Any) -> tuple[tuple[str, str], ...]:
        """Return where FLOPs of this model's modules are counted."""
        return structure.places(model)

    def decoder_shape(self, config: Any) -> Decoder:
        """Return the numbers of the language model, experts counted as far as a token passes them."""
        text = config.get_text_config()
        kv_heads, head_size = key_values(text)
        return Decoder(
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            heads=text.num_attention_heads,
            kv_heads=kv_heads,
            head_size=head_size,
            mlp=_active_mlp(text),
            vocabulary=text.vocab_size,
            context=getattr(text, "max_position_embeddings", 0) or 0,
            tied=bool(getattr(config, "tie_word_embeddings", False)),
            gated=not hasattr(text, "ffn_config"),
        )

    def image_tensors(self, config: Any) -> Iterable[Tensor]:
        """Refuse: the roles of a tower's weights are known for families of their own."""
        raise UserError(_unknown("the weights of its vision tower by role"))

    def image_tokens(self, config: Any, image_size: int) -> int:
        """Refuse: the processor alone knows; ``vlmnb models NAME`` asks it."""
        raise UserError(_unknown("its image tokens without a processor"))

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Refuse: without the tensors of an image its patches are not known."""
        raise UserError(_unknown("the FLOPs of an image without its tensors"))

    def image_flops_of(self, model: Any, inputs: Mapping[str, Any], image_size: int) -> ImageFlops:
        """Count tower and projector over the patches that the processor made."""
        from vlmnb.models.generic import image_work

        return image_work.count(model, inputs)

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Refuse: the shapes of an image's tensors are its processor's business."""
        raise UserError(_unknown("the shapes of an image's tensors"))


def _active_mlp(text: Any) -> int:
    """Return the width of the MLP that one token passes: of all experts, only those it is sent to."""
    experts = getattr(text, "num_experts_per_tok", None) or getattr(text, "top_k_experts", None)
    width = getattr(text, "moe_intermediate_size", None)
    if experts and width:
        return int(experts * width + (getattr(text, "shared_expert_intermediate_size", None) or 0))
    found = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return int(max(found) if isinstance(found, (list, tuple)) else found)


def _unknown(what: str) -> str:
    return f"of a model without a family of its own, {what} cannot be told"


@functools.cache
def family() -> Generic:
    """Return the family."""
    return Generic()
