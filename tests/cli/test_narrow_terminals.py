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
    "envs show textcraft --tasks --split dev",
    "doctor",
]


@pytest.mark.parametrize("command", LISTS)
def test_tables_fit_eighty_columns(
    filled: Path, cli: Call, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTR_LITE_DB", str(filled))
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli(*command.split())
    assert code in (0, 1), out
    assert out and not [line for line in out.splitlines() if display_width(line) > 80]
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


def test_a_run_is_shown_with_one_count_a_line(filled: Path, cli: Call) -> None:
    lines = cli("runs", "show", "-d", filled)[1].splitlines()
    search = lines.index("round 1 search")
    counts = [line.split() for line in lines[search + 2 :]]
    block = counts[: counts.index([])]
    assert len(block) > 5 and all(len(words) >= 2 for words in block)
    assert ["trees"] in [words[:-1] for words in block]
