"""Files of a person's: devices are refused, JSON fails in one way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from agentr_lite.core.json_values import load_json
from agentr_lite.core.text_files import read_text
from tests.support.command_line import Call, one_error


def test_a_file_and_a_pipe_are_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbfa\n")
    assert read_text(file, "utf-8-sig") == "a\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("b",))
    writer.start()
    assert read_text(pipe) == "b"
    writer.join()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random"])
def test_a_device_is_none(device: str) -> None:
    with pytest.raises(OSError, match="device"):
        read_text(Path(device))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "textcraft", "--plan", "--recipes-dir", "/dev/zero"),
        ("run", "textcraft", "--plan", "--set", "agent.chat_template=/dev/zero"),
        ("run", "textcraft", "--plan", "--set", "agent.grammar=/dev/zero"),
        ("run", "textcraft", "--plan", "--set", "train.general=/dev/zero"),
        ("demos", "import", "/dev/zero", "textcraft"),
        ("convert", "adapter", "x", "-o", "y", "--base", "z", "--check", "--text", "/dev/zero"),
    ],
)
def test_commands_refuse_devices(cli: Call, words: tuple[str, ...]) -> None:
    code, _, err = cli(*words)
    assert code in (2, 3)
    if "--plan" not in words:
        one_error(err)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, b"\xff", "", "{", "nan", "\ud800"]
)
def test_json_that_is_none(text: str | bytes) -> None:
    with pytest.raises(ValueError) as caught:
        load_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"messages": ' * 50_000, "9" * 5_000, "[NaN]"])
def test_conversations_of_hostile_json(cli: Call, tmp_path: Path, text: str) -> None:
    file = tmp_path / "hostile.json"
    file.write_text(text)
    code, _, err = cli("demos", "import", file, "textcraft")
    assert code in (1, 2, 5), err
    assert "Traceback" not in err
