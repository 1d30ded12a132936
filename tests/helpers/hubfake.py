"""A server that answers for one repository as the Hub does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vlmnb.data import hub


class FakeHub(ThreadingHTTPServer):
    """Serves the files of a folder, and counts the bytes it hands out."""

    def __init__(self, source: hub.HubSet, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.source, self.folder, self.sent = source, folder, 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def entries(self) -> list[dict[str, Any]]:
        """Return what the Hub says of each file."""
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        return [
            {
                "type": "file",
                "oid": "0" * 40,
                "size": file.stat().st_size,
                "path": str(file.relative_to(self.folder)),
            }
            for file in files
        ]

    @contextlib.contextmanager
    def serving(self) -> Iterator[FakeHub]:
        """Answer requests within the block."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        with self:
            yield self
            self.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def reply(self, body: bytes | list[Any] | dict[str, Any], status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        self.send_response(status)
        headers |= {"Content-Length": str(len(content)), "Content-Type": kind, "Accept-Ranges": "bytes"}
        headers |= {"X-Repo-Commit": self.server.source.commit, "ETag": '"0"'}
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode().replace("%2F", "/")
        self.reply([entry for entry in self.server.entries() if entry["path"] in asked])

    def do_GET(self) -> None:
        source, path = self.server.source, self.path.split("?")[0]
        if path.startswith(f"/api/datasets/{source.repository}"):
            names = [{"rfilename": entry["path"]} for entry in self.server.entries()]
            info = {"id": source.repository, "sha": source.commit, "siblings": names, "tags": []}
            return self.reply(self.server.entries() if "/tree/" in path else info)
        prefix = f"/datasets/{source.repository}/resolve/{source.commit}/"
        file = self.server.folder / path.removeprefix(prefix)
        if not path.startswith(prefix) or not file.is_file():
            return self.reply(b"", 404)
        content, asked = file.read_bytes(), self.headers.get("Range")
        if asked is None or self.command == "HEAD":
            return self.reply(content)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1]
        self.server.sent += len(part)
        whole = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self.reply(part, 206, Content_Range=whole)

    do_HEAD = do_GET
