"""Foreign text as lines, tables that fit, and plots."""

from __future__ import annotations

import pytest
from agentr_lite_tui.figures import interval, percent, short
from agentr_lite_tui.lines import MAX_SHOWN, crop, fold, one_line, pad, paragraphs, spread, width_of
from agentr_lite_tui.plots import interval_row, scale_row, sparkline
from agentr_lite_tui.table import Column, fit
from rich.cells import cell_len

HOSTILE = (
    "\x1b[31mred\x1b[0m [bold]b[/bold] \x00\x07 \u202eabc\u202c 日本語 👩‍👩‍👧 \ud800 e\u0301 \x9b2J"
)


def is_inert(text: str) -> bool:
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u202c\ud800" for c in text)


@pytest.mark.parametrize("width", [1, 2, 7, 20, 80])
def test_hostile_text_is_inert_and_fits(width: int) -> None:
    lines = paragraphs(HOSTILE + "\r\n\tsecond", width)
    assert all(is_inert(line) for line in lines)
    # A character of two columns cannot be cut to fit into one.
    assert all(cell_len(line) <= max(width, 2) for line in lines)
    assert is_inert(one_line(HOSTILE + "\n\t"))


def test_markup_stays_text() -> None:
    assert paragraphs("[bold red]x[/] :smile:", 40) == ["[bold red]x[/] :smile:"]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("a\n\nb", 9, ["a", "", "b"]),
        ("", 9, [""]),
        ("日本語日本語", 5, ["日本", "語日", "本語"]),
        ("日本 語日", 5, ["日本", "語日"]),
        ("\tx", 9, ["    x"]),
    ],
)
def test_wrapping(text: str, width: int, lines: list[str]) -> None:
    assert paragraphs(text, width) == lines


def test_nothing_but_blanks_is_lost_when_wrapping() -> None:
    text = " ".join(f"word{i}" for i in range(500))
    for width in (5, 11, 40):
        assert "".join(paragraphs(text, width)).replace(" ", "") == text.replace(" ", "")


def test_a_huge_text_says_what_is_left_out() -> None:
    lines = paragraphs("x" * (MAX_SHOWN + 1234), 100)
    assert len(lines) == MAX_SHOWN // 100 + 1
    assert lines[-1] == "… 1,234 more characters"


def test_lines_are_cut_and_filled_to_the_column() -> None:
    line = (("日本語", "good"), (" and more", "dim"))
    for width in range(20):
        assert width_of(crop(line, width)) <= width
        assert width_of(pad(line, width)) == width
        assert width_of(spread(line, [("right", "bad")], width)) == width


def test_spans_fold_at_blanks() -> None:
    lines = fold([("one two ", "dim"), ("three four", "good")], 9)
    assert ["".join(text for text, _ in line).strip() for line in lines] == [
        "one two",
        "three",
        "four",
    ]
    assert lines[-1][-1][1] == "good"


COLUMNS = (
    Column("name", "name", flex=True, least=5),
    Column("n", "n", right=True),
    Column("extra", "extra", drop=1),
    Column("more", "more", drop=2),
)
NATURAL = [20, 4, 5, 4]


@pytest.mark.parametrize(
    ("width", "widths"),
    [
        (60, [20, 4, 5, 4]),
        (41, [20, 4, 5, 4]),
        (30, [9, 4, 5, 4]),
        (25, [10, 4, 5, 0]),
        (19, [11, 4, 0, 0]),
        (8, [5, 4, 0, 0]),
    ],
)
def test_columns_give_way_in_order(width: int, widths: list[int]) -> None:
    assert fit(COLUMNS, NATURAL, width) == widths


def test_figures() -> None:
    assert [short(n) for n in (0, 999, 9999, 12_345, 4_500_000, 2e9)] == [
        *("0", "999", "9999", "12.3k", "4.5M", "2.0G")
    ]
    assert percent(0.4126) == "41.3%"
    assert interval({"low": 0.342, "high": 0.491}) == "34–49%"


def test_an_interval_is_drawn_to_scale() -> None:
    row = interval_row({"value": 0.5, "low": 0.25, "high": 0.75}, 41, "good")
    text = "".join(part for part, _ in row)
    assert (text.index("├"), text.index("●"), text.index("┤")) == (10, 20, 30)
    assert text.endswith("50.0%")
    assert "".join(part for part, _ in scale_row(41)).index("50") == 20
    for value in (0.0, 1.0):
        edge = interval_row({"value": value, "low": value, "high": value}, 41, "good")
        assert "●" in "".join(part for part, _ in edge)


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0] * 100, 10) == "▁" * 10
    assert len(sparkline(list(range(1000)), 30)) == 30
    assert sparkline([], 10) == ""
