"""Options and arguments that nobody means; ``tests.support.hostile_options`` has all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentr_lite.cli import cli
from tests.support.command_line import Call, one_error
from tests.support.hostile_options import calls, commands, fault

EVERY = 23
"""Calls between two that are made here."""


@pytest.mark.parametrize(
    ("name", "command"), [pytest.param(*row, id=row[0]) for row in commands(cli)]
)
def test_every_command(
    name: str, command: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115 - nobody answers
    made = list(calls(name, command))  # type: ignore[arg-type]
    begin = sum(map(ord, name)) % EVERY
    wrong = {str(words): fault(words, never) for words, never in made[begin::EVERY]}
    assert not {words: what for words, what in wrong.items() if what}


@pytest.mark.parametrize("value", ["9" * 400, "-" + "9" * 30, str(2**63)])
@pytest.mark.parametrize("verb", ["trees --tree", "trees --depth", "demos show", "export --round"])
def test_numbers_that_no_database_holds(cli: Call, filled: Path, verb: str, value: str) -> None:
    more = ("-o", "x.jsonl") if verb.startswith("export") else ()
    code, out, err = cli(*verb.split(), *(("--",) if "show" in verb else ()), value, *more)
    assert (code, out) == (2, "")
    assert len(one_error(err)) < 1_100


@pytest.mark.parametrize("bytes_", [b"\xff", b"x/\xc3\x28.gguf", b"--model=\xed\xa0\x80"])
def test_bytes_that_are_no_text(bytes_: bytes, tmp_path: Path) -> None:
    words = [os.fsencode(sys.executable), b"-m", b"agentr_lite", b"runs", b"show", bytes_]
    ended = subprocess.run(words, capture_output=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert "is not valid UTF-8" in one_error(ended.stderr.decode())
