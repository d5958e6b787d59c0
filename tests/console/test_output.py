"""stdout is data, stderr is narration, and foreign text cannot touch the terminal."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agentr_lite.console import output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass only when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("plain ünïcode 木", "plain ünïcode 木"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31mred", "\\x9b31mred"),
        ("abc\u202edcb", "abc\\u202edcb"),
        ("a\u2066b", "a\\u2066b"),
        ("bell\x08\x7f\r", "bell\\x08\\x7f\\r"),
        ("lone \ud800", "lone \\ud800"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("kept\n\tthese", "kept\n\tthese"),
    ],
)
def test_clean_escapes_what_a_terminal_would_obey(raw: str, safe: str) -> None:
    assert output.clean(raw) == safe


def test_clean_to_one_line() -> None:
    assert output.clean("a\nb\tc", keep="") == "a\\nb\\tc"


def test_table_aligns_numbers_right_and_text_left() -> None:
    table = output.format_table(["task", "steps"], [["stick", 4], ["木 door", 12]])
    assert table.split("\n") == [
        "task     steps",
        "-------  -----",
        "stick        4",
        "木 door     12",
    ]


def test_table_fits_the_width_and_says_what_it_cut() -> None:
    table = output.format_table(["name", "n"], [["x" * 50, 1]], width=20)
    assert max(map(output.display_width, table.split("\n"))) <= 20
    assert "…" in table


def test_table_paints_only_what_is_styled_and_escapes_all_cells() -> None:
    cells = ["\x1b[31mred\n", output.Styled("ok \x1b", fg="green")]
    table = output.format_table(["a", "b"], [cells])
    assert "\\x1b[31mred\\n" in table
    assert "\x1b[31m" not in table
    assert click.style("ok \\x1b", fg="green") in table


def test_table_refuses_a_ragged_row() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        output.format_table(["a", "b"], [["x"]])


@dataclass
class _Record:
    path: Path
    value: float
    items: tuple[int, ...]


def test_json_of_dataclasses_paths_and_nan() -> None:
    text = output.dump_json(_Record(Path("a/b"), float("nan"), (1, 2)))
    assert json.loads(text) == {"path": "a/b", "value": None, "items": [1, 2]}


def test_json_of_numpy_scalars() -> None:
    import numpy as np

    assert json.loads(output.dump_json({"x": np.float64(0.5), "n": np.int64(3)})) == {
        "x": 0.5,
        "n": 3,
    }


def test_json_is_harmless_and_round_trips() -> None:
    nasty = "a\x9b\u202e\x7f\U000e0041\ud800 木"
    text = output.dump_json({"text": nasty})
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "木" in text
    text.encode("utf-8")
    assert json.loads(text)["text"] == nasty


def test_json_refuses_what_has_no_json_form() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        output.dump_json({"x": object()})


def test_streams() -> None:
    @click.command()
    def command() -> None:
        output.emit_table(["a"], [["x"]])
        output.say("working \x1b[2J")
        output.warn("odd", hint="do this")

    result = CliRunner().invoke(command)
    assert result.stdout == "a\n-\nx\n"
    assert result.stderr == "working \\x1b[2J\nwarning: odd\n  do this\n"


def test_no_color_wins_over_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.emit(click.style("hello", fg="red"))
    assert "\x1b[31m" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    output.emit(click.style("hello", fg="red"))
    assert "\x1b" not in terminal.getvalue()


def test_progress_in_a_pipe_prints_few_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = output.Progress(stream=stream, interval_s=30, clock=clock)
    progress.start("search", 10)
    for _ in range(10):
        clock.now += 7
        progress.advance(1, note="3 nodes")
    progress.finish()
    assert stream.getvalue().split("\n") == [
        "search: 5/10 · ETA 35s · 3 nodes",
        "search: 10/10 · 3 nodes",
        "search: 10/10 in 1m 10s · 3 nodes",
        "",
    ]


def test_progress_on_a_terminal_redraws_one_line() -> None:
    stream, clock = Terminal(), Clock()
    progress = output.Progress(stream=stream, clock=clock)
    progress.start("eval", 4)
    clock.now += 10
    progress.advance(1, note="a\nb")
    assert stream.getvalue().count("\n") == 0
    assert stream.getvalue().endswith("█████░░░░░░░░░░░░░░░ eval: 1/4 · ETA 30s · a\\nb")
    progress.finish("done")
    assert stream.getvalue().endswith("\r\x1b[Keval: 1/4 in 10s · done\n")


def test_progress_eta_ignores_what_an_earlier_process_did() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = output.Progress(stream=stream, interval_s=0, clock=clock)
    progress.start("search", 100, initial=90)
    clock.now += 10
    progress.advance(5)
    assert stream.getvalue() == "search: 95/100 · ETA 10s\n"


def test_narration_clears_the_bar_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("NO_COLOR", "1")
    with output.Progress() as progress:
        progress.start("train", 2)
        output.say("saved")
    assert "\r\x1b[Ksaved\n" in stream.getvalue()


def test_progress_leaves_no_claim_of_an_end_when_the_stage_raised() -> None:
    stream = Terminal()
    with pytest.raises(RuntimeError), output.Progress(stream=stream) as progress:
        progress.start("train", 2)
        raise RuntimeError
    assert stream.getvalue().endswith("\r\x1b[K")
    assert " in " not in stream.getvalue()


def test_silent_progress_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    progress = output.silent_progress()
    progress.start("x", 1)
    progress.advance()
    progress.finish()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (9.97, "10s"), (65, "1m 05s"), (7620, "2h 07m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert output.format_duration(seconds) == text


def test_kept_columns_are_never_cut() -> None:
    rows = [["textcraft-20261122-abcd", "a long remark that gives way"]]
    shown = output.format_table(["run", "remark"], rows, width=36, keep=["run"]).splitlines()[-1]
    assert shown.startswith("textcraft-20261122-abcd  ") and shown.endswith("…")
    assert len(shown) <= 36
