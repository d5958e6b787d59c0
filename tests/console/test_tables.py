"""Tables in plain text."""

from __future__ import annotations

import click
import pytest

from agentr_lite.console.tables import fit_table, format_table
from agentr_lite.console.text import Styled, display_width


def test_table_aligns_numbers_right_and_text_left() -> None:
    table = format_table(["task", "steps"], [["stick", 4], ["木 door", 12]])
    assert table.split("\n") == [
        "task     steps",
        "-------  -----",
        "stick        4",
        "木 door     12",
    ]


def test_prose_is_wrapped_and_not_cut() -> None:
    text = "the model judges the steps of a bad episode, then goes on"
    lines = format_table(["name", "n", "about"], [["x", 1, text]], width=44).split("\n")
    assert max(map(display_width, lines)) <= 44
    assert " ".join(line[9:].strip() for line in lines[2:]) == text


def test_words_that_are_too_long_are_broken_by_their_width() -> None:
    table = format_table(["name"], [["木" * 30]], width=21)
    assert max(map(display_width, table.split("\n"))) <= 21
    assert table.count("木") == 30


def test_columns_are_hidden_so_that_no_figure_is_cut() -> None:
    columns = ["run", "success", "created", "seed"]
    rows = [["textcraft-1", "25.0% → 31.0%", "2026-11-22 10:00", 1]]
    whole = fit_table(columns, rows)
    assert whole.hidden == ()
    width = len(whole.text.split("\n")[1])
    assert fit_table(columns, rows, width=width).hidden == ()
    narrow = fit_table(columns, rows, width=width - 1, keep=["success"], hide=["created"])
    assert narrow.hidden == ("created",)
    assert narrow.text.split("\n")[-1] == "textcraft-1  25.0% → 31.0%     1"
    # From the right, but for what is kept, where nothing else is said.
    assert fit_table(columns, rows, width=30, keep=["success"]).hidden == ("created", "seed")


def test_a_column_is_hidden_by_position_where_its_heading_occurs_twice() -> None:
    columns, rows = ["", "n", "95 %", "n", "95 %"], [["a", 1, "1 to 2", 3, "3 to 4"]]
    shown = fit_table(columns, rows, width=22, hide=[4])
    assert shown.text.split("\n")[-1] == "a  1  1 to 2  3"


def test_table_paints_only_what_is_styled_and_escapes_all_cells() -> None:
    cells = ["\x1b[31mred\n", Styled("ok \x1b", fg="green")]
    table = format_table(["a", "b"], [cells])
    assert "\\x1b[31mred\\n" in table
    assert "\x1b[31m" not in table
    assert click.style("ok \\x1b", fg="green") in table


def test_table_refuses_a_ragged_row() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        format_table(["a", "b"], [["x"]])


def test_kept_columns_are_neither_wrapped_nor_hidden() -> None:
    rows = [["textcraft-20261122-abcd", "a long remark that gives way"]]
    shown = format_table(["run", "remark"], rows, width=36, keep=["run"]).splitlines()
    assert shown[2].startswith("textcraft-20261122-abcd  a long") and len(shown) > 3
    assert max(map(len, shown)) <= 36
    both = format_table(["run", "remark"], rows, width=36, keep=["run", "remark"]).splitlines()
    assert both[2] == "textcraft-20261122-abcd  a long remark that gives way"
