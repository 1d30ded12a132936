"""Try families of transformers, built small with random weights, and write what was found.

    python scripts/try_families.py [FAMILY ...]

Every family of ``small_families`` is built, loaded by its folder and measured like any other model; of those
that are refused by their configuration or processor alone, the reason is kept. The results are in
``vlmnb/fit/tried.yaml``, which ``vlmnb models --all`` and the book show. Families that are named are tried
again; the rows of the others stay.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import small_families
import torch
import transformers
import yaml
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from vlmnb import models
from vlmnb.errors import UserError, one_line
from vlmnb.fit import description
from vlmnb.measure import encoding, peak_rates, protocol, turns
from vlmnb.measure.cells import measure_cells
from vlmnb.models import geometry, named, prompting
from vlmnb.models.family import Family
from vlmnb.models.generic import structure
from vlmnb.records.record import Record
from vlmnb.spec import planning

protocol.WINDOW_S = peak_rates.TRY_S = 0.05  # what runs is asked, not how fast
turns.LONGEST_PASS_S = 0.0  # nor with turns
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # else each family starts compilers of its own

FILE = Path(__file__).resolve().parent.parent / "vlmnb" / "fit" / "tried.yaml"
SIZES = ((48, 48), (64, 64), (96, 96), (128, 128), (224, 224), (192, 64), (288, 96))
SAME = ("sdpa", "static_cache", "prefill_chunks-32", "prompt_lookup", "compile")
"""Settings that must not change answers."""
SETTINGS = (
    *(f"fp32+{name}" for name in SAME), "fp32+early_exit", "fp32+visual_tokens-50%-grid",
    "fp32+visual_tokens-pool2x2", "bf16", "bf16+fp8_cache", "bf16+bnb-8bit", "bf16+bnb-4bit",
    "bf16+torchao-int8", "bf16+torchao-int4",
)  # fmt: skip
CAUSES = {
    "must match the size of tensor b": ("bitsandbytes", "in 8 bits on a CPU, no input may have four axes"),
    "no attribute 'num_hidden_layers'": (
        "transformers",
        "asks for the layers of the text in the whole model",
    ),
    "not compiled with CUDA": ("torchao", "packs its 4 bits on CUDA alone"),
}
"""What a library's words mean where they do not say it, by a part of them, with the library."""
SECONDS = 1200
SAID = 200
"""Characters of a reason that are kept."""
CLOSE = 1e-3
"""Difference of logits, as a share of their spread, that rounding may make."""


def main(names: list[str]) -> None:
    """Try families one by one, each in a process of its own, and write the file after each."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for name in names or [*small_families.FAMILIES, *small_families.SKETCHED]:
            try:
                row = pool.apply_async(tried, (name,)).get(SECONDS)
            except multiprocessing.TimeoutError:
                raise SystemExit(f"{name}: nothing came of it within {SECONDS} s") from None
            except Exception as error:  # whatever a library raises is the answer
                row = {"failed": f"{type(error).__name__}: {one_line(error, SAID)}"}
            print(name, row, flush=True)
            rows[name] = row
            text = yaml.safe_dump(dict(sorted(rows.items())), sort_keys=False, width=110, allow_unicode=True)
            FILE.write_text(text, encoding="utf-8")


def tried(name: str) -> dict[str, Any]:
    """Try one family and return its row."""
    with tempfile.TemporaryDirectory(prefix="vlmnb-") as temporary:
        return _tried(name, Path(temporary))


def _tried(name: str, scratch: Path) -> dict[str, Any]:
    versions = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "transformers": transformers.__version__,
        "torch": torch.__version__.partition("+")[0],
    }
    if name in small_families.SKETCHED:
        return versions | {"loads": _refusal(small_families.sketch(name, scratch / name))}
    folder = small_families.build(name, scratch / name)
    try:
        side = _family(folder).image_side(_processor(folder), 64)  # 64, if the processor takes it
        shared = {
            "model": str(folder), "dataset": "textvqa-mini", "samples": 4, "length": "natural",
            "max_new_tokens": 8, "image_size": side,
        }  # fmt: skip
        batches = planning.plan("batch_size", {**shared, "batch_sizes": [1, 4], "optimization": "fp32"})
        one, four = measure_cells(batches.cells, scratch / "records")
    except UserError as error:  # a processor that cannot be loaded
        return versions | {"loads": str(error).replace(str(folder), "it").removeprefix("it: ")}
    if one.status != "ok":
        return versions | {"loads": one.reason}
    settings = planning.plan(
        "optimization", {**shared, "batch_size": 1, "optimizations": ["fp32", *SETTINGS]}
    )
    plain, *records = measure_cells(settings.cells, scratch / "records")
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
        **({"crossing": layers} if (layers := _crossing(folder)) else {}),
        "batch": _logits(folder) if alike else "other answers",
        "phases": bool(all(seconds > 0 for seconds in one.timing.vision_s or ())),
        "flops": round(100 * (by_formula / executed - 1), 2) if executed and by_formula else None,
        "flops_note": one.flops.note,
        "settings": {
            named.removeprefix("fp32+").removeprefix("bf16+"): _outcome(record, plain)
            for named, record in zip(SETTINGS, records, strict=True)
        },
    }


def _refusal(folder: Path) -> str:
    """Return why a family is refused before its weights are looked at."""
    try:
        geometry.config(models.get(str(folder)))
        with named.explained("its processor"):
            _processor(folder)
        description.describe(str(folder))
    except UserError as error:
        return str(error).replace(str(folder), "it")
    raise ValueError("it is not refused; build it small")


def _outcome(record: Record, plain: Record) -> str:
    """Return ``ok``, that answers differ where they must not, or why a setting does not run."""
    if record.status == "ok":
        compared = record.cell.optimization.removeprefix("fp32+") in SAME
        alike = [one.answer for one in record.answers] == [one.answer for one in plain.answers]
        return "ok" if alike or not compared else "runs, with other answers than without it"
    said = one_line(record.reason, SAID)
    for words, (package, meaning) in CAUSES.items():
        if words in said and (package != "bitsandbytes" or "bnb" in record.cell.optimization):
            return f"{package} {metadata.version(package)}: {meaning} ({said})"
    return said


def _logits(folder: Path) -> str:
    """Return whether four prompts in a batch have the logits that each has alone."""
    processor, model = _processor(folder), AutoModelForImageTextToText.from_pretrained(folder).eval()
    prompts = [encoding.fit(processor, "what? " * (1 + i), 200).rendered for i in range(4)]
    image = Image.radial_gradient("L").resize((64, 64)).convert("RGB")

    def logits(texts: list[str]) -> Any:
        inputs = processor(images=[image] * len(texts), text=texts, padding=True, return_tensors="pt")
        how = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        return model.generate(**inputs, **how).logits[0]  # which gives padded prompts their positions

    with torch.inference_mode():
        together, alone = logits(prompts), torch.cat([logits([prompt]) for prompt in prompts])
    difference = (together - alone).abs().max() / alone.std()
    return "equal" if difference < CLOSE else f"other logits, by {float(difference):.1%} of their spread"


def _processor(folder: Path) -> Any:
    return _family(folder).load_processor(folder)


def _family(folder: Path) -> Family:
    return models.family_of(models.get(str(folder)))


def _crossing(folder: Path) -> int:
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    return structure.crossing(structure.decoder_of(model))


def _image_tokens(folder: Path) -> tuple[dict[str, int], str]:
    """Return the tokens that stand for an image by its width and height, and whether they were predicted.

    The prediction is that of the processor's own function, which counts with or without the marks around.
    """
    processor, config = _processor(folder), AutoConfig.from_pretrained(folder)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
    prompt = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    found, right = {}, []
    for width, height in SIZES:
        blank = Image.new("RGB", (width, height))
        ids = processor(images=[blank], text=[prompt], padding=True, return_tensors="pt")["input_ids"][0]
        found[f"{width}x{height}"] = len(ids) - len(prompting.text_ids(processor, prompt))
        if hasattr(processor, "_get_num_multimodal_tokens"):
            made = processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
            alone = int((ids == config.image_token_id).sum())  # the processor's own may be that of its mark
            right.append(made.num_image_tokens[0] in (alone, found[f"{width}x{height}"]))
    return found, ("equal" if all(right) else "other") if right else "none"


if __name__ == "__main__":
    main(sys.argv[1:])
