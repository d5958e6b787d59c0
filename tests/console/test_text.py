"""Foreign text cannot touch the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.console.text import clean, display_width, format_duration, wrap_hanging


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
    assert clean(raw) == safe


def test_clean_to_one_line() -> None:
    assert clean("a\nb\tc", keep="") == "a\\nb\\tc"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (9.97, "10s"), (65, "1m 05s"), (7620, "2h 07m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_long_lines_continue_below_their_second_column() -> None:
    text = "  round 1  search 6 tasks with a width of 3, then splice what was found, then train"
    lines = wrap_hanging(text, 40)
    assert lines[0].startswith("  round 1  search") and len(lines) > 2
    assert all(line.startswith(" " * 11) and line[11] != " " for line in lines[1:])
    assert " ".join(line.strip() for line in lines).split() == text.split()
    assert wrap_hanging(text, 200) == [text]


def test_long_lines_without_columns_continue_two_further_in() -> None:
    first, *others = wrap_hanging("  measured: " + "the model and its games " * 4, 40)
    assert first.startswith("  measured: the") and others
    assert all(line.startswith("    ") and line[4] != " " for line in others)
    # A first column that leaves no room is no column.
    assert wrap_hanging("x" * 30 + "  " + "word " * 6, 40)[1].startswith("  word")


@given(st.text(alphabet="ab 木é  -", max_size=120), st.integers(20, 60))
def test_wrapped_lines_fit_and_keep_every_word(text: str, width: int) -> None:
    lines = wrap_hanging(text, width)
    assert max(map(display_width, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())
