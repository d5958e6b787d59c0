"""The README's results are those of the study's page."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENVS = {"TextCraft": "textcraft", "WebShop": "webshop", "ScienceWorld": "sciworld"}
OUTCOME, RECOVERY = 4, 8
"""Columns of the first table of ``docs/results.md``."""


def table(text: str, beginning: str) -> list[list[str]]:
    """Cells of the table whose head begins so, the head first, without the line below it."""
    head = text.index(beginning)
    lines = text[head:].partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def readme_figures() -> list[tuple[str, str, bool, str, str]]:
    """(environment, method, whether it is recovery, n, figure) of the README's table."""
    head, *rows = table((ROOT / "README.md").read_text(), "| | n | base ")
    entries = []
    env = ""
    for label, n, *figures in rows:
        env = ENVS.get(label.partition(",")[0], env)
        recovery = "failures" in label
        entries += [
            (env, method, recovery, n, figure)
            for method, figure in zip(head[2:], figures, strict=True)
        ]
    return entries


@pytest.mark.parametrize(("env", "method", "recovery", "n", "figure"), readme_figures())
def test_a_figure_stands_on_the_studys_page(
    env: str, method: str, recovery: bool, n: str, figure: str
) -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    rows = {row[0]: row for row in table(page, "|  | round | seeds | n | outcome ")[1:]}
    row = rows[f"{env}: {method}"]
    assert row[RECOVERY if recovery else OUTCOME] == figure
    if not recovery:
        assert row[3] == n


def test_the_readme_has_every_environment_and_method() -> None:
    assert len({(env, method) for env, method, *_ in readme_figures()}) == 3 * 5
