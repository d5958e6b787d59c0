"""Tables in plain text."""

from __future__ import annotations

import click
import pytest

from agentr_lite.console.tables import format_table
from agentr_lite.console.text import Styled, display_width


def test_table_aligns_numbers_right_and_text_left() -> None:
    table = format_table(["task", "steps"], [["stick", 4], ["木 door", 12]])
    assert table.split("\n") == [
        "task     steps",
        "-------  -----",
        "stick        4",
        "木 door     12",
    ]


def test_table_fits_the_width_and_says_what_it_cut() -> None:
    table = format_table(["name", "n"], [["x" * 50, 1]], width=20)
    assert max(map(display_width, table.split("\n"))) <= 20
    assert "…" in table


def test_table_paints_only_what_is_styled_and_escapes_all_cells() -> None:
    cells = ["\x1b[31mred\n", Styled("ok \x1b", fg="green")]
    table = format_table(["a", "b"], [cells])
    assert "\\x1b[31mred\\n" in table
    assert "\x1b[31m" not in table
    assert click.style("ok \\x1b", fg="green") in table


def test_table_refuses_a_ragged_row() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        format_table(["a", "b"], [["x"]])


def test_kept_columns_are_never_cut() -> None:
    rows = [["textcraft-20261122-abcd", "a long remark that gives way"]]
    shown = format_table(["run", "remark"], rows, width=36, keep=["run"]).splitlines()[-1]
    assert shown.startswith("textcraft-20261122-abcd  ") and shown.endswith("…")
    assert len(shown) <= 36
