"""Foreign text as lines, tables that fit, and plots."""

from __future__ import annotations

from itertools import pairwise

import pytest
from agentr_lite_tui.layout.columns import Column, Row, fit, ordered
from agentr_lite_tui.layout.documents import (
    MAX_STEPS,
    StepView,
    lay_out_conversation,
    view_of_opening,
)
from agentr_lite_tui.layout.figures import counted, interval, percent, short
from agentr_lite_tui.layout.lines import (
    MAX_SHOWN,
    Line,
    crop,
    fold,
    indented,
    one_line,
    pad,
    paragraphs,
    spread,
    width_of,
)
from agentr_lite_tui.layout.plots import Series, interval_row, line_plot, scale_row
from rich.cells import cell_len

from agentr_lite.console.outcomes import STEP, revision_reason

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


def test_a_text_that_was_cut_before_gets_no_second_ellipsis() -> None:
    cut = [("craft 1 acacia boa…", "plain"), (" ✗ 98%", "bad")]
    for width in range(26):
        shown = "".join(text for text, _ in crop(cut, width))
        assert cell_len(shown) <= width and "……" not in shown
        assert width in (0, 25) or shown.endswith("…")
    assert crop(cut, 20) == (("craft 1 acacia boa", "plain"), ("…", "dim"))


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


def drawn(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def test_lines_are_plotted_to_scale() -> None:
    points = [(0.0, 4.0), (50.0, 2.0), (100.0, 0.0)]
    lines = drawn(line_plot([Series("train", "accent", points)], 50, 5))
    assert all(len(line) <= 50 for line in lines)
    labels = [line[:7].strip() for line in lines[:5]]
    assert labels == ["4", "", "2", "", "0"]
    filled = [[at for at, c in enumerate(line) if 0x2800 < ord(c) < 0x2900] for line in lines[:5]]
    # Downhill from the upper left corner to the lower right one, without a gap.
    assert filled[0][0] == 9 and filled[4][-1] == 49
    assert all(above[-1] <= below[0] <= above[-1] + 1 for above, below in pairwise(filled))
    assert lines[6].split() == ["0", "100"]
    assert "train 4.000 → 0.000" in lines[7]


def test_plots_of_little() -> None:
    assert line_plot([], 50, 5) == []
    assert line_plot([Series("a", "good", [])], 50, 5) == []
    assert line_plot([Series("a", "good", [(0, 1)])], 8, 5) == []
    one = drawn(line_plot([Series("a", "good", [(3.0, 1.5)])], 40, 4))
    assert sum(0x2800 < ord(c) < 0x2900 for line in one for c in line) == 1
    flat = drawn(line_plot([Series("a", "good", [(0.0, 1.0), (9.0, 1.0)])], 40, 4))
    assert sum(0x2800 < ord(c) < 0x2900 for c in flat[3]) == 31


ROWS = [
    Row("a", [("a", "plain"), ("3", "plain")], {"name": "a", "n": 3}),
    Row("b", [("b", "plain"), ("–", "plain")], {"name": "b", "n": None}),
    Row("c", [("c", "plain"), ("5", "plain")], {"name": "c", "n": 5}),
    Row("d", [("d", "plain"), ("3", "plain")], {"name": "d", "n": 3}),
]


@pytest.mark.parametrize(
    ("key", "reverse", "order"),
    [
        ("", False, "abcd"),
        ("", True, "dcba"),
        ("name", False, "abcd"),
        ("name", True, "dcba"),
        ("n", False, "cadb"),
        ("n", True, "adcb"),
    ],
)
def test_rows_are_sorted_and_what_is_missing_comes_last(
    key: str, reverse: bool, order: str
) -> None:
    assert "".join(str(row.key) for row in ordered(ROWS, key, reverse=reverse)) == order


def test_the_end_of_a_conversation_looks_like_that_of_the_whole_one() -> None:
    views = [view_of_opening("Craft.", "craft a stick")]
    views += [
        StepView(i, STEP, f"get {i}", "", f"Action: get {i}", "Got it") for i in range(1, 301)
    ]
    whole = lay_out_conversation(views, 60)
    assert whole[0] == (("… 200 earlier steps", "dim"),)
    assert lay_out_conversation(views[-MAX_STEPS:], 60, earlier=200) == whole
    assert "earlier" not in str(lay_out_conversation(views[: MAX_STEPS + 1], 60))


def test_a_number_has_its_noun() -> None:
    assert [counted(number, "node") for number in (0, 1, 2_000)] == [
        "0 nodes",
        "1 node",
        "2,000 nodes",
    ]


def test_a_broken_line_keeps_its_indentation() -> None:
    lines = indented([("one two ", "dim"), ("three four", "plain")], 9)
    shown = ["".join(text for text, _ in line).rstrip() for line in lines]
    assert shown == [" one two", " three", " four"]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("judged: step 8 judged bad (probability 0.97)", "step 8 judged bad (probability 0.97)"),
        ("none judged bad: no step judged bad: all is kept", "no step judged bad: all is kept"),
        ("duplicate: same steps", "duplicate: same steps"),
    ],
)
def test_a_reason_says_nothing_twice(stored: str, shown: str) -> None:
    assert revision_reason(stored) == shown
