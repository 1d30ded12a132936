"""From a question to a prompt: which chat template, one begin-of-text token, marks in a question as text.

A tokenizer takes every special token in a text for the mark itself, and a processor puts image tokens
wherever the text says ``<image>``. A question may name such a mark, so each mark in a question is broken in
two by a token of our own, which is taken out again before the model sees it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmnb.files import hashing

BREAK = "\ufdd0"
"""A code point that no text has: Unicode keeps it for uses within a program."""

DAY = "{% macro strftime_now(format) %}2024-07-26{% endmacro %}"
"""Before a template that asks for the date: the prompt of one key must not change from day to day."""

_MARK = re.compile(r"[<\[|].+[>\]|]", re.DOTALL)
_TEMPLATE_FILES = (
    "chat_template.json", "processor_config.json", "chat_template.jinja",
    "additional_chat_templates/default.jinja", "tokenizer_config.json",
)  # fmt: skip


def render(processor: Any, text: str, template: str | None = None, images: int = 1) -> str:
    """Return the prompt of a question about images, by the processor's template or another.

    A begin-of-text token that both template and tokenizer put is left to the tokenizer.
    """
    content = [{"type": "image"}] * images + [{"type": "text", "text": _broken(processor, text)}]
    used = template or processor.chat_template
    if isinstance(used, str) and "strftime_now" in used:
        used = DAY + used
    how = {"add_generation_prompt": True, "tokenize": False, "chat_template": used}
    rendered = str(processor.apply_chat_template([{"role": "user", "content": content}], **how))
    tokenizer = processor.tokenizer
    begin = tokenizer.bos_token
    if begin and rendered.startswith(begin):
        twice = tokenizer(rendered)["input_ids"][:2] == [tokenizer.bos_token_id] * 2
        return rendered.removeprefix(begin) if twice else rendered
    return rendered


def text_ids(processor: Any, rendered: str) -> list[int]:
    """Return the ids of a rendered prompt without those that stand for its images.

    They are left out of the ids. Cutting them out of the text instead could change how the text around them
    is tokenized.
    """
    if hasattr(processor, "text_ids"):
        return list(processor.text_ids(rendered))
    ids = processor.tokenizer(rendered)["input_ids"]
    return [one for one in ids if one != processor.image_token_id]


def choose_template(processor: Any, own: str) -> None:
    """Set the first template that puts an image: the processor's, the tokenizer's, or the family's own.

    Older checkpoints have none, or one for text alone.
    """
    for given in (processor.chat_template, processor.tokenizer.chat_template, own):
        template = given.get("default") if isinstance(given, dict) else given
        if template and _puts_an_image(processor, template):
            processor.chat_template = template
            return


def _puts_an_image(processor: Any, template: str) -> bool:
    try:
        rendered = render(processor, "what is it?", template)
    except Exception:  # a template raises whatever it likes for what it does not know
        return False
    return rendered.count(processor.image_token) == 1 and "what is it?" in rendered


def template_source(processor: Any, folder: Path) -> str:
    """Return the file that the processor's chat template is in, or ``own``, with a digest of the template."""
    used = processor.chat_template
    name = next((name for name in _TEMPLATE_FILES if used and used in _templates(folder / name)), "own")
    return f"{name} {hashing.digest_of(str(used))[:8]}"


def passed_over(processor: Any, folder: Path) -> tuple[str, ...]:
    """Return a note on a chat template of the folder that puts no picture, or not the question."""
    given = [name for name in _TEMPLATE_FILES if any(_templates(folder / name))]
    if not given or not template_source(processor, folder).startswith("own"):
        return ()
    return (f"the chat template in {given[0]} does not put one picture and the question, so another is used",)


def _templates(file: Path) -> list[Any]:
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    given = text if file.suffix == ".jinja" else json.loads(text).get("chat_template")
    if isinstance(given, list):  # as tokenizers have several: a name and a template each
        return [one["template"] for one in given]
    return list(given.values()) if isinstance(given, dict) else [given]


def _broken(processor: Any, text: str) -> str:
    """Break the marks in a question: special tokens, and whatever else is written as one."""
    tokenizer = processor.tokenizer
    added = tokenizer.added_tokens_decoder.values()
    named = [getattr(processor, name, None) for name in dir(processor) if name.endswith("_token")]
    marks = {one.content for one in added if one.special or _MARK.fullmatch(one.content)}
    marks.update(one for one in (*named, *tokenizer.all_special_tokens) if isinstance(one, str))
    longest_first = sorted((re.escape(mark) for mark in marks if len(mark) > 1), key=len, reverse=True)
    found = re.compile("|".join((*longest_first, "<0x[0-9A-F]{2}>")))
    if not found.search(text):
        return text
    if BREAK not in tokenizer.get_added_vocab():
        from transformers import AddedToken

        tokenizer.add_tokens([AddedToken(BREAK, normalized=False)])
    # SentencePiece puts a blank in front of what follows a token, but not of what follows a line end.
    return found.sub(lambda mark: f"{mark[0][0]}{BREAK}\n{mark[0][1:]}", text)


def without_breaks(processor: Any, ids: Sequence[int]) -> list[int]:
    """Return the tokens of a prompt without those that break marks."""
    return [one for one, kept in zip(ids, _kept(processor.tokenizer, ids), strict=True) if kept]


def mend(processor: Any, batch: Any) -> Any:
    """Take the tokens that break marks out of a padded batch; padding in front takes their place."""
    import torch

    tokenizer, ids = processor.tokenizer, batch["input_ids"]
    if BREAK not in tokenizer.get_added_vocab():
        return batch
    kept = torch.tensor([_kept(tokenizer, row) for row in ids.tolist()], device=ids.device)
    order = kept.int().argsort(dim=1, stable=True)  # what is taken out comes first, the rest keeps its order
    taken = ~kept.gather(1, order)
    longest = int((batch["attention_mask"] * kept).sum(dim=1).max())
    for name in [name for name, value in batch.items() if getattr(value, "shape", None) == ids.shape]:
        fill = tokenizer.pad_token_id if name == "input_ids" else 0
        batch[name] = batch[name].gather(1, order).masked_fill(taken, fill)[:, -longest:]
    return batch


def _kept(tokenizer: Any, ids: Sequence[int]) -> list[bool]:
    """Say for each token whether it stays: all but those of a break."""
    kept = [True] * len(ids)
    if BREAK in tokenizer.get_added_vocab():
        (*line_end, _), (*other, _) = (
            tokenizer(f"{BREAK}\n{one}", add_special_tokens=False)["input_ids"] for one in "aZ"
        )
        for start, one in enumerate(ids):
            if one == line_end[0]:
                taken = len(line_end) if [*ids[start : start + len(line_end)]] == line_end == other else 1
                kept[start : start + taken] = [False] * taken
    return kept
