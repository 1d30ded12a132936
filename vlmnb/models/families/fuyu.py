"""Fuyu: image patches go through one linear layer straight into a Persimmon decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vlmnb.models.architecture import Decoder, ImageFlops, Tensor, linear
from vlmnb.models.entry import BUNDLED_DEFAULTS, REPORTED_DEFAULTS, ModelEntry
from vlmnb.models.family import PLACES, Family

NEWLINE_ID = 71019
"""``|NEWLINE|`` in the vocabulary of adept/fuyu-8b; its configuration does not name it."""


class Fuyu(Family):
    """Fuyu."""

    name = "fuyu"
    rank = 2
    entries = (
        ModelEntry(
            name="fuyu-8b",
            family="fuyu",
            title="Fuyu 8B",
            summary=(
                "No vision tower: patches of 30 pixels go through one linear layer into a Persimmon decoder."
            ),
            source="adept/fuyu-8b",
            revision="f41defefdb89be0d28cac19d94ce216e37cb6be5",
            **REPORTED_DEFAULTS,
        ),
        ModelEntry(
            name="fuyu-tiny",
            family="fuyu",
            title="Fuyu tiny",
            summary=(
                "Fuyu's architecture at two million parameters: no vision tower, patches enter the decoder."
            ),
            **BUNDLED_DEFAULTS,
        ),
    )
    class_name = "FuyuForCausalLM"
    processor_class = ("vlmnb.models.processors.fuyu", "ImageOnlyFuyuProcessor")
    processor_note = (
        "transformers' own `FuyuProcessor` fails on batches without torchvision and knows no chat template; "
        "the class above is the project's."
    )
    serves_named = True
    stand_in = "fuyu-tiny"
    defaults = {"": {"num_channels": 3}}  # of FuyuConfig
    places = ((r"vision_embed_tokens", "projector"), *PLACES)
    vision_names = ("model.vision_embed_tokens",)
    projector_name = "model.vision_embed_tokens"
    line_ends = True
    attention_obstacle = "Fuyu has no vision tower, so its image tokens get no attention before the decoder"
    gguf_obstacle = "llama.cpp has no code for its images: the GGUF rows are arithmetic, nothing runs them"

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the ids of the image tokens and of the end of the text."""
        return {
            "|SPEAKER|": config.image_token_id,
            "|ENDOFTEXT|": config.text_config.eos_token_id,
            "|NEWLINE|": NEWLINE_ID,
        }

    def match(self, processor: Any, config: Any) -> None:
        """Cut patches of the model's size."""
        patch = int(config.patch_size)
        processor.image_processor.patch_size = {"height": patch, "width": patch}

    def adapt(self, processor: Any, config: Any) -> None:
        """Set the checkpoint's prompt."""
        from vlmnb.models.processors.fuyu import LINE_TEMPLATE

        processor.chat_template = LINE_TEMPLATE

    def image_grid(self, config: Any, image_size: int) -> tuple[int, int]:
        """Return rows and columns of patches."""
        return _rows(config, image_size), _rows(config, image_size)

    def image_features(self, model: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the embedded patches."""
        made = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
        return made, made.last_hidden_state

    def with_features(self, made: Any, features: Any) -> Any:
        """Put other embedded patches in place."""
        made.last_hidden_state = features
        return made

    def decoder_shape(self, config: Any) -> Decoder:
        """Return the numbers of Persimmon: no gate, biases everywhere, normalized queries and keys."""
        own = {"gated": False, "fused_qkv": True, "qkv_bias": True, "bias": True, "qk_norm": True}
        return super().decoder_shape(config).model_copy(update=own)

    def image_tensors(self, config: Any) -> Iterator[Tensor]:
        """Yield the weights of the one linear layer."""
        yield from linear("projector", "patches", config.text_config.hidden_size, _patch_values(config))

    def image_tokens(self, config: Any, image_size: int, height: int | None = None) -> int:
        """Return one token for each patch, edges padded, and a line-end token for each row of patches."""
        return _rows(config, height or image_size) * (_rows(config, image_size) + 1)

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Count the linear layer over the patches; line ends are tokens of the decoder alone."""
        macs = _rows(config, image_size) ** 2 * _patch_values(config) * config.text_config.hidden_size
        return ImageFlops(projector=2 * macs)

    def image_flops_of(self, model: Any, inputs: Mapping[str, Any], image_size: int) -> ImageFlops:
        """Count the linear layer over all patches in the tensors."""
        patches = inputs["pixel_values"].flatten(0, -2).shape[0]
        return ImageFlops(
            projector=2 * patches * _patch_values(model.config) * model.config.text_config.hidden_size
        )

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's patches without content."""
        import torch

        patches = _rows(config, image_size) ** 2
        return {"pixel_values": torch.empty(1, patches, _patch_values(config), device="meta")}


def _rows(config: Any, image_size: int) -> int:
    return -(-image_size // int(config.patch_size))


def _patch_values(config: Any) -> int:
    return int(config.patch_size**2 * config.num_channels)


FAMILY = Fuyu()
