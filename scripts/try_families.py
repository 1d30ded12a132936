"""Try families of transformers, built small with random weights, and write what was found.

    python scripts/try_families.py [FAMILY ...]

Every family of ``small_families`` is built, loaded by its folder and measured like any other model. The
results are in ``vlmnb/models/tried.yaml``, which ``vlmnb models --all`` and the book show. Families that are
named are tried again; the rows of the others stay.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import small_families
import yaml

FILE = Path(__file__).resolve().parent.parent / "vlmnb" / "models" / "tried.yaml"
SIZES = ((64, 64), (96, 96), (128, 128), (48, 48), (224, 224), (192, 64))
SETTINGS = ("sdpa", "static_cache", "bf16", "bnb-8bit", "bnb-4bit", "torchao-int8", "torchao-int4")
SECONDS = 600


def main(names: list[str]) -> None:
    """Try families one by one, each in a process of its own, and write the file after each."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in names or list(small_families.FAMILIES):
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        lines = done.stdout.strip().splitlines()
        row = json.loads(lines[-1]) if done.returncode == 0 else {"failed": done.stderr.strip()[-300:]}
        print(name, row, flush=True)
        rows[name] = row
        text = yaml.safe_dump(dict(sorted(rows.items())), sort_keys=False, width=110, allow_unicode=True)
        FILE.write_text(text, encoding="utf-8")


def tried(name: str, scratch: Path) -> dict[str, Any]:
    """Try one family and return its row."""
    import torch
    import transformers

    from vlmnb.measure.cells import measure_cells
    from vlmnb.spec import planning

    folder = small_families.build(name, scratch / name)
    shared = {
        "model": str(folder), "dataset": "textvqa-mini", "samples": 4, "length": "natural",
        "max_new_tokens": 8, "image_size": 64,
    }  # fmt: skip
    batches = planning.plan("batch_size", {**shared, "batch_sizes": [1, 4], "optimization": "fp32"})
    one, four = measure_cells(batches.cells, scratch / "records")
    names = ["fp32", *SETTINGS]
    settings = planning.plan("optimization", {**shared, "batch_size": 1, "optimizations": names})
    records = measure_cells(settings.cells, scratch / "records")
    row: dict[str, Any] = {
        "transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0],
        "loads": one.status if one.status == "ok" else one.reason,
    }  # fmt: skip
    if one.status != "ok" or one.flops is None or one.timing is None:
        return row
    executed, by_formula = one.flops.torch, one.flops.formula
    tokens, predicted = _image_tokens(folder)
    row |= {
        "processor": type(_processor(folder)).__name__,
        "image_tokens": tokens,
        "image_tokens_predicted": predicted,
        "batch": "equal" if [a.answer for a in one.answers] == [a.answer for a in four.answers] else "other",
        "phases": bool(all(seconds > 0 for seconds in one.timing.vision_s or ())),
        "flops": round(100 * (by_formula / executed - 1), 2) if executed and by_formula else None,
        "flops_note": one.flops.note,
        "settings": {
            record.cell.optimization: record.status if record.status == "ok" else record.reason[:160]
            for record in records
        },
    }
    return row


def _processor(folder: Path) -> Any:
    from vlmnb.models.generic.family import Generic

    return Generic(folder).load_processor(folder)


def _image_tokens(folder: Path) -> tuple[dict[str, int], str]:
    """Return the tokens that stand for an image by its width and height, and whether they were predicted.

    The prediction is that of the processor's own function, which counts with or without the marks around.
    """
    from PIL import Image

    processor = _processor(folder)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
    prompt = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    found, right = {}, []
    for width, height in SIZES:
        blank = Image.new("RGB", (width, height))
        ids = processor(images=[blank], text=[prompt], padding=True, return_tensors="pt")["input_ids"][0]
        found[f"{width}x{height}"] = len(ids) - len(processor.text_ids(prompt))
        if hasattr(processor, "_get_num_multimodal_tokens"):
            made = processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
            alone = int((ids == processor.image_token_id).sum())
            right.append(made.num_image_tokens[0] in (alone, found[f"{width}x{height}"]))
    return found, ("equal" if all(right) else "other") if right else "none"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        with tempfile.TemporaryDirectory(prefix="vlmnb-") as temporary:
            print(json.dumps(tried(sys.argv[2], Path(temporary))))
    else:
        main(sys.argv[1:])
