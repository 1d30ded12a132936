"""Checkpoints of real models: folders in Hub layout are loaded, whatever cannot be is refused in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from altered import cell, copied
from small_models import REAL, small_config

from vlmnb import models, paths
from vlmnb.measure.cells import measure_cells
from vlmnb.models import folders
from vlmnb.records.resolved import resolve_cell


def save(name: str, folder: Path) -> None:
    """A folder as transformers' own classes write it: model, tokenizer, image processor."""
    import torch

    family, config = models.family_of(models.get(name)), small_config(name)
    torch.manual_seed(0)
    model = family.model_class()(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200KB" if name == "qwen2.5-vl-3b" else "1GB")
    processor = family.load_processor(paths.bundled_model(family.stand_in))
    family.match(processor, config)
    family.adapt(processor, config)
    if name == "qwen2.5-vl-3b":
        processor.tokenizer.chat_template = processor.chat_template
        processor.tokenizer.save_pretrained(folder)
        processor.image_processor.save_pretrained(folder)
    else:
        processor.save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_folder_in_hub_layout_is_measured(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(folders.FOLDERS, str(tmp_path))
    save(name, tmp_path / (models.get(name).source if name == "fuyu-8b" else name))
    (found,) = measure_cells([cell(name, dtype="bf16", optimization="bf16")], tmp_path / "results")
    assert (found.status, found.reason) == ("ok", "")
    assert found.wer is not None
    assert found.provenance.weights.startswith("local ")
    assert found.provenance.processor == "checkpoint"
    expected = models.family_of(models.get(name)).image_tokens(small_config(name), 224)
    assert {a.image_tokens for a in found.answers} == {expected}
    assert all(a.text_tokens < 100 for a in found.answers)
    assert "text_config.num_hidden_layers 2 for" in found.provenance.geometry
    assert found.flops is not None
    assert found.flops.note == ""
    assert found.flops.decode_formula == found.flops.decode_torch  # of what was loaded, not of its namesake


FIND = """
import errno, os, shutil, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
    def log_message(self, *args): pass
server = HTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ.setdefault("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
from vlmnb import models
from vlmnb.models import checkpoints
from vlmnb.errors import UserError
entry = models.get("llava-1.5-7b")
def find():
    try: print(checkpoints.find(entry), checkpoints.revision(entry))
    except UserError as error: print(error)
"""


def offline(tmp_path: Path, code: str, **environment: str) -> list[str]:
    """What a fresh interpreter with an empty cache of the Hub prints, line by line."""
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    clean |= {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    clean.pop(folders.FOLDERS, None)
    done = subprocess.run(
        [sys.executable, "-c", FIND + code],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids downloads"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
    ],
)
def test_without_network_one_line_names_the_file_and_the_ways_out(
    environment: dict[str, str], why: str, tmp_path: Path
) -> None:
    (line,) = offline(tmp_path, "find()", **environment)
    revision = models.get("llava-1.5-7b").revision
    for part in (
        "llava-1.5-7b has no weights on this machine", "config.json of llava-hf/llava-1.5-7b-hf", why,
        f"hf download llava-hf/llava-1.5-7b-hf --revision {revision}", "weights: random",
    ):  # fmt: skip
        assert part in line


def test_what_the_hub_or_the_disk_refuses_is_said_in_one_line_with_the_way_out(tmp_path: Path) -> None:
    # The hub's client asks five times, for half a minute in all, where a server answers 500.
    answers = {
        (404, "RevisionNotFound"): ("has no revision b234b804",),
        (404, "RepoNotFound"): ("no repository llava-hf/llava-1.5-7b-hf", "name"),
        (404, ""): ("no repository llava-hf/llava-1.5-7b-hf",),
        (401, "RepoNotFound"): ("401", "hf auth login", "HF_TOKEN"),
        (401, ""): ("401", "hf auth login", "HF_TOKEN"),
        (401, "GatedRepo"): ("terms", "hf auth login"),
        (403, "GatedRepo"): ("terms", "hf auth login"),
        (403, ""): ("rights", "hf auth login"),
        (501, ""): ("downloading failed", "weights: random"),
        (0, "ENOSPC"): ("no space", "HF_HOME"),
        (0, "EDQUOT"): ("no space", "HF_HOME"),
    }
    code = f"""
import huggingface_hub
asked = huggingface_hub.snapshot_download
def download(*given, **how):
    if status: return asked(*given, **how)
    raise RuntimeError("stopped") from OSError(getattr(errno, code), "full")
huggingface_hub.snapshot_download = download
for status, code in {list(answers)}: find()
"""
    lines = offline(tmp_path, code, HF_TOKEN="expired")
    assert len(lines) == len(answers)
    for line, parts in zip(lines, answers.values(), strict=True):
        assert [part for part in ("llava-1.5-7b", *parts) if part not in line] == []


@pytest.mark.slow
def test_a_snapshot_in_the_hubs_cache_is_used_without_network(tmp_path: Path) -> None:
    revision = models.get("llava-1.5-7b").revision
    snapshot = tmp_path / "hf" / "hub" / "models--llava-hf--llava-1.5-7b-hf" / "snapshots" / revision
    shutil.move(copied(tmp_path), snapshot)
    code = f"""
snapshot = Path({str(snapshot)!r})
find()
weights = snapshot / "model.safetensors"
weights.write_bytes(weights.read_bytes()[:-10])
find()
weights.unlink()
find()
snapshot.rename(snapshot.with_name("0" * 40))
find()
"""
    found, cut, without, other = offline(tmp_path, code, HF_HUB_OFFLINE="1")
    assert found == f"{snapshot} llava-hf/llava-1.5-7b-hf@{revision}"
    assert "truncated" in cut
    assert "looked for model.safetensors or model.safetensors.index.json" in without
    assert f"has revision {'0' * 40}, wanted is {revision}" in other
    assert "set VLMNB_CHECKPOINTS to a folder" in other


def test_the_revision_and_the_seed_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folders.FOLDERS, raising=False)
    entry, asked = models.get("llava-1.5-7b"), resolve_cell(cell())
    assert asked.revisions.weights == f"llava-hf/llava-1.5-7b-hf@{entry.revision}"
    moved = models.registry() | {entry.name: entry.model_copy(update={"revision": "0" * 40})}
    monkeypatch.setattr(models, "registry", lambda: moved)
    assert resolve_cell(cell()).key != asked.key
    random = {resolve_cell(cell(weights="random", seed=seed)).revisions.weights for seed in (0, 1)}
    assert len(random) == 2
