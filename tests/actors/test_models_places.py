"""``models pull`` with several places: which one is asked, what is said, what is remembered."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from agentr_lite.actors import named_models
from agentr_lite.actors.download import catalog
from agentr_lite.actors.download.places import HubFile, IndexFile
from agentr_lite.actors.registry import resolve_model
from tests.support.command_line import Call, one_error
from tests.support.hub_server import FakeHub
from tests.support.index_server import FakeIndex, asked, left, packaged, serve

REPO, FILE = "someone/Tiny-GGUF", "tiny-q8_0.gguf"
HUB = HubFile(REPO, FILE, 1)
NAMES = ("tiny-part1", "tiny-part2", "tiny-part3")


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


def know(monkeypatch: pytest.MonkeyPatch, *places: HubFile | IndexFile, notice: str = "") -> None:
    item = catalog.CatalogModel("tiny", 1e5, places, "someone/Tiny", "MIT", notice)
    monkeypatch.setattr(catalog, "CATALOG", (item,))


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


def test_a_disk_that_fills_up_while_pip_works(
    content: bytes, tmp_path: Path, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, packaged(content))
    python = tmp_path / "python"
    reason = f"Could not install packages due to an OSError: [Errno {errno.ENOSPC}] No space left"
    python.write_text(f"#!/bin/sh\necho 'ERROR: {reason}'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    code, _, err = cli("models", "pull", "tiny")
    assert code == 1
    assert "No space left on device" in one_error(err)
    assert "free some space" in err
    assert left() == []
