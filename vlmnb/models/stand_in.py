"""Processors for Hub models whose own tokenizer is not on this machine.

With random weights only the shapes matter. A stand-in is the processor of the family's bundled model with
the image settings of the full-size configuration and its special tokens at the full-size ids: it gives as
many image tokens as the real one. Its words are not the real tokenizer's, so a question would have another
length; therefore it has ``fills = True``, and the text is brought to exactly the length asked for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.models.family import Family

NAME = "stand-in"
"""Name of such a processor in a record."""


def build(family: Family, config: Any) -> Any:
    """Build the stand-in for a full-size configuration."""
    source = paths.bundled_model(family.stand_in)
    with tempfile.TemporaryDirectory(prefix="vlmnb-") as scratch:
        folder = Path(scratch)
        others = shutil.ignore_patterns("*.safetensors", "config.json")
        shutil.copytree(source, folder, ignore=others, dirs_exist_ok=True)
        tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
        moved = json.dumps(_moved(tokenizer, family.special_ids(config)))
        (folder / "tokenizer.json").write_text(moved, encoding="utf-8")
        processor = family.load_processor(folder)
    family.match(processor, config)
    family.adapt(processor, config)
    processor.fills = True
    return processor


def _moved(tokenizer: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """Return a tokenizer file with special tokens at other ids."""
    vocabulary = tokenizer["model"]["vocab"]
    for token in tokenizer["added_tokens"]:
        token["id"] = ids.get(token["content"], token["id"])
        vocabulary[token["content"]] = token["id"]
    for token in (tokenizer.get("post_processor") or {}).get("special_tokens", {}).values():
        token["ids"] = [ids.get(name, old) for name, old in zip(token["tokens"], token["ids"], strict=True)]
    padding = tokenizer.get("padding")
    if padding:
        padding["pad_id"] = ids.get(padding["pad_token"], padding["pad_id"])
    return tokenizer
