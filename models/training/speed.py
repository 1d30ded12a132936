"""Compiling the layers for training: about a third off a step; plain again for generation and saving."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from models.training import eyes


def _layers(name: str, model: Any) -> list[Any]:
    layers = list(model.get_decoder().layers)
    if name == "llava-tiny":
        return list(itertools.chain(layers, model.model.vision_tower.encoder.layers))
    if name == "smolvlm-tiny":
        return list(itertools.chain(layers, model.model.vision_model.encoder.layers))
    return layers


def speed_up(name: str, model: Any) -> None:
    """Train with compiled layers; wants a C++ compiler."""
    for layer in _layers(name, model):
        layer.forward = torch.compile(layer.forward, dynamic=True)
    eyes.qwen_block = torch.compile(eyes.plain_qwen_block, dynamic=True)


def slow_down(name: str, model: Any) -> None:
    """The layers as the library has them."""
    for layer in _layers(name, model):
        layer.__dict__.pop("forward", None)
    eyes.qwen_block = eyes.plain_qwen_block
