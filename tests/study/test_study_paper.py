"""The page beside the paper: verdicts that the outcomes give, tables, and notes that are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentr_lite.metrics.estimates import Difference
from agentr_lite.metrics.measures import Played, Rounds
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.model.splices import Spliced, SpliceRound
from agentr_lite.store.records import RoundRow, RunRow
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.methods import METHODS
from agentr_lite.study.outcomes.results import CellResult, EnvResults, StudyMethod, StudyResults
from agentr_lite.study.recipe import load_study
from agentr_lite.study.writeup.document import Document, kept_notes
from agentr_lite.study.writeup.pages import PageFiles
from agentr_lite.study.writeup.paper import PAPER, Verdict, claims, judge
from agentr_lite.study.writeup.reproduction import reproduction_chapters

TASKS = 40
SEEDS = (1, 2, 3)
RECIPE = recipe_from_dict({"imitation": {"tasks": 10}, "rounds": 2})
Shares = Mapping[str, tuple[int, int]]
"""Method to how many of ten tasks it solves, and from how many of ten failures it recovers."""


def episodes(share: int, shift: int) -> list[Played]:
    """Episodes of which ``share`` of ten succeed; ``shift`` says which."""
    solved = [(task + shift) % 10 < share for task in range(TASKS)]
    return [
        Played("textcraft", task, success, float(success), 5, 0, 1, 0, ())
        for task, success in enumerate(solved)
    ]


def rounds_of(share: int, recovery: int, seed: int) -> Rounds:
    played: dict[tuple[str, int], list[Played]] = {
        ("greedy", -1): episodes(0, 0),
        ("greedy", 0): episodes(2, 0),
    }
    for number in (1, 2):
        played["greedy", number] = episodes(share, seed)
        played["recovery", number] = episodes(recovery, seed)
    return played  # type: ignore[return-value]


def cell(method: str, seed: int, share: int, recovery: int) -> CellResult:
    recipe = Recipe(**{**RECIPE.__dict__, "seed": seed})
    run = RunRow(
        f"textcraft-{method}-{seed}", "", None, "finished", "textcraft", seed,
        {**recipe.to_dict(), "model": "m.gguf"}, {}, "ab" * 32, "", {}, None,
    )  # fmt: skip
    stage = RoundRow(
        run.id,
        1,
        "train",
        "a",
        "b",
        60.0,
        0.0,
        0,
        0,
        0,
        {"tokens": 500, "peak_memory_bytes": 1_234_000_000},
    )
    search = RoundRow(run.id, 1, "search", "a", "b", 60.0, 0.0, 0, 0, 700, {})
    splices = {
        1: SpliceRound([Spliced(1, True, False, False), Spliced(2, False, False, False)], 0, 0)
    }
    return CellResult(
        method,
        seed,
        run,
        rounds_of(share, recovery, seed),
        [search, stage],
        Cell("textcraft", method, seed, recipe, METHODS[method].label),
        examples={1: 7},
        splices=splices if method == "verified" else {},
    )


def study_of(shares: Shares, seeds: tuple[int, ...] = SEEDS) -> StudyResults:
    methods = ["base", "imitation", *shares]
    results = EnvResults(env="textcraft", recipe=RECIPE)
    for method in methods:
        results.labels[method] = METHODS[method].label
        results.planned[method] = len(SEEDS)
    results.runs = [
        cell(method, seed, *share) for method, share in shares.items() for seed in seeds
    ]
    return StudyResults(
        "s",
        "agentr-lite study s",
        2,
        SEEDS,
        True,
        [StudyMethod(m, METHODS[m].label, "", m in shares) for m in methods],
        {},
        len(methods) * len(SEEDS),
        ["textcraft"],
        [results],
    )


def verdicts(study: StudyResults) -> list[Verdict]:
    return [claim.verdict for claim in claims(study, study.environments[0])]


AHEAD: Shares = {
    "verified": (7, 6),
    "naive": (6, 5),
    "imitation-more": (3, 1),
    "good": (4, 1),
    "eto": (4, 1),
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["confirmed", "confirmed"]),
        # One of the two others is ahead, the second claim stays.
        ({"eto": (4, 9)}, ["refuted", "confirmed"]),
        ({"good": (4, 6)}, ["refuted", "confirmed"]),
        ({"imitation-more": (10, 1)}, ["confirmed", "refuted"]),
    ],
)
def test_a_verdict_follows_from_the_outcomes(change: Shares, expected: list[Verdict]) -> None:
    assert verdicts(study_of({**AHEAD, **change})) == expected


def test_equals_are_not_behind_and_not_ahead() -> None:
    same = study_of({**AHEAD, "imitation-more": (7, 1)})
    assert verdicts(same)[1] == "confirmed"


def test_what_is_missing_is_not_judged() -> None:
    without = {method: share for method, share in AHEAD.items() if method != "eto"}
    assert verdicts(study_of(without)) == ["not measured yet", "confirmed"]
    # One seed of three is no verdict, whatever it shows.
    assert verdicts(study_of(AHEAD, seeds=(1,))) == ["not measured yet", "not measured yet"]


@pytest.mark.parametrize(
    ("low", "high", "ties", "expected"),
    [
        (0.01, 0.2, False, "confirmed"),
        (0.0, 0.2, False, "not decided"),
        (0.0, 0.2, True, "confirmed"),
        (-0.1, 0.2, False, "not decided"),
        (-0.1, 0.2, True, "not decided"),
        (-0.2, 0.0, False, "refuted"),
        (-0.2, 0.0, True, "not decided"),
        (-0.2, -0.1, True, "refuted"),
        (0.0, 0.0, True, "confirmed"),
        (0.0, 0.0, False, "refuted"),
    ],
)
def test_the_rule(low: float, high: float, ties: bool, expected: Verdict) -> None:
    difference = Difference((low + high) / 2, low, high, 100, None, SEEDS, (0.1, 0.1, 0.1))
    assert judge(difference, ties=ties) == expected


def test_too_few_tasks_decide_nothing() -> None:
    difference = Difference(0.5, 0.2, 0.7, 5, None, SEEDS, (0.5, 0.5, 0.5))
    assert judge(difference, ties=False) == "not decided"


def document(study: StudyResults) -> Document:
    """A page without the tables of the environments, which other tests make."""
    return Document("Reproduction", study.command, [], "", opening=reproduction_chapters(study))


def test_the_page_shows_the_papers_figures_beside_its_own() -> None:
    text = document(study_of(AHEAD)).markdown("reproduction")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines()}
    naive = next(line for name, line in rows.items() if name == "Agent-R, naive")
    assert [cell.strip() for cell in naive.split("|")[2:6]] == ["70.71 %", "78.00 %", "2", "60.0 %"]
    assert "32.43 %" in naive and "43.24 %" in naive and "50.0 %" in naive
    table = text[text.index("## Beside the paper") : text.index("## What verification")]
    assert "| good data only | – | – | 2 |" in table and "0.00 %" in table
    assert "26.00 %" in table
    assert "textcraft, recovery: confirmed." in text
    order = text[text.index("### The paper's order") : text.index("## What verification")]
    rows_of = {line.split(" | ")[0]: line for line in order.splitlines()}
    # 78 - 75 in the paper; 60 % and 40 % here.
    ahead = rows_of["| success: Agent-R, naive − good data, episode DPO"]
    assert "| 2 | +3.00 | +20.0 |" in ahead and "| holds |" in ahead
    assert "| 2 | +43.24 | +40.0 |" in rows_of["| recovery: Agent-R, naive − good data only"]
    assert "| 2 | +52.00 | +60.0 |" in rows_of["| success: Agent-R, naive − base"]
    # Over three seeds.
    assert "3 of 6 naive splices failed" in text
    assert "](reproduction/textcraft-outcomes.svg)" in text
    costs = text[text.index("## What it cost") :]
    assert re.search(
        r"textcraft: Agent-R, verified \| 3 \| 700 \| 7 \| 500 \| 2m 00s \| 1\.23 GB", costs
    )
    # Two of the seven methods have no run of their own here.
    assert "15 of 21 cells are finished" in text


def test_the_papers_figures_are_those_of_methods() -> None:
    assert set(PAPER) <= set(METHODS)


def test_notes_are_kept_when_the_page_is_written_anew(tmp_path: Path) -> None:
    files = PageFiles(tmp_path / "reproduction.md")
    study = study_of(AHEAD)
    files.write(document(study))
    empty = files.page.read_text()
    assert kept_notes(empty) == ""
    begin = empty.index("<!-- notes")
    end = empty.index("<!-- end of the notes")
    by_hand = "It recovers *because* it looks.\n\nA second paragraph."
    opening = empty[begin:end].rstrip("\n")
    files.page.write_text(f"{empty[:begin]}{opening}\n\n{by_hand}\n\n{empty[end:]}")
    edited = files.page.read_text()
    files.write(document(study))
    assert files.page.read_text() == edited and by_hand in edited
    assert (tmp_path / "reproduction" / "textcraft-outcomes.svg").read_text().startswith("<svg")


def test_the_bundled_study_can_be_judged() -> None:
    study = load_study("study-smollm2")
    assert study.paper and study.start == "imitation"
    wanted = {"base", "imitation", "imitation-more", "verified", "naive", "good", "direct", "eto"}
    assert wanted <= set(study.methods)
    assert (study.rounds, study.seeds) == (2, (1, 2, 3))
    recipe = study.env_recipe("textcraft")
    assert recipe.eval.tasks >= 100 and recipe.eval.recovery
    assert recipe.model == "smollm2-135m-f16"
