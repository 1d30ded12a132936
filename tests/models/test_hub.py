"""Models by the name of a repository, from nothing: a fake Hub serves files, or refuses them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import small_families

COMMIT = "c" * 40
REFUSED = {"org/closed": (401, ""), "org/private": (403, ""), "org/gated": (403, "GatedRepo"),
           "org/nothing": (404, "RepoNotFound")}  # fmt: skip


class Hub(BaseHTTPRequestHandler):
    """Serves folders as repositories: their list of files, and each file with its commit."""

    root: Path
    asked: list[str]

    def do_GET(self) -> None:
        """Answer a question of the client."""
        parts = self.path.partition("?")[0].strip("/").removeprefix("api/models/").split("/")
        repository, rest = "/".join(parts[:2]), parts[2:]
        folder = self.root / repository
        if repository in REFUSED or not folder.is_dir():
            code, error = REFUSED.get(repository, (404, "RepoNotFound"))
            self._send(code, b"", {"X-Error-Code": error} if error else {})
        elif rest[:1] == ["resolve"]:
            file = folder / "/".join(rest[2:])
            self.asked.append("/".join((repository, *rest[2:])))
            self._send(200, file.read_bytes(), {"X-Repo-Commit": COMMIT, "ETag": f'"{file.name}"'})
        elif rest[:1] == ["tree"]:
            self._send(200, json.dumps([{"type": "file", "path": n, "size": 1, "oid": "0"}
                                        for n in _names(folder)]).encode(), {})  # fmt: skip
        else:
            listed = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": n} for n in _names(folder)]}
            self._send(200, json.dumps(listed).encode(), {})

    do_HEAD = do_GET

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


def _names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.glob("**/*") if file.is_file())


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The address of a fake Hub, and what was asked of it."""
    root = tmp_path_factory.mktemp("hub")
    whole = small_families.build("smolvlm", root / "org" / "whole")
    shards = shutil.copytree(whole, root / "org" / "shards")
    _in_shards(shards)
    (shards / "original").mkdir()
    shutil.copy(whole / "model.safetensors", shards / "original" / "model.safetensors")
    for name, change in {
        "code": {"model_type": "own_vlm", "auto_map": {"AutoModel": "modeling.Own"}},
        "newer": {"model_type": "vlm_of_2030", "transformers_version": "9.0.0"},
        "text": {"model_type": "qwen2"},
        "encoder": {"model_type": "bert"},
    }.items():
        folder = root / "org" / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(change), encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"weights")
    binary = shutil.copytree(whole, root / "org" / "binary")
    (binary / "model.safetensors").rename(binary / "pytorch_model.bin")
    for size in ("base", "large"):
        (root / "org" / "several" / size).mkdir(parents=True)
        shutil.copy(whole / "config.json", root / "org" / "several" / size)
    package = shutil.copytree(whole, root / "org" / "package")
    config = json.loads((package / "preprocessor_config.json").read_text(encoding="utf-8"))
    config["image_processor_type"] = "Lfm2VlImageProcessor"
    (package / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    handler = type("Handler", (Hub,), {"root": root, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
    server.shutdown()


def _in_shards(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    where = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(where.values()):
        part = {name: weights[name] for name in names if where[name] == shard}
        save_file(part, folder / shard, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


MEASURE = """
import sys
from pathlib import Path
from vlmnb.errors import UserError
from vlmnb.measure.cells import measure_cells
from vlmnb.spec import planning
for name in sys.argv[1:]:
    try:
        plan = planning.plan("batch_size", {"model": name, "samples": 2, "batch_sizes": [2],
                             "length": "natural", "max_new_tokens": 2, "device": "cpu"})
        (found,) = measure_cells(plan.cells, Path("results"))
        print(name, found.status, found.cell.image_size, found.cell.dataset, found.provenance.weights)
    except UserError as error:
        print(name, "refused", *str(error).splitlines())
"""


@pytest.mark.slow
def test_from_nothing_a_repository_is_measured_or_refused_in_one_line(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = hub
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    for name in ("VLMNB_CHECKPOINTS", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        clean.pop(name, None)
    clean |= {
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HF_ENDPOINT": address,
    }
    words = {
        "org/whole": ["ok", "64", "textvqa-mini", f"org/whole@{COMMIT}"],
        "org/shards": ["ok", "64", "textvqa-mini", f"org/shards@{COMMIT}"],
        "org/closed": ["401", "log in"],
        "org/private": ["gated", "log in"],
        "org/gated": ["accept its terms"],
        "org/nothing": ["no repository"],
        "org/code": ["auto_map", "never run"],
        "org/newer": ["vlm_of_2030", "9.0.0", "newer"],
        "org/text": ["text model"],
        "org/encoder": ["bert"],
        "org/binary": ["pytorch_model.bin", "safetensors"],
        "org/several": ["base, large", "config.json"],
        "org/package": ["torchvision"],
    }
    command = [sys.executable, "-c", MEASURE, *words]
    done = subprocess.run(
        command, env=clean, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert len(done.stdout.splitlines()) == len(words)
    for name, expected in words.items():
        assert all(word in lines[name] for word in expected), lines[name]
        assert ("refused" in lines[name]) == (expected[0] != "ok")
    weights = sorted(one for one in asked if one.endswith((".safetensors", ".bin")))
    assert weights
    assert all(one.startswith(("org/whole/model", "org/shards/model")) for one in weights)
