"""Every table fits a terminal of 80 columns, and shows its result there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentr_lite.console.text import display_width
from tests.support.command_line import Call

LISTS = [
    "runs",
    "runs show",
    "report",
    "trees",
    "recipes",
    "models",
    "envs",
    "envs show textcraft",
    "envs show webshop --brief",
    "envs show textcraft --tasks --split dev",
    "doctor",
]


@pytest.mark.parametrize("command", LISTS)
def test_tables_fit_eighty_columns(
    filled: Path, cli: Call, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTR_LITE_DB", str(filled))
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = cli(*command.split())
    assert code in (0, 1), out
    assert out and not [line for line in (out + err).splitlines() if display_width(line) > 80]
    # No text is cut; of several rounds, those in the middle may be left out.
    assert not re.search(r"\S…", out)


def test_a_narrow_list_of_runs_keeps_the_result(
    filled: Path, cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = cli("runs", "-d", filled)[1].splitlines()
    result = wide[2].split("  ")[1]
    assert "%" in result
    monkeypatch.setenv("COLUMNS", "50")
    _, narrow, err = cli("runs", "-d", filled)
    first, last = result.split(" → ")[0], result.split(" → ")[-1]
    shown = narrow.splitlines()[2]
    assert wide[2].split()[0] in shown and first in shown and last in shown
    assert "Hidden, because the terminal is narrow" in err


def test_a_narrow_comparison_keeps_the_results(
    filled: Path, cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(filled.read_bytes())
    name = "a search with a rather long name that goes on and on"
    for number, db in enumerate((filled, copy), 1):
        assert cli("runs", "name", "latest", f"{name}, {number}", "-d", db)[0] == 0
    call = ["report", "latest", f"{copy}:latest", "-d", filled]
    wide = overview(cli(*call)[1])
    monkeypatch.setenv("COLUMNS", "80")
    narrow = overview(cli(*call)[1])
    assert not [line for line in narrow if display_width(line) > 80]
    for heading in ("base", "last", "vs base"):
        values = column(wide, heading)
        assert len(values) == 2 and all(re.search(r"\d", value) for value in values)
        assert column(narrow, heading) == values
    assert "model" not in narrow[0]


def overview(report: str) -> list[str]:
    """The table of the runs that are compared, without its notes."""
    head, *lines = report.partition("The runs\n")[2].partition("\n\n")[0].splitlines()
    return [head, *(line for line in lines if not line.startswith("  "))]


def column(lines: list[str], heading: str) -> list[str]:
    """The cells below the first heading of this name; a wrapped cell's further lines end before."""
    end = lines[0].index(heading) + len(heading)
    return [line[:end].split("  ")[-1].strip() for line in lines[2:] if len(line) >= end]


def test_a_run_is_shown_with_its_whole_note(filled: Path, cli: Call) -> None:
    assert "has no note" in cli("runs", "note", "latest", "-d", filled)[2]
    cli("runs", "note", "latest", "one line\nand another", "-d", filled)
    shown = cli("runs", "show", "-d", filled)[1]
    assert re.search(r"^note +one line and another$", shown, re.M)


def test_a_run_is_shown_with_one_count_a_line(filled: Path, cli: Call) -> None:
    lines = cli("runs", "show", "-d", filled)[1].splitlines()
    search = lines.index("round 1 search")
    counts = [line.split() for line in lines[search + 2 :]]
    block = counts[: counts.index([])]
    assert len(block) > 5 and all(len(words) >= 2 for words in block)
    assert ["trees"] in [words[:-1] for words in block]
