"""Foreign text cannot touch the terminal."""

from __future__ import annotations

import pytest

from agentr_lite.console.text import clean, format_duration


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
