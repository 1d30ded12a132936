"""Checkpoints of users: copies of the bundled ones in the place of the full-size models, altered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.spec.cell import Cell

STANDS_FOR = {"llava-tiny": "llava-1.5-7b", "qwen2.5-vl-tiny": "qwen2.5-vl-3b", "fuyu-tiny": "fuyu-8b"}
Change = Callable[[Path], None]


def copied(base: Path, tiny: str = "llava-tiny") -> Path:
    """Copy a bundled checkpoint below a folder for ``VLMNB_CHECKPOINTS``."""
    left = shutil.ignore_patterns("README.md", "scores.json", "training.json")
    return Path(shutil.copytree(paths.bundled_model(tiny), base / STANDS_FOR[tiny], ignore=left))


def cell(name: str = "llava-1.5-7b", **changes: Any) -> Cell:
    """Two questions, each with three tokens of answer."""
    base = {
        "model": name, "dataset": "textvqa-mini", "samples": 2, "device": "cpu", "dtype": "fp32",
        "optimization": "fp32", "batch_size": 2, "image_size": 224, "seq_len": 100, "max_new_tokens": 3,
    }  # fmt: skip
    return Cell.model_validate(base | changes)


def written(name: str, content: bytes | str = b"") -> Change:
    """A file with some content, new or in the place of the one that was there."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def rewritten(name: str, old: str | bytes, new: str | bytes) -> Change:
    """Other words in a file."""
    bytes_of = [one.encode() if isinstance(one, str) else one for one in (old, new)]
    return lambda folder: written(name, (folder / name).read_bytes().replace(*bytes_of))(folder)


def cut(name: str, kept: int) -> Change:
    """A file of which only the beginning is there."""
    return lambda folder: written(name, (folder / name).read_bytes()[:kept])(folder)


def removed(*names: str) -> Change:
    """Files that are missing."""
    return lambda folder: [(folder / name).unlink() for name in names] and None


def without(name: str, *keys: str) -> Change:
    """A JSON file without some of its keys; ``a.b`` is ``b`` within ``a``."""
    return edited(name, **dict.fromkeys(keys))


def edited(name: str, **values: Any) -> Change:
    """A JSON file with other values, ``a__b`` within ``a``; a value of None removes the key."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        for key, value in values.items():
            *outer, last = key.split("__")
            part = content
            for one in outer:
                part = part[one]
            part.pop(last, None)
            if value is not None:
                part[last] = value
        (folder / name).write_text(json.dumps(content))

    return change


def reweighted(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Other weights; the change gets the tensors by name."""

    def alter(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / "model.safetensors")
        change(held)
        made = {name: tensor.contiguous() for name, tensor in held.items()}
        save_file(made, folder / "model.safetensors", {"format": "pt"})

    return alter


def sharded(folder: Path) -> None:
    """The weights in two files with an index."""
    from safetensors.torch import load_file, save_file

    held, where = load_file(folder / "model.safetensors"), {}
    for i, names in enumerate((list(held)[::2], list(held)[1::2]), start=1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_file({name: held[name] for name in names}, folder / file, {"format": "pt"})
        where.update(dict.fromkeys(names, file))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def both(*changes: Change) -> Change:
    """Several changes, one after the other."""
    return lambda folder: [change(folder) for change in changes] and None
