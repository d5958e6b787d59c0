"""Commands that compute begin once more, with a setting that glibc reads when a process begins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentr_lite.console import large_pages

TELLS = 'import os\nraise RuntimeError("tunables: " + os.environ.get("GLIBC_TUNABLES", "none"))\n'


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The processes that were begun, on a system that gives large pages to who asks."""
    processes: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: processes.append([program, *words]))
    monkeypatch.setattr(large_pages, "requests_held", lambda *, held: None)
    monkeypatch.setattr(large_pages, "MODE", tmp_path / "enabled")
    monkeypatch.setattr(large_pages, "_knows_the_setting", lambda: True)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "agentr_lite", "run", "textcraft"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    return processes


def test_begins_with_the_same_words(begun: list[list[str]]) -> None:
    large_pages.begin_with_large_pages()
    words = [sys.executable, sys.executable, "-m", "agentr_lite", "run", "textcraft"]
    assert begun == [words]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    large_pages.begin_with_large_pages()
    assert begun == [words], "once"


def test_keeps_other_settings(begun: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    large_pages.begin_with_large_pages()
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=3:glibc.malloc.hugetlb=1"
    assert len(begun) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["runs"], ["tui"], ["run", "--help"], ["eval", "-h"]]
)
def test_light_commands_begin_once(arguments: list[str]) -> None:
    assert not large_pages.computes(arguments)
    assert large_pages.computes(["run", "textcraft"])


@pytest.mark.parametrize("mode", ["[always] madvise never", "always madvise [never]", ""])
def test_not_where_it_changes_nothing(begun: list[list[str]], tmp_path: Path, mode: str) -> None:
    (tmp_path / "enabled").write_text(mode)
    large_pages.begin_with_large_pages()
    (tmp_path / "enabled").unlink()
    large_pages.begin_with_large_pages()
    assert not begun


def test_a_user_can_switch_it_off(begun: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    large_pages.begin_with_large_pages()
    assert not begun


def test_works_without_them_where_no_process_can_begin(
    begun: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(os, "execv", refuse)
    large_pages.begin_with_large_pages()


@pytest.mark.skipif(
    large_pages.large_pages() != "madvise" or not large_pages._knows_the_setting(),
    reason="this system needs no setting for large pages, or has none",
)
def test_the_program_does(tmp_path: Path) -> None:
    game = tmp_path / "game.py"
    game.write_text(TELLS)
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    said = {}
    for command in ("eval", "play"):
        words = [sys.executable, "-m", "agentr_lite", command, str(game)]
        ended = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert ended.returncode
        said[command] = ended.stderr
    assert "tunables: glibc.malloc.hugetlb=1" in said["eval"]
    assert "tunables: none" in said["play"]
