"""Train one bundled checkpoint from a seed: ``python -m models.training.train llava-tiny``.

Phase one teaches the eye to see with throw-away heads; phase two trains the whole model, its language side
fresh, on packed questions with loss on answers only.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from models.training import evaluate
from models.training.build import NAMES, new_model, new_processor, save
from models.training.eyes import Marker, Reader, image_features, seen, use_lean_attention, whiten
from models.training.optim import Trainer
from models.training.stream import IGNORE, Batch, Prompter, Stream


@dataclass(frozen=True)
class Recipe:
    """Steps and batches of one training run."""

    eye_steps: int
    eye_images: int
    steps: int
    images: int
    budget: int
    seeing: float = 0.3
    marking: float = 0.5
    eye_factor: float = 0.3
    seed: int = 7


RECIPES = {
    "llava-tiny": Recipe(eye_steps=1300, eye_images=96, steps=450, images=64, budget=120),
    "qwen2.5-vl-tiny": Recipe(eye_steps=1000, eye_images=96, steps=750, images=64, budget=120),
    "fuyu-tiny": Recipe(eye_steps=800, eye_images=64, steps=700, images=56, budget=120, eye_factor=0.7),
}


def batches(name: str, processor: Any, seed: int, images: int, budget: int | None) -> Any:
    """An iterator of batches drawn in a process of its own."""
    stream = Stream(name, processor, seed, images, budget)
    return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))


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
    if name != "qwen2.5-vl-tiny":
        return offset + (segment > 0) * len(prefix)
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
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits at the places that have a label, which places those are, and what the eye saw of the image."""
    ids = batch["ids"]
    image_id = prompter.processor.image_token_id
    prefix = prompter.prefix(batch["pixels"].shape[-1])
    embeddings = model.get_input_embeddings()(ids)
    features = image_features(name, model, batch["pixels"]).to(embeddings.dtype)
    embeddings = embeddings.masked_scatter((ids == image_id)[..., None], features)
    mask = attention_mask(batch["segment"])
    if torch.is_autocast_enabled("cpu"):
        mask = mask.bfloat16()
    hidden = model.model.language_model(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions(name, batch, prefix, image_id),
        use_cache=False,
    ).last_hidden_state
    places = batch["labels"] != IGNORE
    if name == "fuyu-tiny":
        features = hidden[ids == image_id].view(features.shape)
    return model.lm_head(hidden[places]).float(), places, features


def eye_of(name: str, model: Any) -> list[Any]:
    """The modules that see: the vision tower and its projector, or Fuyu's decoder."""
    core = model.model
    if name == "llava-tiny":
        return [core.vision_tower, core.multi_modal_projector]
    return [core.visual] if name == "qwen2.5-vl-tiny" else [core]


def new_reader(name: str, model: Any) -> Reader:
    """Fresh heads for phase one."""
    return Reader(model.get_input_embeddings().weight.shape[1], 4 if name == "qwen2.5-vl-tiny" else 1)


def teach_eye(name: str, model: Any, processor: Any, recipe: Recipe, log: Any) -> Reader:
    """Phase one; returns the throw-away heads, which phase two goes on using for a while."""
    loader = batches(name, processor, recipe.seed * 10 + 1, recipe.eye_images, None)
    sample = [next(loader)["pixels"] for _ in range(6)]
    whiten(name, model, torch.cat([p for p in sample if p.shape[-1] == 64]))
    reader = new_reader(name, model)
    trainer = Trainer([*((module, 1.0) for module in eye_of(name, model)), (reader, 1.0)], recipe.eye_steps)
    newline = getattr(processor, "newline_token_id", 0)
    for step in range(recipe.eye_steps):
        batch = next(loader)
        with torch.autocast("cpu", torch.bfloat16):
            loss, seen_well = reader.loss(seen(name, model, batch["pixels"], newline), batch)
        loss.backward()
        trainer.step()
        if step % 50 == 49:
            side = batch["pixels"].shape[-1]
            log({"phase": 1, "step": step + 1, "size": side, "loss": loss.item(), **seen_well})
    return reader


def teach_answers(
    name: str, model: Any, reader: Reader, processor: Any, recipe: Recipe, log: Any, keep: Path
) -> None:
    """Phase two: loss on answers, and, fading out, those of the throw-away heads."""
    prompter = Prompter(processor)
    marker = Marker(model, model.get_input_embeddings().weight.shape[1])
    loader = batches(name, processor, recipe.seed * 10 + 2, recipe.images, recipe.budget)
    eye = [(module, recipe.eye_factor) for module in eye_of(name, model)]
    trainer = Trainer([*eye, (reader, recipe.eye_factor), (marker, 1.0), (model, 1.0)], recipe.steps)
    running = 0.0
    for step in range(recipe.steps):
        batch = next(loader)
        with torch.autocast("cpu", torch.bfloat16):
            logits, places, features = packed_forward(name, model, batch, prompter)
            seeing, seen_well = reader.loss(features, batch)
            marking = marker.loss(batch["marks"])
        weights = batch["weights"][places]
        losses = F.cross_entropy(logits, batch["labels"][places], reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        fading = 1 - step / recipe.steps
        (loss + fading * (recipe.seeing * seeing + recipe.marking * marking)).backward()
        trainer.step()
        running = 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if step % 50 == 49:
            heads = {"marking": marking.item(), **seen_well}
            log({"phase": 2, "step": step + 1, "tokens": batch["ids"].shape[1], "loss": running, **heads})
        if step % 225 == 224 or step + 1 == recipe.steps:
            model.eval()
            model.set_attn_implementation("sdpa")
            log({"phase": 2, "step": step + 1, "dev": evaluate.quick(name, model, processor)})
            save(name, model, processor, keep)
            model.train()
            use_lean_attention(model)


def train(name: str, recipe: Recipe, keep: Path, resume: bool = False) -> None:
    """Train a checkpoint and leave it, with its log, in a folder; ``resume`` starts from its phase one."""
    keep.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    started = time.perf_counter()
    history: list[dict[str, Any]] = []

    def log(entry: dict[str, Any]) -> None:
        entry["seconds"] = round(time.perf_counter() - started, 1)
        history.append(entry)
        print(
            json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}), flush=True
        )

    processor = new_processor(name)
    model: Any = new_model(name, processor.tokenizer)
    model.train()
    use_lean_attention(model)
    stored = keep / "eye.pt"
    if resume:
        state = torch.load(stored)
        model.load_state_dict(state["model"])
        reader = new_reader(name, model)
        reader.load_state_dict(state["reader"])
    else:
        reader = teach_eye(name, model, processor, recipe, log)
        torch.save({"model": model.state_dict(), "reader": reader.state_dict()}, stored)
    teach_answers(name, model, reader, processor, recipe, log, keep)
    summary = {"model": name, "recipe": asdict(recipe), "seconds": history[-1]["seconds"], "history": history}
    (keep / "training.json").write_text(json.dumps(summary, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--out", type=Path, default=None, help="folder to write to; default: models/NAME")
    parser.add_argument("--eye-steps", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="skip phase one: take it from OUT/eye.pt")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    changes = {k: v for k in ("eye_steps", "steps") if (v := getattr(arguments, k)) is not None}
    recipe = Recipe(**{**asdict(RECIPES[arguments.name]), **changes})
    folder = arguments.out or Path(__file__).resolve().parents[1] / arguments.name
    train(arguments.name, recipe, folder, arguments.resume)


if __name__ == "__main__":
    main()
