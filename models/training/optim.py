"""Muon for the matrices, AdamW for everything else, with a warm-up and cosine schedule."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import nn

MUON_LR = 0.02
ADAM_LR = 3e-3
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest (roughly) orthogonal matrices of a stack, by a quintic Newton-Schulz iteration."""
    a, b, c = _NEWTON_SCHULZ
    x: torch.Tensor = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum whose update is orthogonalized; matrices of one shape are treated as one stack."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01
    ):
        """Group the matrices by shape.

        Args:
            parameters: Two-dimensional weights.
            lr: Step length, multiplied by ``sqrt(max(1, rows / columns))`` for each matrix.
            momentum: Nesterov momentum.
            decay: Decoupled weight decay.
        """
        self.lr, self.momentum, self.decay = lr, momentum, decay
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            self.groups[tuple(parameter.shape)].append(parameter)
        self.velocity = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update at ``lr * factor``."""
        for shape, group in self.groups.items():
            gradient = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in group])
            velocity = self.velocity[shape].mul_(self.momentum).add_(gradient)
            update = orthogonalized(gradient.add(velocity, alpha=self.momentum))
            lr = self.lr * factor
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - lr * self.decay).add_(change, alpha=-lr * scale)


class Trainer:
    """Both optimizers and the schedule over some modules."""

    def __init__(self, modules: Sequence[tuple[nn.Module, float]], steps: int) -> None:
        """Divide the parameters: matrices to Muon; embeddings, heads, convolutions and vectors to AdamW.

        Args:
            modules: Modules, each with the factor of its learning rate; where two hold the same parameter,
                the first counts.
            steps: Length of the schedule.
        """
        matrices: dict[float, list[nn.Parameter]] = defaultdict(list)
        others: dict[float, list[nn.Parameter]] = defaultdict(list)
        seen: set[int] = set()
        for module, scale in modules:
            for name, parameter in module.named_parameters():
                if id(parameter) in seen or not parameter.requires_grad:
                    continue
                seen.add(id(parameter))
                plain = parameter.ndim != 2 or any(key in name for key in ("embed", "head", "queries"))
                (others if plain else matrices)[scale].append(parameter)
        self.parameters = [p for group in (*matrices.values(), *others.values()) for p in group]
        self.muons = [Muon(group, MUON_LR * scale) for scale, group in matrices.items()]
        groups = [{"params": group, "scale": scale} for scale, group in others.items()]
        self.adam = torch.optim.AdamW(groups, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.05)
        self.steps, self.done = steps, 0

    def factor(self) -> float:
        """The schedule: a linear warm-up over 6 % of the steps (at most 100), then a cosine to 2 %."""
        warm = min(100, max(1, int(0.06 * self.steps)))
        if self.done < warm:
            return (self.done + 1) / warm
        progress = (self.done - warm) / max(1, self.steps - warm)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def step(self) -> float:
        """Clip, update both, clear gradients; returns the gradient norm."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, 1.0))
        factor = self.factor()
        for group in self.adam.param_groups:
            group["lr"] = ADAM_LR * group["scale"] * factor
        for muon in self.muons:
            muon.step(factor)
        self.adam.step()
        for parameter in self.parameters:
            parameter.grad = None
        self.done += 1
        return norm
