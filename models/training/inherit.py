"""Start SmolVLM's weights from a finished LLaVA: the same decoder, the same words, nearly the same tower."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from models.training.build import CLIP_MEAN, CLIP_STD, load
from models.training.eyes import image_features, tower_features


@torch.no_grad()
def inherit(model: Any, tokenizer: Any, pixels: torch.Tensor) -> None:
    """Copy what both have, and fit the rest by least squares.

    The tower's patch embedding takes over the layer norm that only CLIP has behind it, by its mean effect.
    The projector, which sees four patches at once, is fitted to the mean of what LLaVA's makes of each.

    Args:
        model: A fresh SmolVLM of the same widths.
        tokenizer: Its tokenizer; words that both know keep their embeddings.
        pixels: Tiles of training pictures, ``(batch, 1, 3, side, side)``, as SmolVLM takes them.
    """
    source, other = load("llava-tiny")
    old, new = source.model.eval(), model.model
    new.text_model.layers.load_state_dict(old.language_model.layers.state_dict())
    new.text_model.norm.load_state_dict(old.language_model.norm.state_dict())
    here, there = tokenizer.get_vocab(), other.tokenizer.get_vocab()
    here[other.tokenizer.eos_token] = here[tokenizer.eos_token]
    shared = [(here[word], there[word]) for word in here.keys() & there.keys()]
    mine, theirs = (list(ids) for ids in zip(*shared, strict=True))
    new.text_model.embed_tokens.weight[mine] = old.language_model.embed_tokens.weight[theirs]
    model.lm_head.weight[mine] = source.lm_head.weight[theirs]
    tower, clip = new.vision_model, old.vision_tower
    tower.encoder.layers.load_state_dict(clip.encoder.layers.state_dict())
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    as_clip = ((pixels.flatten(0, 1) + 1) / 2 - mean) / std
    weight, norm = clip.embeddings.patch_embedding.weight, clip.pre_layrnorm
    before = F.conv2d(as_clip, weight, stride=weight.shape[-1]).flatten(2).mT
    before = before + clip.embeddings.position_embedding.weight[1:]
    scale = (norm.weight / before.std(-1).mean())[:, None, None, None]
    embedding = tower.embeddings.patch_embedding
    embedding.weight.copy_(weight * scale * 0.5 / std)
    embedding.bias.copy_((weight * scale * (0.5 - mean) / std).sum((1, 2, 3)) + norm.bias)
    positions = clip.embeddings.position_embedding.weight[1:] * scale.flatten()
    tower.embeddings.position_embedding.weight.copy_(positions - before.mean() * scale.flatten())
    wanted = image_features("llava-tiny", source, as_clip)
    side = int(wanted.shape[1] ** 0.5)
    wanted = F.avg_pool2d(wanted.mT.unflatten(2, (side, side)), 2).flatten(2).mT
    shuffled = new.connector.pixel_shuffle(tower_features(tower, pixels.flatten(0, 1)), 2)
    found = torch.linalg.lstsq(shuffled.flatten(0, 1), wanted.flatten(0, 1)).solution
    new.connector.modality_projection.proj.weight.copy_(found.T)
