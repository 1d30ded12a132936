"""The vision side of each architecture in training form, and phase one: teaching it to see.

`image_features` gives what the language model receives for each image token. For Qwen it recomputes the
vision tower densely over equal-sized images (one masked attention instead of one per window), which is the
same function much faster in small batches; a test compares it with the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

from models.training.build import EYE_LAYERS, PATCH
from models.training.pictures import CHARACTERS, SLOTS
from models.training.stream import IGNORE, Batch


def patches(pixels: torch.Tensor) -> torch.Tensor:
    """Images cut into patches in reading order, channel last: ``(batch, patches, PATCH * PATCH * 3)``."""
    batch, channels, height, width = pixels.shape
    grid = pixels.view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, PATCH * PATCH * channels)


def _merge_order(grid: int, merge: int) -> torch.Tensor:
    """Index of the patch in reading order for each place of Qwen's order, in which merged patches adjoin."""
    index = torch.arange(grid * grid).view(grid // merge, merge, grid // merge, merge)
    return index.permute(0, 2, 1, 3).reshape(-1)


def _qwen_layout(grid: int, merge: int, window: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Patch order, ``(row, column)`` of each place, and which pairs of places share a window."""
    order = _merge_order(grid, merge)
    rows, columns = order // grid, order % grid
    tile = window // PATCH
    which = (rows // tile) * grid + columns // tile
    return order, torch.stack([rows, columns], dim=-1), which[:, None] == which[None, :]


def plain_qwen_block(
    block: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """One block of Qwen's vision tower over equal-sized images."""
    batch, cells, _ = hidden.shape
    attention = block.attn
    qkv = attention.qkv(block.norm1(hidden)).view(batch, cells, 3, attention.num_heads, -1)
    query, key, value = qkv.unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    mixed, _ = lean_attention(attention, query, key, value, mask)
    hidden = hidden + attention.proj(mixed.reshape(batch, cells, -1))
    return hidden + block.mlp(block.norm2(hidden))  # type: ignore[no-any-return]


qwen_block = plain_qwen_block
"""What `_qwen_features` calls; `speed` puts a compiled one here while training."""


def _qwen_features(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Qwen's vision tower over equal-sized images: merged tokens in reading order."""
    config = tower.config
    batch, grid = pixels.shape[0], pixels.shape[-1] // PATCH
    order, coordinates, same_window = _qwen_layout(grid, config.spatial_merge_size, config.window_size)
    cut = patches(pixels).view(batch, grid * grid, PATCH, PATCH, 3).permute(0, 1, 4, 2, 3)[:, order]
    cut = cut[:, :, :, None].expand(-1, -1, -1, config.temporal_patch_size, -1, -1)
    hidden = tower.patch_embed(cut.reshape(batch * grid * grid, -1)).view(batch, grid * grid, -1)
    cos, sin = tower.rotary_pos_emb(hidden, coordinates)
    cos, sin = cos.view(grid * grid, -1), sin.view(grid * grid, -1)
    window_mask = torch.zeros(same_window.shape).masked_fill_(~same_window, -1e4)
    for index, block in enumerate(tower.blocks):
        mask = None if index in config.fullatt_block_indexes else window_mask
        hidden = qwen_block(block, hidden, cos, sin, mask)
    merged = tower.merger(hidden.reshape(batch * grid * grid, -1))
    return merged.view(batch, (grid // config.spatial_merge_size) ** 2, -1)  # type: ignore[no-any-return]


def lean_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by plain matrix products that stays in half precision; fastest here on a CPU."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = query.to(value.dtype) @ key.to(value.dtype).transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + attention_mask.to(scores.dtype)
    with torch.autocast("cpu", enabled=False):
        weights = scores.softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), None


def use_lean_attention(model: Any) -> None:
    """Train with `lean_attention`; the saved checkpoint does not know of it."""
    ALL_ATTENTION_FUNCTIONS.register("lean", lean_attention)
    model.set_attn_implementation("lean")


def image_features(name: str, model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings of the image tokens, ``(batch, image tokens, width)``."""
    core = model.model
    if name == "llava-tiny":
        hidden = core.vision_tower(pixels).last_hidden_state[:, 1:]
        return core.multi_modal_projector(hidden)  # type: ignore[no-any-return]
    if name == "qwen2.5-vl-tiny":
        return _qwen_features(core.visual, pixels)
    if name == "smolvlm-tiny":
        return _smolvlm_features(core, pixels)
    return core.vision_embed_tokens(patches(pixels))  # type: ignore[no-any-return]


def _smolvlm_features(core: Any, tiles: torch.Tensor) -> torch.Tensor:
    """SmolVLM's tower and projector over ``(batch, tiles, 3, side, side)``, all pixels of which count."""
    features = core.connector(tower_features(core.vision_model, tiles.flatten(0, 1)))
    return features.reshape(len(tiles), -1, features.shape[-1])  # type: ignore[no-any-return]


def tower_features(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """SmolVLM's tower over tiles without margins: ``(tiles, patches, width)``."""
    everywhere = torch.ones(len(pixels), *(side // PATCH for side in pixels.shape[-2:]), dtype=torch.bool)
    hidden = tower.embeddings(pixel_values=pixels, patch_attention_mask=everywhere)
    hidden = tower.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
    return tower.post_layernorm(hidden)  # type: ignore[no-any-return]


@contextmanager
def _lowest_layers(decoder: Any) -> Iterator[None]:
    """Fuyu's decoder cut to the layers that are its eye."""
    layers, norm = decoder.layers, decoder.final_layernorm
    decoder.layers, decoder.final_layernorm = layers[:EYE_LAYERS], nn.Identity()
    try:
        yield
    finally:
        decoder.layers, decoder.final_layernorm = layers, norm


def seen(name: str, model: Any, pixels: torch.Tensor, newline: int) -> torch.Tensor:
    """What the eye makes of an image, ``(batch, tokens, width)``; Fuyu's is in its decoder."""
    features = image_features(name, model, pixels)
    if name != "fuyu-tiny":
        return features
    batch, count, width = features.shape
    side = int(count**0.5)
    ends = model.get_input_embeddings().weight[newline].to(features.dtype).expand(batch, side, 1, width)
    rows = torch.cat([features.view(batch, side, side, width), ends], dim=2).reshape(batch, -1, width)
    length = rows.shape[1]
    mask = torch.full((length, length), -1e4).triu(1).expand(batch, 1, length, length)
    decoder = model.model.language_model
    with _lowest_layers(decoder):
        hidden = decoder(inputs_embeds=rows, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden.view(batch, side, side + 1, width)[:, :, :side].reshape(batch, count, width)  # type: ignore[no-any-return]


class Marker(nn.Module):
    """Throw-away heads on a middle layer: is this choice the right one, is the thing asked about there?

    They teach the decoder to compare where the words stand, which leaves only the naming of a letter, or
    turning the answer round under a negation, to the layers above; without them, multiple choice and yes/no
    questions stay at chance for very long.
    """

    def __init__(self, model: Any, width: int) -> None:
        """Listen to the last layer but two."""
        super().__init__()
        self.mark_head = nn.Linear(width, 2)
        self.hidden: torch.Tensor | None = None
        self.hook = model.get_decoder().layers[-3].register_forward_hook(self._keep)
        self.hits = [0.5, 0.5]

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.hidden = output[0] if isinstance(output, tuple) else output

    def loss(self, marks: torch.Tensor) -> torch.Tensor:
        """Binary cross entropy over the marked places of the batch that just went through the decoder."""
        assert self.hidden is not None
        marked = marks != IGNORE
        which, truth = marks[marked] // 2, marks[marked] % 2
        logits = self.mark_head(self.hidden[marked]).float().gather(1, which[:, None])[:, 0]
        right = ((logits > 0) == (truth > 0)).float()
        for kind in (0, 1):
            if (which == kind).any():
                self.hits[kind] = 0.9 * self.hits[kind] + 0.1 * right[which == kind].mean().item()
        return F.binary_cross_entropy_with_logits(logits, truth.float())


class Reader(nn.Module):
    """Throw-away heads: one attention query per attribute, and the character in each cell."""

    def __init__(self, width: int, cells_per_token: int, cells_per_tile: int | None = None) -> None:
        """Make the heads.

        Args:
            width: Width of the eye's tokens.
            cells_per_token: Patches that one token stands for.
            cells_per_tile: Patches of a tile, or none if pictures are not cut.
        """
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(SLOTS), width) * 0.1)
        self.norm = nn.LayerNorm(width)
        self.key_head = nn.Linear(width, width)
        self.value_head = nn.Linear(width, width)
        self.slot_heads = nn.ModuleList([nn.Linear(width, classes) for classes in SLOTS.values()])
        self.cells_per_token, self.cells_per_tile = cells_per_token, cells_per_tile
        self.cell_head = nn.Linear(width, cells_per_token * (len(CHARACTERS) + 1 + 6))

    def loss(self, tokens: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum of both losses and what to log."""
        tokens = self.norm(tokens)
        width = tokens.shape[-1]
        scores = self.queries @ self.key_head(tokens).transpose(1, 2) * width**-0.5
        read = scores.float().softmax(-1).to(tokens.dtype) @ self.value_head(tokens)
        total, right, asked = tokens.new_zeros(()), 0, 0
        for i, (slot, head) in enumerate(zip(SLOTS, self.slot_heads, strict=True)):
            target = batch["slots"][:, i]
            known = target != IGNORE
            if known.any():
                logits = head(read[known, i]).float()
                total = total + F.cross_entropy(logits, target[known], reduction="sum")
                if slot.startswith("character"):
                    right += int((logits.argmax(-1) == target[known]).sum())
                    asked += int(known.sum())
        slot_loss = total / max(1, int((batch["slots"] != IGNORE).sum()))
        cells, places, logits = self._cells(tokens, batch)
        named = cells != len(CHARACTERS)
        split = len(CHARACTERS) + 1
        weight = torch.ones(split)
        weight[-1] = 0.15
        cell_loss = F.cross_entropy(logits[..., :split].flatten(0, 1), cells.flatten(), weight=weight)
        place_loss = (
            F.cross_entropy(logits[..., split:][named], places[named]) if named.any() else cell_loss * 0
        )
        hits = float((logits[..., :split].argmax(-1) == cells)[named].float().mean()) if named.any() else 0.0
        log = {"slots": float(slot_loss.detach()), "cell_hits": hits, "characters": right / max(1, asked)}
        return slot_loss + cell_loss + 0.5 * place_loss, log

    def _cells(self, tokens: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = self.cell_head(tokens).float()
        count = logits.shape[1]
        logits = logits.view(logits.shape[0], count * self.cells_per_token, -1)
        cells, places = batch["cells"], batch["places"]
        if self.cells_per_token > 1:
            tile = self.cells_per_tile or cells.shape[1]
            order = _merge_order(int(tile**0.5), int(self.cells_per_token**0.5))
            cells, places = (x.unflatten(1, (-1, tile))[..., order].flatten(1) for x in (cells, places))
        return cells, places, logits


@torch.no_grad()
def whiten(name: str, model: Any, pixels: torch.Tensor) -> None:
    """Set the first projection to whitening filters of the training patches, signs doubled."""
    if name == "llava-tiny":
        weight = model.model.vision_tower.embeddings.patch_embedding.weight
    elif name == "qwen2.5-vl-tiny":
        weight = model.model.visual.patch_embed.proj.weight
    else:
        weight = model.model.vision_embed_tokens.weight
    cut = patches(pixels).flatten(0, 1)
    cut = cut[torch.randperm(len(cut))[:20_000]]
    values, vectors = torch.linalg.eigh(torch.cov(cut.T) + 1e-3 * torch.eye(cut.shape[1]))
    half = weight.shape[0] // 2
    filters = vectors.T.flip(0)[:half] / values.flip(0)[:half, None].sqrt()
    filters = torch.cat([filters, -filters]) * 0.5
    if name != "fuyu-tiny":
        filters = filters.view(-1, PATCH, PATCH, 3).permute(0, 3, 1, 2)
    if name == "qwen2.5-vl-tiny":
        times = weight.shape[2]
        filters = filters[:, :, None].expand(-1, -1, times, -1, -1) / times
    weight.copy_(filters)
