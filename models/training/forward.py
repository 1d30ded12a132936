"""One pass of a model over packed questions: masks, positions, and the logits where an answer stands."""

from __future__ import annotations

from typing import Any

import torch

from models.training.build import EYE_LAYERS
from models.training.eyes import image_features
from models.training.stream import IGNORE, Batch, Prompter


def attention_mask(segment: torch.Tensor) -> torch.Tensor:
    """Which token sees which: causal, within the own question and the shared prefix; ``(batch, 1, n, n)``."""
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    key, query = segment[:, None, :], segment[:, :, None]
    allowed = causal & ((key == 0) | (key == query))
    return torch.zeros(allowed.shape).masked_fill_(~allowed, -1e4)[:, None]


def positions(name: str, batch: Batch, prefix: list[int], image_id: int) -> torch.Tensor:
    """Position ids; every question continues where the prefix ends (for Qwen, in three dimensions)."""
    segment, offset = batch["segment"], batch["offset"]
    if name != "qwen2.5-vl-tiny" or image_id not in prefix:
        place = offset + (segment > 0) * batch["start"][:, None]
        return place if name != "qwen2.5-vl-tiny" else place[None].expand(3, -1, -1)
    first, count = prefix.index(image_id), prefix.count(image_id)
    side = int(count**0.5)
    cell = torch.arange(count)
    axes = torch.stack([torch.zeros_like(cell), cell // side, cell % side]) + first
    after = first + side + torch.arange(len(prefix) - first - count)
    start = torch.cat([torch.arange(first).expand(3, -1), axes, after.expand(3, -1)], dim=1)
    rest = offset + first + side + len(after)
    result = rest[None].expand(3, -1, -1).clone()
    result[:, :, : len(prefix)] = start[:, None]
    return result


def packed_forward(
    name: str, model: Any, batch: Batch, prompter: Prompter
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Logits at the places that have a label, which places those are, and what the eye saw of the image.

    A batch without ``pixels`` has a description in words in place of the image; nothing is seen then.
    """
    ids = batch["ids"]
    image_id = prompter.processor.image_token_id
    embeddings = model.get_input_embeddings()(ids)
    features = None
    prefix: list[int] = []
    if "pixels" in batch:
        prefix = prompter.prefix(batch["pixels"].shape[-1])
        features = image_features(name, model, batch["pixels"]).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter((ids == image_id)[..., None], features)
    mask = attention_mask(batch["segment"])
    if torch.is_autocast_enabled("cpu"):
        mask = mask.bfloat16()
    decoder, low = model.get_decoder(), []
    hook = None
    if features is not None and name == "fuyu-tiny":
        hook = decoder.layers[EYE_LAYERS - 1].register_forward_hook(
            lambda layer, inputs, output: low.append(output[0] if isinstance(output, tuple) else output)
        )
    hidden = decoder(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions(name, batch, prefix, image_id),
        use_cache=False,
    ).last_hidden_state
    places = batch["labels"] != IGNORE
    if features is not None and hook is not None:
        hook.remove()
        features = low[0][ids == image_id].view(features.shape)
    return model.lm_head(hidden[places]).float(), places, features
