"""stdout is data, stderr is narration."""

from __future__ import annotations

import io

import click
import pytest
from click.testing import CliRunner

from agentr_lite.console.streams import emit, emit_lines, emit_table, say, warn
from agentr_lite.console.text import Styled


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_streams() -> None:
    @click.command()
    def command() -> None:
        emit_table(["a"], [["x"]])
        say("working \x1b[2J")
        warn("odd", hint="do this")

    result = CliRunner().invoke(command)
    assert result.stdout == "a\n-\nx\n"
    assert result.stderr == "working \\x1b[2J\nwarning: odd\n  do this\n"


def test_no_color_wins_over_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    emit(click.style("hello", fg="red"))
    assert "\x1b[31m" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    emit(click.style("hello", fg="red"))
    assert "\x1b" not in terminal.getvalue()


def test_hidden_columns_are_named_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        emit_table(["run", "seed", "trees"], [["a" * 20, 1, 2]], keep=["run"])

    # Shells do not export it by themselves: who sets it wants it, in a pipe as well.
    monkeypatch.setenv("COLUMNS", "26")
    result = CliRunner().invoke(command)
    assert result.stdout.splitlines()[-1] == "a" * 20 + "     1"
    assert " ".join(result.stderr.split()) == "Hidden, because the terminal is narrow: trees."
    monkeypatch.setenv("COLUMNS", "wide")
    assert CliRunner().invoke(command).stderr == ""


def test_long_lines_are_wrapped_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "       Go on with: agentr-lite models pull smollm2-135m --from index"
    prose = "  ok       model: it is there, it loads, and it has a chat template"

    @click.command()
    def lines() -> None:
        emit_lines([prose, command, Styled("verdict: better than base after round 2", bold=True)])

    assert CliRunner().invoke(lines).stdout.splitlines()[:2] == [prose, command]
    monkeypatch.setenv("COLUMNS", "32")
    shown = CliRunner().invoke(lines).stdout.splitlines()
    assert shown[:3] == [
        "  ok       model: it is there,",
        "           it loads, and it has",
        "           a chat template",
    ]
    assert command in shown
    assert shown[-2:] == ["verdict: better than base", "  after round 2"]

    @click.command()
    def comments() -> None:
        emit_lines([prose, command], lead="# ")

    shown = CliRunner().invoke(comments).stdout.splitlines()
    assert shown[0] == "#   ok       model: it is there," and shown[-1] == f"# {command}"
    assert all(line.startswith("# ") and len(line) <= 32 for line in shown[:-1])


def test_narration_is_wrapped_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "No demonstrations in runs.db. `agentr-lite demos make ENV` makes some."
    prose = "Hidden, because the terminal is narrow: created, model, seed."

    @click.command()
    def lines() -> None:
        say(f"{prose}\n{command}")
        say(Styled(prose, dim=True))
        warn(prose, hint=prose)

    whole = [prose, command, prose, f"warning: {prose}", f"  {prose}"]
    assert CliRunner().invoke(lines).stderr.splitlines() == whole
    monkeypatch.setenv("COLUMNS", "40")
    shown = CliRunner().invoke(lines).stderr.splitlines()
    parts = ["Hidden, because the terminal is", "  narrow: created, model, seed."]
    assert shown[:5] == [*parts, command, *parts]
    assert shown[5:] == [
        "warning: Hidden, because the terminal",
        "  is narrow: created, model, seed.",
        "  Hidden, because the terminal is",
        "    narrow: created, model, seed.",
    ]
