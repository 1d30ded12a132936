"""Between the phases: teaching the fresh decoder, on text alone, to match and to name.

Two skills take a small decoder very long to find while it also learns to look: naming the letter of the
choice that says a given thing, and telling whether two things are the same, negations included. On text
alone, with the content stated in the prompt and the right choice marked, both come within a few hundred
cheap steps.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch.nn import functional as F

from models.training.drawing import COLORS, SHAPES
from models.training.eyes import Marker
from models.training.optim import Trainer
from models.training.pictures import EASY_COLORS, EASY_SHAPES
from models.training.questions import Choice, Task, short
from models.training.stream import IGNORE, Batch, Prompter
from models.training.tokenization import EXTRA_WORDS

ROWS = 96
PHRASES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
WORDS = (*EXTRA_WORDS.split(), *COLORS, *SHAPES, *EASY_COLORS, *EASY_SHAPES, "2", "3", "4", "5")
ASKS = (
    ("is there a {} in the image?", True),
    ("is there a {}?", True),
    ("does the image contain a {}?", True),
    ("is a {} present?", True),
    ("is there not a {} in the image?", False),
    ("is there not a {}?", False),
    ("does the image not contain a {}?", False),
    ("is no {} present?", False),
)


def naming(rng: random.Random) -> Task:
    """Which letter a choice stands behind, over a wide vocabulary."""
    pool = rng.choice((sorted(set(WORDS)), PHRASES, tuple(COLORS)))
    choices = rng.sample(pool, rng.choice((2, 3, 3, 4)))
    answer = rng.randrange(len(choices))
    asked = choices[answer]
    question = rng.choice((f"Which option says {asked}?", f"The answer is {asked}. Which choice is that?"))
    return Choice(question, tuple(choices), answer, "", "letters").task("binding")


def same(rng: random.Random) -> Task:
    """Whether a stated shape is the one asked about."""
    color, shape = rng.choice(EASY_COLORS), rng.choice(EASY_SHAPES)
    template, positive = rng.choice(ASKS)
    about_color = rng.random() < 0.6
    truth, others = (color, EASY_COLORS) if about_color else (shape, EASY_SHAPES)
    asked = truth if rng.random() < 0.5 else rng.choice([other for other in others if other != truth])
    question = template.format(f"{asked} shape" if about_color else asked)
    answer = "yes" if (asked == truth) == positive else "no"
    return short("same", f"The image shows a {color} {shape}. {question}", answer)


def text_batch(prompter: Prompter, rng: random.Random) -> Batch:
    """Left-padded text prompts with the first token of each answer and the marks of choices."""
    rows = []
    for i in range(ROWS):
        task = naming(rng) if i % 3 else same(rng)
        ids = prompter.question(task.text)
        marks = [IGNORE] * len(ids)
        for end, right in task.marks:
            marks[len(prompter.encode(prompter.before + task.text[:end])) - 1] = int(right)
        rows.append((ids, marks, prompter.answer(task.answer)[0]))
    longest = max(len(ids) for ids, _, _ in rows)
    pad = prompter.tokenizer.pad_token_id
    return {
        "ids": torch.tensor([[pad] * (longest - len(ids)) + ids for ids, _, _ in rows]),
        "marks": torch.tensor([[IGNORE] * (longest - len(marks)) + marks for _, marks, _ in rows]),
        "real": torch.tensor([[False] * (longest - len(ids)) + [True] * len(ids) for ids, _, _ in rows]),
        "answers": torch.tensor([answer for _, _, answer in rows]),
    }


def teach_matching(model: Any, marker: Marker, prompter: Prompter, steps: int, seed: int, log: Any) -> None:
    """Train the decoder on text alone, at a different place of the sequence in each step."""
    rng = random.Random(seed)
    core = model.model.language_model
    trainer = Trainer([(core, 1.0), (model.lm_head, 1.0), (marker, 1.0)], steps)
    for step in range(steps):
        batch = text_batch(prompter, rng)
        length = batch["ids"].shape[1]
        allowed = torch.ones(length, length, dtype=torch.bool).tril() & batch["real"][:, None, :]
        mask = torch.zeros(allowed.shape).masked_fill_(~allowed, -1e4)[:, None].bfloat16()
        places = (torch.arange(length) + rng.randrange(96)).expand(ROWS, -1)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = model.get_input_embeddings()(batch["ids"])
            hidden = core(
                inputs_embeds=embeddings, attention_mask=mask, position_ids=places, use_cache=False
            ).last_hidden_state[:, -1]
            logits = model.lm_head(hidden).float()
            marking = marker.loss(batch["marks"])
        loss = F.cross_entropy(logits, batch["answers"])
        (loss + marking).backward()
        trainer.step()
        if step % 50 == 49:
            right = (logits.argmax(-1) == batch["answers"]).float()
            named = right[[i for i in range(ROWS) if i % 3]].mean().item()
            log({"phase": "matching", "step": step + 1, "naming": named, "same": right[::3].mean().item()})
