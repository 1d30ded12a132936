"""Train one bundled checkpoint from a seed: ``python -m models.training.train llava-tiny``.

Three stages in one run: the decoder learns on text to look up, compare and name; the eye learns to see with
throw-away heads; the whole model then learns to answer, on packed questions with loss on answers only.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from models.training import evaluate
from models.training.build import EYE_LAYERS, NAMES, PATCH, TILE, new_model, new_processor, save
from models.training.eyes import Marker, Reader, seen, use_lean_attention, whiten
from models.training.forward import packed_forward
from models.training.inherit import inherit
from models.training.matching import Tally, TextStream, answer_loss, text_loss
from models.training.optim import Trainer
from models.training.speed import slow_down, speed_up
from models.training.stream import Batch, Prompter, Stream


@dataclass(frozen=True)
class Recipe:
    """Steps and batches of one training run.

    Args:
        text_steps: Steps of the stage that teaches the decoder on text.
        text_rows: Described pictures in its batches.
        eye_steps: Steps of the stage that teaches the eye.
        eye_images: Images in its batches.
        text_images: Images on which the eye is kept up while the decoder learns on text, where the eye is
            part of the decoder; it then learns to see before it learns on text.
        steps: Steps of the last stage.
        images: Images in its batches.
        budget: Question tokens per picture.
        seeing: Weight of the losses of the eye's heads in the last stage, at its start.
        marking: Weight of the loss of the marks of choices there, at its start.
        eye_factor: Learning rate of the eye there, relative to that of the first stage.
        decoder_factor: The same for the decoder.
        seed: Seed of weights and data.
        start: Finished checkpoint that the weights start from, or empty for fresh ones.
    """

    text_steps: int
    text_rows: int
    eye_steps: int
    eye_images: int
    text_images: int
    steps: int
    images: int
    budget: int = 128
    seeing: float = 0.3
    marking: float = 0.5
    eye_factor: float = 0.3
    decoder_factor: float = 0.7
    seed: int = 7
    start: str = ""


RECIPES = {
    "llava-tiny": Recipe(
        text_steps=350, text_rows=64, eye_steps=1100, eye_images=64, text_images=0, steps=1300, images=48
    ),
    "qwen2.5-vl-tiny": Recipe(
        text_steps=500, text_rows=64, eye_steps=2000, eye_images=64, text_images=0, steps=1300, images=48
    ),
    "fuyu-tiny": Recipe(
        text_steps=350, text_rows=64, eye_steps=1300, eye_images=64, text_images=24, steps=1000, images=44,
        eye_factor=0.4,
    ),
    "smolvlm-tiny": Recipe(
        text_steps=0, text_rows=0, eye_steps=1600, eye_images=48, text_images=0, steps=1200, images=32,
        eye_factor=0.5, decoder_factor=0.4, start="llava-tiny",
    ),
}  # fmt: skip


STAGES = ("text_steps", "eye_steps", "steps")


def batches(name: str, processor: Any, seed: int, images: int, budget: int | None) -> Any:
    """An iterator of batches drawn in a process of its own."""
    stream = Stream(name, processor, seed, images, budget)
    return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))


def text_batches(processor: Any, recipe: Recipe) -> Any:
    """An iterator of batches of described pictures."""
    stream = TextStream(processor, recipe.seed * 10 + 3, recipe.text_rows, recipe.budget)
    return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))


def eye_of(name: str, model: Any) -> list[Any]:
    """The modules that see: the vision tower and its projector, or the lowest layers of Fuyu's decoder."""
    core = model.model
    if name == "llava-tiny":
        return [core.vision_tower, core.multi_modal_projector]
    if name == "qwen2.5-vl-tiny":
        return [core.visual]
    if name == "smolvlm-tiny":
        return [core.vision_model, core.connector]
    patch_embed = nn.ModuleDict({"embed": core.vision_embed_tokens})
    return [patch_embed, *core.language_model.layers[:EYE_LAYERS]]


class Heads:
    """The throw-away heads of a run: one that reads the eye, one that marks choices in the decoder."""

    def __init__(self, name: str, model: Any) -> None:
        """Fresh heads."""
        width = model.get_input_embeddings().weight.shape[1]
        merged = 4 if name in ("qwen2.5-vl-tiny", "smolvlm-tiny") else 1
        self.reader = Reader(width, merged, (TILE // PATCH) ** 2 if name == "smolvlm-tiny" else None)
        self.marker = Marker(model, width)


def eye_loss(
    name: str, model: Any, heads: Heads, processor: Any, batch: Batch
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of the heads that read the eye, and how well they do."""
    newline = getattr(processor, "newline_token_id", 0)
    with torch.autocast("cpu", torch.bfloat16):
        return heads.reader.loss(seen(name, model, batch["pixels"], newline), batch)


def teach_eye(name: str, model: Any, heads: Heads, processor: Any, recipe: Recipe, log: Any) -> None:
    """The eye learns to read attributes and letters."""
    loader = batches(name, processor, recipe.seed * 10 + 1, recipe.eye_images, None)
    sample = [next(loader)["pixels"] for _ in range(6)]
    if recipe.start:
        inherit(model, processor.tokenizer, torch.cat([p for p in sample if p.shape[1] == 1]))
    else:
        whiten(name, model, torch.cat([p for p in sample if p.shape[-1] == 64]))
    trainer = Trainer([(module, 1.0) for module in (*eye_of(name, model), heads.reader)], recipe.eye_steps)
    for step in range(recipe.eye_steps):
        batch = next(loader)
        loss, seen_well = eye_loss(name, model, heads, processor, batch)
        loss.backward()
        trainer.step()
        if step % 50 == 49:
            side = batch["pixels"].shape[-1]
            entry = {"stage": "eye", "step": step + 1, "size": side, "loss": loss.item()}
            log(entry | seen_well)


def teach_text(name: str, model: Any, heads: Heads, processor: Any, recipe: Recipe, log: Any) -> None:
    """The decoder learns on questions about pictures described in words."""
    loader = text_batches(processor, recipe)
    modules = [(module, 1.0) for module in (model.get_decoder(), model.lm_head, heads.marker)]
    pictures = None
    if recipe.text_images:
        pictures = batches(name, processor, recipe.seed * 10 + 4, recipe.text_images, None)
        kept = [(module, recipe.eye_factor) for module in (*eye_of(name, model), heads.reader)]
        modules = [*kept, *modules]
    trainer = Trainer(modules, recipe.text_steps)
    prompter, tally = Prompter(processor), Tally()
    for step in range(recipe.text_steps):
        loss = text_loss(name, model, heads.marker, prompter, next(loader), tally)
        loss.backward()
        seen_well: dict[str, float] = {}
        if pictures is not None:
            seeing, seen_well = eye_loss(name, model, heads, processor, next(pictures))
            seeing.backward()
        trainer.step()
        if step % 50 == 49:
            entry = {"stage": "text", "step": step + 1, "loss": loss.item(), "marks": heads.marker.hits}
            log(entry | seen_well | tally.shares())


def teach_answers(
    name: str, model: Any, heads: Heads, processor: Any, recipe: Recipe, log: Any, keep: Path
) -> None:
    """Last stage: loss on answers about pictures and, fading out, those of the throw-away heads."""
    prompter, tally = Prompter(processor), Tally()
    loader = batches(name, processor, recipe.seed * 10 + 2, recipe.images, recipe.budget)
    eye = [(module, recipe.eye_factor) for module in eye_of(name, model)]
    rest = [(heads.reader, recipe.eye_factor), (heads.marker, 1.0), (model, recipe.decoder_factor)]
    trainer = Trainer([*eye, *rest], recipe.steps)
    running = 0.0
    for step in range(recipe.steps):
        batch = next(loader)
        with torch.autocast("cpu", torch.bfloat16):
            logits, places, features = packed_forward(name, model, batch, prompter)
            assert features is not None, "these batches have images"
            seeing, seen_well = heads.reader.loss(features, batch)
            marking = heads.marker.loss(batch["marks"])
        tally.add(logits, places, batch)
        loss = answer_loss(logits, places, batch)
        fading = 1 - step / recipe.steps
        (loss + fading * (recipe.seeing * seeing + recipe.marking * marking)).backward()
        trainer.step()
        running = 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if step % 25 == 24:
            entry = {"stage": "answers", "step": step + 1, "loss": running, "marks": heads.marker.hits}
            log(entry | seen_well | tally.shares())
        if (step + 1) % max(1, recipe.steps // 6) == 0:
            save(name, model, processor, keep)
    model.eval()
    slow_down(name, model)
    model.set_attn_implementation("sdpa")
    save(name, model, processor, keep)
    log({"stage": "answers", "step": recipe.steps, "dev": evaluate.quick(name, model, processor)})


def train(name: str, recipe: Recipe, keep: Path) -> None:
    """Train a checkpoint and leave it, with its log, in a folder."""
    keep.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    started = time.perf_counter()
    history: list[dict[str, Any]] = []

    def log(entry: dict[str, Any]) -> None:
        entry = json.loads(json.dumps(entry), parse_float=lambda digits: round(float(digits), 4))
        entry["seconds"] = round(time.perf_counter() - started, 1)
        history.append(entry)
        print(json.dumps(entry), flush=True)

    processor = new_processor(name)
    model: Any = new_model(name, processor.tokenizer)
    heads = Heads(name, model)
    model.train()
    use_lean_attention(model)
    speed_up(name, model)
    stages = [teach_eye, teach_text] if recipe.text_images else [teach_text, teach_eye]
    for stage in stages if recipe.text_steps else stages[1:]:
        stage(name, model, heads, processor, recipe, log)
    teach_answers(name, model, heads, processor, recipe, log, keep)
    summary = {"model": name, "recipe": asdict(recipe), "seconds": history[-1]["seconds"], "history": history}
    (keep / "training.json").write_text(json.dumps(summary, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--out", type=Path, default=None, help="folder to write to; default: models/NAME")
    for stage in STAGES:
        parser.add_argument(f"--{stage.replace('_', '-')}", type=int, default=None)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    changes = {k: v for k in STAGES if (v := getattr(arguments, k)) is not None}
    recipe = Recipe(**{**asdict(RECIPES[arguments.name]), **changes})
    folder = arguments.out or Path(__file__).resolve().parents[1] / arguments.name
    train(arguments.name, recipe, folder)


if __name__ == "__main__":
    main()
