"""Downloads against a hub of our own: whole, cut, wrong, forbidden, full, offline."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from agentr_lite.actors import named_models
from agentr_lite.actors.download import catalog, hub
from agentr_lite.actors.download.fetched import Fetched
from agentr_lite.actors.download.places import HubFile
from agentr_lite.actors.registry import check_model, resolve_model
from agentr_lite.core.config import models_dir
from agentr_lite.core.errors import ModelError
from tests.support.command_line import Call, one_error
from tests.support.hub_server import COMMIT, FakeHub
from tests.support.tiny_gguf import write_tiny_model

REPO, FILE = "someone/Tiny-GGUF", "tiny-q8_0.gguf"


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    found = FakeHub()
    found.files[REPO] = {FILE: content, "README.md": b"read me"}
    found.files["someone/Tiny"] = {
        "config.json": b"{}",
        "tokenizer.json": b'{"a": 1}',
        "model.safetensors": b"weights" * 1000,
        "onnx/model.onnx": b"another format",
        "pytorch_model.bin": b"yet another",
    }
    # No second's wait between attempts.
    clock = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.file_download, "time", clock)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    # What a cut connection had not filled is lost: small, as these files are.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100)
    with found.running() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield found


def fetch(**options: Any) -> Fetched:
    return hub.fetch(REPO, FILE, models_dir(), **options)


def parts() -> list[Path]:
    return list(models_dir().rglob("*.part"))


def test_a_file_comes_whole_and_is_not_fetched_twice(server: FakeHub, content: bytes) -> None:
    told: list[tuple[int, int]] = []
    got = fetch(on_bytes=lambda file, there, total: told.append((there, total)))
    assert got.path.read_bytes() == content
    assert (got.revision, got.size_bytes, got.was_there) == (COMMIT, len(content), False)
    assert told[0] == (0, len(content))
    assert told[-1] == (len(content), len(content))
    assert fetch().was_there
    assert server.ranges == [None]
    assert not parts()


def test_a_connection_that_is_cut_is_taken_up_again(server: FakeHub, content: bytes) -> None:
    server.cut_after = [1000, 500]
    assert fetch().path.read_bytes() == content
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_command_goes_on_where_one_was_killed(server: FakeHub, content: bytes) -> None:
    def stop(file: str, there: int, total: int) -> None:
        if there:
            raise KeyboardInterrupt

    server.cut_after = [4096]
    with pytest.raises(KeyboardInterrupt):
        fetch(on_bytes=stop)
    # What had been written when it stopped, whatever it was, is not fetched again.
    [part] = parts()
    part.write_bytes(content[:2048])
    told: list[int] = []
    assert (
        fetch(on_bytes=lambda file, there, total: told.append(there)).path.read_bytes() == content
    )
    assert server.ranges[-1] == "bytes=2048-"
    assert told[0] == 2048


def test_a_server_without_ranges_starts_again(server: FakeHub, content: bytes) -> None:
    server.ranged, server.cut_after = False, [1000]
    assert fetch().path.read_bytes() == content


def test_a_wrong_checksum_is_refused_and_leaves_nothing(server: FakeHub) -> None:
    server.lies = {FILE}
    with pytest.raises(ModelError, match="does not have the checksum"):
        fetch()
    assert not [path for path in models_dir().rglob("*") if path.is_file()]


def test_a_part_of_something_else_is_noticed(server: FakeHub, content: bytes) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(on_bytes=stop)
    parts()[0].write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="does not have the checksum"):
        fetch()
    assert fetch().path.read_bytes() == content


def test_a_damaged_file_is_fetched_again(server: FakeHub, content: bytes) -> None:
    path = fetch().path
    path.write_bytes(content[:-1] + b"!")
    assert not fetch().was_there
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("refusal", "message", "hint"),
    [
        ((401, "RepoNotFound"), "no repository", "HF_TOKEN"),
        ((404, "RepoNotFound"), "no repository", "HF_TOKEN"),
        ((403, "GatedRepo"), "gated", "HF_TOKEN"),
        ((404, "EntryNotFound"), "has no file", "lists them"),
        ((404, "RevisionNotFound"), "no revision 'main'", ""),
        ((403, ""), r"HTTP 403", "HF_TOKEN"),
        ((418, ""), r"HTTP 418", "later"),
    ],
)
def test_a_refusal_says_what_to_do(
    server: FakeHub, refusal: tuple[int, str], message: str, hint: str
) -> None:
    server.refusal = refusal
    with pytest.raises(ModelError, match=message) as caught:
        fetch()
    assert hint in caught.value.hint


def test_too_little_space_is_said_before_anything_comes(
    server: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(ModelError, match="are needed") as caught:
        fetch()
    assert "AGENTR_LITE_MODELS" in caught.value.hint
    assert not server.ranges


def test_a_disk_that_fills_up_keeps_what_came(
    server: FakeHub, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", full)
    code, _, err = cli("models", "pull", f"{REPO}/{FILE}")
    assert code == 1
    assert "No space left" in one_error(err)


def test_offline_is_explained(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        fetch()


def test_nobody_there_is_explained(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        fetch()
    assert "models add" in caught.value.hint


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "a/../../b.gguf"])
def test_a_path_does_not_lead_out(server: FakeHub, file: str) -> None:
    with pytest.raises(ModelError, match="not the path of a file"):
        hub.fetch(REPO, file, models_dir())


def test_a_token_goes_to_the_hub(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch()
    assert server.tokens[0] == "Bearer hf_secret"


# The commands ---------------------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    item = catalog.CatalogModel("tiny", 1e5, (HubFile(REPO, FILE, 1),), "someone/Tiny", "MIT")
    monkeypatch.setattr(catalog, "CATALOG", (item,))


@pytest.mark.usefixtures("known")
def test_pull_use_and_remove(server: FakeHub, cli: Call) -> None:
    code, _, err = cli("search", "textcraft", "--model", "tiny")
    assert code == 3
    assert "models pull tiny" in err
    code, out, err = cli("models", "pull", "tiny", "--train", "--json")
    assert code == 0, err
    entry = json.loads(out)
    assert (entry["source"], entry["revision"]) == (f"{REPO}/{FILE}", COMMIT)
    files = resolve_model("tiny")
    assert files.name == "tiny"
    assert files.train_dir is not None
    assert sorted(path.name for path in files.train_dir.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    check_model("tiny")
    assert cli("models", "show", "tiny")[0] == 0
    rows = json.loads(cli("models", "--json")[1])
    assert [(row["name"], row["state"]) for row in rows] == [
        ("starter", "bundled"),
        ("tiny", "downloaded"),
    ]
    code, out, err = cli("models", "pull", "tiny")
    assert "is here already" in err
    # The training weights that were fetched earlier stay known.
    assert resolve_model("tiny").train_dir == files.train_dir
    code, out, _ = cli("models", "remove", "tiny", "--json")
    assert len(json.loads(out)["deleted"]) == 2
    assert not [path for path in models_dir().rglob("*") if path.is_file()]
    assert cli("models", "remove", "tiny")[0] == 3


def test_a_file_that_two_names_share_stays(server: FakeHub, cli: Call) -> None:
    for name in ("one", "two"):
        assert cli("models", "pull", f"{REPO}/{FILE}", "--as", name)[0] == 0
    assert json.loads(cli("models", "remove", "one", "--json")[1])["deleted"] == []
    assert resolve_model("two").gguf.is_file()


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_folder_stays_as_far_as_another_name_needs_it(
    server: FakeHub, cli: Call, content: bytes, first: str
) -> None:
    # The second one's file lies in the folder of the first one's training weights.
    server.files["someone/Tiny"]["tiny.gguf"] = content
    pulls = {"one": (f"{REPO}/{FILE}", "--train-repo", "someone/Tiny")}
    pulls["two"] = ("someone/Tiny/tiny.gguf",)
    for name, words in pulls.items():
        assert cli("models", "pull", *words, "--as", name)[0] == 0
    folder = models_dir() / "someone--Tiny"
    assert cli("models", "remove", first)[0] == 0
    kept = sorted(path.name for path in folder.iterdir())
    if first == "one":
        assert kept == ["tiny.gguf"]
        assert resolve_model("two").gguf.is_file()
    else:
        assert kept == ["config.json", "model.safetensors", "tokenizer.json"]
    assert cli("models", "remove", "two" if first == "one" else "one")[0] == 0
    assert not any(models_dir().iterdir())


@pytest.mark.usefixtures("known")
def test_what_is_pulled_cannot_take_a_name_that_means_something_else(
    server: FakeHub, cli: Call, content: bytes
) -> None:
    server.files["else/Other-GGUF"] = {"tiny.gguf": content}
    for words in (("--as", "starter"), ("--as", "tiny"), ()):
        code, _, err = cli("models", "pull", "else/Other-GGUF/tiny.gguf", *words)
        assert code == 2
        one_error(err)
        assert "--as NAME" in err
    assert not named_models.entries()
    assert not server.ranges
    # By its path it is the same model.
    assert cli("models", "pull", f"{REPO}/{FILE}", "--as", "tiny")[0] == 0
    assert cli("models", "remove", "tiny")[0] == 0
    named_models.put(named_models.NamedModel("tiny", "/somewhere/else.gguf"))
    code, _, err = cli("models", "pull", "tiny")
    assert code == 2
    assert "already" in one_error(err)
    assert "models remove tiny" in err
    assert "--force" not in err


def test_a_repository_with_one_file_needs_no_path(server: FakeHub, cli: Call) -> None:
    code, _, err = cli("models", "pull", REPO)
    assert code == 0, err
    assert named_models.find("tiny-q8_0") is not None
    server.files[REPO]["another.gguf"] = b""
    code, _, err = cli("models", "pull", REPO)
    assert code == 2
    assert f"{REPO}/another.gguf" in err


def test_what_is_no_model_gets_no_name(server: FakeHub, cli: Call) -> None:
    server.files[REPO]["broken.gguf"] = b"GGUF" + bytes(100)
    code, _, err = cli("models", "pull", f"{REPO}/broken.gguf")
    assert code == 3, err
    assert named_models.find("broken") is None


def test_names_of_ones_own(tmp_path: Path, cli: Call) -> None:
    path = write_tiny_model(tmp_path / "mine.gguf")
    code, _, err = cli("models", "add", "mine", path)
    assert code == 0, err
    assert resolve_model("mine").gguf == path.resolve()
    assert cli("models", "add", "box", "openai:http://box:8000#big")[0] == 0
    states = {row["name"]: row["state"] for row in json.loads(cli("models", "--json")[1])}
    assert (states["mine"], states["box"]) == ("named", "server")
    assert "models remove mine" in cli("models", "add", "mine", path)[2]
    path.rename(tmp_path / "moved.gguf")
    states = {row["name"]: row["state"] for row in json.loads(cli("models", "--json")[1])}
    assert states["mine"] == "missing"
    # What was not downloaded is not deleted.
    shutil.copy(tmp_path / "moved.gguf", path)
    assert json.loads(cli("models", "remove", "mine", "--json")[1])["deleted"] == []
    assert path.is_file()


def test_a_name_is_not_given_to_a_name(tmp_path: Path, cli: Call) -> None:
    path = write_tiny_model(tmp_path / "mine.gguf")
    assert cli("models", "add", "mine", path)[0] == 0
    for model, hint in (("starter", "--model starter"), ("mine", str(path))):
        code, _, err = cli("models", "add", "second", model)
        assert code == 2
        assert "is a model's name already" in one_error(err)
        assert hint in err
    assert list(named_models.entries()) == ["mine"]


def test_a_directory_for_mlx_is_found_from_everywhere(
    tmp_path: Path, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "mdl").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "here" / "mdl" / name).write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    assert cli("models", "add", "mine", "mlx:mdl")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert resolve_model("mine").gguf == (tmp_path / "here" / "mdl").resolve()


@pytest.mark.parametrize("name", ["starter", "a/b", "x.gguf", "-x", "openai:x", "qwen3-0.6b"])
def test_a_name_that_means_something_else_is_refused(name: str, tmp_path: Path, cli: Call) -> None:
    path = write_tiny_model(tmp_path / "mine.gguf")
    assert cli("models", "add", "--", name, path)[0] == 2
    assert not named_models.entries()


def test_a_damaged_list_is_said_and_not_overwritten(cli: Call, tmp_path: Path) -> None:
    named_models.list_file().parent.mkdir(parents=True, exist_ok=True)
    named_models.list_file().write_text('{"models": {"x": 3}}')
    path = write_tiny_model(tmp_path / "mine.gguf")
    code, _, err = cli("models", "add", "mine", path)
    assert code == 3
    assert "damaged" in one_error(err)
    assert named_models.list_file().read_text() == '{"models": {"x": 3}}'


def test_the_catalogue_is_usable() -> None:
    names = [item.name for item in catalog.CATALOG]
    assert len(set(names)) == len(names)
    for item in catalog.CATALOG:
        named_models.check_name(item.name)
        assert item.parameters <= 4e9
        assert item.places
        if item.train_repo:
            assert item.train_repo.count("/") == 1
        for place in item.places:
            assert hub.gguf_files([place.file]) == [place.file]
            if isinstance(place, HubFile):
                assert place.repo.count("/") == 1
