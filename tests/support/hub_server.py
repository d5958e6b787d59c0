"""A hub of one's own: as much of the Hugging Face hub's protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.quiet_server import QuietServer

COMMIT = "c" * 40


class FakeHub:
    """Repositories in memory.

    Attributes:
        files: repository to path to content.
        ranges: the ``Range`` header of each ``GET`` of a file, None without one.
        cut_after: how many bytes of a file come before the connection is closed, one item a
            ``GET``; then whole ones.
        lies: paths whose checksum is given wrong.
        refusal: status and ``X-Error-Code`` of every answer, if any.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.ranges: list[str | None] = []
        self.cut_after: list[int] = []
        self.lies: set[str] = set()
        self.refusal: tuple[int, str] | None = None
        self.ranged = True
        self.tokens: list[str | None] = []

    def _handle(self, handler: BaseHTTPRequestHandler, *, head: bool) -> None:
        self.tokens.append(handler.headers.get("authorization"))
        if self.refusal is not None:
            status, code = self.refusal
            return _send(handler, status, b"", {"X-Error-Code": code} if code else {})
        path = unquote(urlsplit(handler.path).path).strip("/")
        if path.startswith("api/models/"):
            repo = "/".join(path.split("/")[2:4])
            if repo not in self.files:
                return _send(handler, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return self._tree(handler, repo)
        owner, name, _, _, *rest = path.split("/")
        content = self.files.get(f"{owner}/{name}")
        if content is None:
            return _send(handler, 404, b"", {"X-Error-Code": "RepoNotFound"})
        file = "/".join(rest)
        if file not in content:
            return _send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"})
        self._file(handler, file, content[file], head=head)
        return None

    def _tree(self, handler: BaseHTTPRequestHandler, repo: str) -> None:
        rows: list[dict[str, Any]] = [
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
            for path, data in self.files[repo].items()
        ]
        _send(handler, 200, json.dumps(rows).encode(), {"Content-Type": "application/json"})

    def _file(self, handler: BaseHTTPRequestHandler, file: str, data: bytes, *, head: bool) -> None:
        if file.endswith((".gguf", ".safetensors")):
            checksum = hashlib.sha256(data).hexdigest()
        else:
            checksum = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if file in self.lies:
            checksum = checksum[::-1]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{checksum}"'}
        if head:
            return _send(handler, 200, data, headers, body=False)
        asked = handler.headers.get("range")
        self.ranges.append(asked)
        status, start = 200, 0
        if asked and self.ranged:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            status = 206
        cut = self.cut_after.pop(0) if self.cut_after else None
        _send(handler, status, data[start:], headers, cut=cut)
        return None

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port; gives the address for ``HF_ENDPOINT``."""
        handle = self._handle

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                handle(self, head=True)

            def do_GET(self) -> None:
                handle(self, head=False)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    data: bytes,
    headers: dict[str, str],
    *,
    body: bool = True,
    cut: int | None = None,
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    if body:
        handler.wfile.write(data if cut is None else data[:cut])
    if cut is not None:
        handler.wfile.flush()
        handler.close_connection = True
