"""Processors for full-size geometries whose own tokenizer is not on this machine.

With random weights only the shapes matter. A stand-in is the processor of the family's bundled model with
the image settings of the full-size geometry and its special tokens at the full-size ids: it gives as many
image tokens as the real one. Its words are not the real tokenizer's, so a question would come out at another
length; it has ``fills = True``, by which the text is brought to exactly the budget that was asked for.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from vlmnb import paths

NAME = "stand-in"
"""What a record says of its processor."""


def build(family: Any, config: Any) -> Any:
    """The stand-in for a geometry.

    Args:
        family: The family's module, which names the bundled model (``STAND_IN``), the ids of the special
            tokens (``special_ids``) and sets the image side up (``adapt``).
        config: The full-size configuration.
    """
    source = paths.bundled_model(family.STAND_IN)
    with tempfile.TemporaryDirectory(prefix="vlmnb-") as scratch:
        folder = Path(scratch)
        for file in source.iterdir():
            if file.suffix in {".json", ".jinja"} and file.name != "tokenizer.json":
                (folder / file.name).write_bytes(file.read_bytes())
        tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
        moved = json.dumps(_moved(tokenizer, family.special_ids(config)))
        (folder / "tokenizer.json").write_text(moved, encoding="utf-8")
        processor = family.load_processor(folder)
    family.adapt(processor, config)
    processor.fills = True
    return processor


def _moved(tokenizer: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """A tokenizer file with special tokens at other ids."""
    vocabulary = tokenizer["model"]["vocab"]
    for token in tokenizer["added_tokens"]:
        token["id"] = ids.get(token["content"], token["id"])
        vocabulary[token["content"]] = token["id"]
    twice = len(vocabulary) - len(set(vocabulary.values()))
    if twice:
        raise ValueError(f"{twice} ids of the stand-in's vocabulary stand twice")
    for token in (tokenizer.get("post_processor") or {}).get("special_tokens", {}).values():
        token["ids"] = [ids.get(name, old) for name, old in zip(token["tokens"], token["ids"], strict=True)]
    padding = tokenizer.get("padding")
    if padding:
        padding["pad_id"] = ids.get(padding["pad_token"], padding["pad_id"])
    return tokenizer
