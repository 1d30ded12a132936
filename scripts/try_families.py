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

from vlmnb.errors import UserError, one_line
from vlmnb.models.generic.family import Generic

FILE = Path(__file__).resolve().parent.parent / "vlmnb" / "models" / "tried.yaml"
SIZES = ((48, 48), (64, 64), (96, 96), (128, 128), (224, 224), (192, 64), (288, 96))
SETTINGS = ("sdpa", "static_cache", "bf16", "bnb-8bit", "bnb-4bit", "torchao-int8", "torchao-int4")
SECONDS = 600
SAID = 200
"""Characters of a reason that are kept."""
CLOSE = 1e-3
"""Difference of logits, as a share of their spread, that rounding may make."""


def main(names: list[str]) -> None:
    """Try families one by one, each in a process of its own, and write the file after each."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in names or list(small_families.FAMILIES):
        command = [sys.executable, __file__, "--one", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            row = {"failed": f"nothing came of it within {SECONDS} s"}
        else:
            lines = done.stdout.strip().splitlines()
            row = (
                json.loads(lines[-1])
                if done.returncode == 0
                else {"failed": one_line(done.stderr.strip().rpartition("\n")[2], 300)}
            )
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
    versions = {"transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0]}
    try:
        side = Generic(folder).image_side(_processor(folder), 64)  # 64, if the processor takes it
        shared = {
            "model": str(folder), "dataset": "textvqa-mini", "samples": 4, "length": "natural",
            "max_new_tokens": 8, "image_size": side,
        }  # fmt: skip
        batches = planning.plan("batch_size", {**shared, "batch_sizes": [1, 4], "optimization": "fp32"})
        one, four = measure_cells(batches.cells, scratch / "records")
    except UserError as error:  # a processor that cannot be loaded
        return versions | {"loads": str(error).replace(str(folder), "it")}
    if one.status != "ok":
        return versions | {"loads": one.reason}
    names = ["fp32", *SETTINGS]
    settings = planning.plan("optimization", {**shared, "batch_size": 1, "optimizations": names})
    records = measure_cells(settings.cells, scratch / "records")
    assert one.flops is not None
    assert one.timing is not None
    executed, by_formula = one.flops.torch, one.flops.formula
    tokens, predicted = _image_tokens(folder)
    alike = [a.answer for a in one.answers] == [a.answer for a in four.answers]
    return versions | {
        "loads": "ok",
        "processor": type(_processor(folder)).__name__,
        "image_tokens": tokens,
        "image_tokens_predicted": predicted,
        "batch": _logits(folder) if alike else "other answers",
        "phases": bool(all(seconds > 0 for seconds in one.timing.vision_s or ())),
        "flops": round(100 * (by_formula / executed - 1), 2) if executed and by_formula else None,
        "flops_note": one.flops.note,
        "settings": {
            record.cell.optimization.removeprefix("bf16+"): record.status
            if record.status == "ok"
            else one_line(record.reason, SAID)
            for record in records
        }
        | {"compile (traced only)": _graphs(folder)},
    }


def _logits(folder: Path) -> str:
    """Return whether four prompts in a batch have the logits that each has alone."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText

    from vlmnb.measure import encoding

    processor, model = _processor(folder), AutoModelForImageTextToText.from_pretrained(folder).eval()
    prompts = [encoding.fit(processor, "what? " * (1 + i), 200).rendered for i in range(4)]
    image = Image.radial_gradient("L").resize((64, 64)).convert("RGB")

    def logits(texts: list[str]) -> Any:
        inputs = processor(images=[image] * len(texts), text=texts, padding=True, return_tensors="pt")
        return model(**inputs).logits[:, -1]

    with torch.inference_mode():
        together, alone = logits(prompts), torch.cat([logits([prompt]) for prompt in prompts])
    difference = (together - alone).abs().max() / alone.std()
    return "equal" if difference < CLOSE else f"other logits, by {float(difference):.1%} of their spread"


def _graphs(folder: Path) -> str:
    """Return ``ok`` if torch.compile sees the language model as one graph, else where it breaks."""
    import torch
    from transformers import AutoModelForImageTextToText

    decoder = AutoModelForImageTextToText.from_pretrained(folder).eval().get_decoder()
    width = decoder.get_input_embeddings().weight.shape[1]
    try:
        with torch.no_grad():
            found = torch._dynamo.explain(decoder)(inputs_embeds=torch.zeros(1, 8, width), use_cache=False)
    except Exception as error:  # whatever tracing raises is the answer
        return f"{type(error).__name__}: {one_line(error, SAID)}"
    if found.graph_break_count == 0:
        return "ok"
    why = next((str(one.reason) for one in found.break_reasons), "")
    return f"{found.graph_count} graphs: {one_line(why, SAID)}"


def _processor(folder: Path) -> Any:
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
