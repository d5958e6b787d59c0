"""What is said where Java is missing, broken or old. Needs no Java."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.envs.registry import make_env
from agentr_lite.envs.sciworld import SciWorld
from agentr_lite.envs.sciworld.java import JavaError, find_java
from tests.support.command_line import Call

pytest.importorskip("scienceworld")


def a_java(directory: Path, script: str, *, mode: int = 0o755) -> Path:
    """A program called java."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "java"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


@pytest.fixture
def bin_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is all of the PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return directory


def says(version: str) -> str:
    return f"echo 'openjdk version \"{version}\" 2025-04-15' >&2"


def test_no_java(bin_only: Path) -> None:
    with pytest.raises(JavaError, match="Java is needed and is not on the PATH") as caught:
        SciWorld()
    assert "apt install default-jre-headless" in caught.value.hint
    assert "brew install openjdk" in caught.value.hint


def test_no_java_in_java_home_either(
    bin_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(JavaError, match=r"neither in JAVA_HOME \(.*nowhere\) nor on the PATH"):
        find_java()


def test_java_home_comes_first(
    bin_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_java(bin_only, says("17.0.1"))
    other = a_java(tmp_path / "jdk" / "bin", says("21"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert find_java() == other


def test_a_broken_java_is_quoted(bin_only: Path) -> None:
    java = a_java(bin_only, "echo 'error while loading shared libraries: libjli.so' >&2; exit 127")
    with pytest.raises(JavaError) as caught:
        SciWorld()
    assert f"{java} does not work: `java -version` ended with 127" in caught.value.message
    assert "libjli.so" in caught.value.message


def test_the_placeholder_of_macos_is_no_java(bin_only: Path) -> None:
    a_java(
        bin_only, "echo 'The operation could not be completed. Unable to locate a Java Runtime.'"
    )
    with pytest.raises(JavaError, match=r"does not work: .*Unable to locate a Java Runtime"):
        find_java()


def test_a_java_that_cannot_be_executed(bin_only: Path) -> None:
    java = bin_only / "java"
    java.write_bytes(b"\x7fELF, but not really")
    java.chmod(0o755)
    with pytest.raises(JavaError, match="cannot be started: Exec format error"):
        find_java()


@pytest.mark.parametrize("version", ["1.7.0_80", "6"])
def test_an_old_java_is_refused(bin_only: Path, version: str) -> None:
    a_java(bin_only, says(version))
    with pytest.raises(JavaError, match="8 or newer is needed"):
        find_java()


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "17.0.15", "25-ea"])
def test_newer_ones_are_taken(bin_only: Path, version: str) -> None:
    java = a_java(bin_only, says(version))
    assert find_java() == java


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="'scienceworld' is not installed") as caught:
        SciWorld()
    assert "pip install 'agentr-lite[sciworld]'" in caught.value.hint


def test_a_run_without_java_does_not_begin(cli: Call, bin_only: Path, tmp_path: Path) -> None:
    db = ["--db", str(tmp_path / "runs.db"), "--json"]
    code, out, _ = cli("run", "sciworld", "--set", "rounds=0", *db)
    assert code == 2
    error = json.loads(out)["error"]
    assert error["kind"] == "environment"
    assert "Java is needed" in error["message"]
    assert not (tmp_path / "runs.db").exists()


def test_the_list_shows_the_others_and_says_what_is_missing(cli: Call, bin_only: Path) -> None:
    code, out, _ = cli("envs", "list", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["textcraft"]["train"] > 0
    assert "Java is needed" in rows["sciworld"]["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"games": "some"}, "games cannot be 'some'"),
        ({"test_set": "none"}, "test_set cannot be 'none'"),
        ({"games": "agentgym", "test_set": "published"}, "do not refer to the games of 'agentgym'"),
        ({"simplifications": "easy,fast"}, "simplifications cannot be 'fast'"),
        ({"simplifications": 3}, "simplifications needs a text"),
        ({"step_limit": -1}, "step_limit needs a whole number >= 0"),
        ({"worlds": 0}, "worlds needs a whole number >= 1"),
        ({"heap_mb": True}, "heap_mb needs a whole number >= 64"),
        ({"jvm": 2}, r"no option 'jvm' \(did you mean 'jvms'\?\)"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_env("sciworld", options)
