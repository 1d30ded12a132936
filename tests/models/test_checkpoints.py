"""Checkpoints of real models: folders in Hub layout are loaded, whatever cannot be is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import REAL, small_config

from vlmnb import models
from vlmnb.errors import UserError
from vlmnb.measure import loading
from vlmnb.measure.cells import measure_cells
from vlmnb.models import checkpoints
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec.cell import Cell


def cell(name: str, **changes: Any) -> Cell:
    base = {
        "model": name, "dataset": "textvqa-mini", "samples": 4, "device": "cpu", "dtype": "bf16",
        "optimization": "bf16", "batch_size": 2, "image_size": 224, "seq_len": 100, "max_new_tokens": 3,
    }  # fmt: skip
    return Cell.model_validate(base | changes)


def save(name: str, folder: Path) -> None:
    """A folder as transformers' own classes write it: model, tokenizer, image processor."""
    import torch

    family = models.family_of(models.get(name))
    config = small_config(name)
    torch.manual_seed(0)
    model = family.model_class()(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200KB" if name == "qwen2.5-vl-3b" else "1GB")
    processor = family.load_processor(Path(__file__).parents[2] / "models" / family.stand_in)
    family.adapt(processor, config)
    if name == "qwen2.5-vl-3b":
        processor.tokenizer.chat_template = processor.chat_template
        processor.tokenizer.save_pretrained(folder)
        processor.image_processor.save_pretrained(folder)
    else:
        processor.save_pretrained(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small checkpoint of each family, by registry name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in REAL:
        save(name, folder / name)
    return folder


@pytest.fixture
def own(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may damage, set as the user's folder."""
    copy = tmp_path / "checkpoints"
    shutil.copytree(saved, copy)
    monkeypatch.setenv(checkpoints.FOLDERS, str(copy))
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_folder_in_hub_layout_is_measured(name: str, own: Path, tmp_path: Path) -> None:
    (found,) = measure_cells([cell(name)], tmp_path / "results")
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


@pytest.mark.slow
def test_a_folder_may_be_named_as_the_repository(own: Path, tmp_path: Path) -> None:
    (own / "adept").mkdir()
    (own / "fuyu-8b").rename(own / "adept" / "fuyu-8b")
    (found,) = measure_cells([cell("fuyu-8b")], tmp_path / "results")
    assert found.status == "ok"


@pytest.mark.slow
def test_other_weights_in_a_folder_are_another_key(own: Path) -> None:
    before = resolve_cell(cell("fuyu-8b")).key
    file = own / "fuyu-8b" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert resolve_cell(cell("fuyu-8b")).key != before


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A damage: a file of the folder with other content."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def removed(name: str) -> Callable[[Path], None]:
    """A damage: a file that is missing."""
    return lambda folder: (folder / name).unlink()


truncate = rewritten("model.safetensors", lambda old: old[:-10])
NO_HEADER = (12).to_bytes(8, "little") + b"no json at all"


def remote_code(old: bytes) -> bytes:
    return json.dumps(json.loads(old) | {"auto_map": {"AutoModel": "own.Own"}}).encode()


def pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors[next(name for name in tensors if name.endswith("lm_head.weight"))]
    save_file(tensors, file, metadata={"format": "pt"})


def another_model(folder: Path) -> None:
    shutil.copytree(folder.parent / "qwen2.5-vl-3b", folder, dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, ("model.safetensors", "truncated", "hf download adept/fuyu-8b --revision")),
        (rewritten("model.safetensors", lambda old: b"\x00\x10"), ("model.safetensors", "truncated")),
        (rewritten("model.safetensors", lambda old: NO_HEADER), ("model.safetensors", "no safetensors file")),
        (rewritten("config.json", remote_code), ("config.json", "auto_map", "never run")),
        (rewritten("processor_config.json", remote_code), ("processor_config.json", "auto_map")),
        (pickles, ("has no model.safetensors or", "pytorch_model.bin, a pickle", "weights: random")),
        (removed("tokenizer.json"), ("has no tokenizer: tokenizer.json", "hf download")),
        (rewritten("tokenizer.json", lambda old: b"{}"), ("cannot load fuyu-8b",)),
        (removed("processor_config.json"), ("has no image processor: preprocessor_config.json",)),
        (
            rewritten("config.json", lambda old: old.replace(b'"vocab_size": 1000', b'"vocab_size": 777')),
            ("lm_head.weight has the shape", "(1000, 64)", "(777, 64)"),
        ),
        (no_head, ("lacks 1 weights", "lm_head")),
        (removed("config.json"), ("has no config.json",)),
        (rewritten("config.json", lambda old: b"{"), ("config.json cannot be read",)),
        (another_model, ("'qwen2_5_vl'", "'fuyu'")),
    ],
)
def test_what_cannot_be_loaded_stops_the_run_with_one_line_and_no_record(
    damage: Any, said: tuple[str, ...], own: Path, tmp_path: Path
) -> None:
    damage(own / "fuyu-8b")
    results = tmp_path / "results"
    with pytest.raises(UserError) as error:
        measure_cells([cell("fuyu-8b")], results)
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in ("fuyu-8b", *said))
    assert not results.exists(), "it was not waited for, and nothing was begun"


@pytest.mark.slow
def test_a_missing_shard_is_named(own: Path) -> None:
    shard = sorted((own / "qwen2.5-vl-3b").glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"has no {shard.name}"):
        loading.require([resolve_cell(cell("qwen2.5-vl-3b"))])


@pytest.mark.slow
def test_weights_that_are_absent_are_never_made_up(own: Path) -> None:
    no_head(own / "fuyu-8b")
    with pytest.raises(UserError, match=r"lacks 1 weights .* lm_head"):
        loading.load(loading.configuration(resolve_cell(cell("fuyu-8b"))))


def offline(tmp_path: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter with an empty cache of the Hub."""
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    clean |= {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    clean.pop(checkpoints.FOLDERS, None)
    return subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False, timeout=120
    )


FIND = """
from vlmnb import models
from vlmnb.models import checkpoints
from vlmnb.errors import UserError
entry = models.get("llava-1.5-7b")
try: print(checkpoints.find(entry), checkpoints.revision(entry))
except UserError as error: print(error)
"""


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
    done = offline(tmp_path, FIND, **environment)
    (line,) = done.stdout.splitlines()
    revision = models.get("llava-1.5-7b").revision
    for part in (
        "llava-1.5-7b has no weights on this machine", "config.json of llava-hf/llava-1.5-7b-hf", why,
        f"hf download llava-hf/llava-1.5-7b-hf --revision {revision}", "weights: random",
    ):  # fmt: skip
        assert part in line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("RevisionNotFound", "has no revision b234b804"),
        ("RepoNotFound", "has no repository llava-hf/llava-1.5-7b-hf"),
        ("GatedRepo", "is gated"),
        ("", "downloading failed"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(code: str, said: str, tmp_path: Path) -> None:
    # The hub's client asks five times, for half a minute in all, where a server answers 500.
    server = f"""
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({501 if not code else 403 if code == "GatedRepo" else 404})
        self.send_header("X-Error-Code", {code!r})
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
    def log_message(self, *args): pass
server = HTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
import os
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{{server.server_port}}"
"""
    done = offline(tmp_path, server + FIND)
    (line,) = done.stdout.splitlines()
    assert said in line


@pytest.mark.slow
def test_a_snapshot_in_the_hubs_cache_is_used_without_network(saved: Path, tmp_path: Path) -> None:
    revision = models.get("llava-1.5-7b").revision
    snapshot = tmp_path / "hf" / "hub" / "models--llava-hf--llava-1.5-7b-hf" / "snapshots" / revision
    shutil.copytree(saved / "llava-1.5-7b", snapshot)
    done = offline(tmp_path, FIND, HF_HUB_OFFLINE="1")
    assert str(snapshot) in done.stdout
    assert f"llava-hf/llava-1.5-7b-hf@{revision}" in done.stdout
    truncate(snapshot)
    assert "truncated" in offline(tmp_path, FIND, HF_HUB_OFFLINE="1").stdout
    (snapshot / "model.safetensors").unlink()
    line = offline(tmp_path, FIND, HF_HUB_OFFLINE="1").stdout
    assert "looked for model.safetensors or model.safetensors.index.json" in line
    snapshot.rename(snapshot.with_name("0" * 40))
    line = offline(tmp_path, FIND, HF_HUB_OFFLINE="1").stdout
    assert f"has revision {'0' * 40}, wanted is {revision}" in line
    assert "set VLMNB_CHECKPOINTS to a folder" in line


def test_the_revision_and_the_seed_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(checkpoints.FOLDERS, raising=False)
    entry = models.get("llava-1.5-7b")
    asked = cell("llava-1.5-7b")
    key = resolve_cell(asked).key
    assert resolve_cell(asked).revisions.weights == f"llava-hf/llava-1.5-7b-hf@{entry.revision}"
    moved = models.registry() | {entry.name: entry.model_copy(update={"revision": "0" * 40})}
    monkeypatch.setattr(models, "registry", lambda: moved)
    assert resolve_cell(asked).key != key
    random = [
        resolve_cell(cell("llava-1.5-7b", weights="random", seed=seed)).revisions.weights for seed in (0, 1)
    ]
    assert random[0] != random[1]
