"""The first error of a tree: in the list of tasks, in the tree, and beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.layout.first_errors import TreeErrors, splicing_span, why_no_pair
from agentr_lite_tui.screens.step import StepScreen
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from agentr_lite_tui.widgets.tree_view import TreeView
from textual.pilot import Pilot

from agentr_lite.core.verdicts import Verdict
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs, splices
from agentr_lite.store.first_errors import BadPathCut, TreeSplicing, splicing_of_trees
from agentr_lite.store.inspection import tree_shape
from agentr_lite.store.records import JudgementRow, NodeRow
from tests.support.inspector_cases import RECIPE, drive, picture, press
from tests.support.inspector_keys import covers, table, tree
from tests.support.planted_trees import node, plant_nodes

LIKELY = {"bad": (0.01, 0.98, 0.01), "good": (0.66, 0.30, 0.04), "uncertain": (0.3, 0.2, 0.5)}
CHAIN = [
    node(0, None, 0, visits=3, value_sum=1.0),
    node(1, 0, 1, action="craft bad", invalid=True),
    node(2, 1, 2),
    node(3, 2, 3),
    node(4, 3, 4),
    node(5, 4, 5),
    node(6, 5, 6, action="go on", truncated=True),
    node(7, 0, 1, action="go well", terminated=True, reward=1.0, value_sum=1.0),
]
"""A folded chain of six steps, of which the first goes wrong, beside a good leaf."""


def verdict(path: int, step: int, idx: int, word: Verdict, reason: str = "") -> JudgementRow:
    scores = tuple(math.log(share) for share in LIKELY[word])
    return JudgementRow(path, step, idx, word, "score", scores=scores, reason=reason or None)


def plant(
    store: Store,
    run_id: str,
    nodes: Sequence[NodeRow],
    judged: Sequence[tuple[int, Verdict]],
    *,
    good: int | None,
    bad: int | None,
    cut: int = 0,
    task_index: int = 0,
) -> int:
    """Store a tree that was spliced: its trajectories, verdicts on the bad one, and a revision."""
    tree_id = plant_nodes(store, run_id, nodes, task_index=task_index)
    ids: dict[str, int] = {}
    for kind, leaf in (("good", good), ("bad", bad)):
        if leaf is not None:
            ids[kind] = splices.save_trajectory(
                store,
                tree_id,
                leaf,
                kind="good" if kind == "good" else "bad",
                reward=nodes[leaf].reward,
                steps=nodes[leaf].depth,
            )
    splices.save_judgements(
        store,
        [verdict(ids["bad"], nodes[idx].depth - 1, idx, word, "so it is") for idx, word in judged],
    )
    if cut:
        splices.save_revision(
            store,
            run_id=run_id,
            round_index=1,
            good_id=ids["good"],
            bad_id=ids["bad"],
            parting_step=0,
            cut_step=cut,
            reflection="Stop.",
            revision_length=cut,
            naive_reward=None,
            status="rejected",
            reason="no way back: none",
        )
    return tree_id


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    """Five spliced trees: an error in a chain, never solved twice, never failed, no bad step."""
    path = tmp_path / "runs.db"
    failed = [node(0, None, 0), node(1, 0, 1, action="go wrong"), node(2, 1, 2, truncated=True)]
    solved = [node(0, None, 0), node(1, 0, 1, terminated=True, reward=1.0)]
    with Store.open(path) as store:
        run_id = create_run(store, RECIPE)
        plant(store, run_id, CHAIN, [(1, "bad"), (6, "good")], good=7, bad=6, cut=1)
        plant(store, run_id, failed, [], good=None, bad=2, task_index=1)
        plant(store, run_id, failed, [(1, "bad")], good=None, bad=2, task_index=2)
        plant(store, run_id, solved, [], good=1, bad=None, task_index=3)
        plant(store, run_id, CHAIN, [(1, "good")], good=7, bad=6, cut=6, task_index=4)
        runs.stage_started(store, run_id, 1, "splice")
        runs.stage_finished(store, run_id, 1, "splice", summary={}, wall_s=1.0)
    return path, run_id


def detail(app: Inspector) -> str:
    lines = app.screen.query_one("#detail", DocumentView)._lines
    return "\n".join("".join(text for text, _ in line) for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_list_of_tasks_names_each_first_error(
    made: tuple[Path, str], size: tuple[int, int]
) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        at = [column.key for column in table(app)._columns].index("error")
        assert [row.cells[at] for row in table(app).rows] == [
            ("step 1 ✗ 98% craft bad", "bad"),
            ("no pair: never solved", "dim"),
            ("step 1 ✗ 98% go wrong", "bad"),
            ("no pair: never failed", "dim"),
            ("no step judged bad", "dim"),
        ]
        shown = picture(app)
        assert "step 1 ✗ 98% craft bad" in shown and "no pair: never solved" in shown

    drive(made[0], script, run_id=made[1], size=size)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_a_folded_chain_shows_its_first_bad_step(
    made: tuple[Path, str], size: tuple[int, int]
) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "enter", "down")
        assert isinstance(app.screen, TreeScreen)
        assert len(tree(app).tree_rows.chain(tree(app).tree_rows.rows[tree(app).cursor])) == 6
        line = next(line for line in picture(app).splitlines() if "▌" in line)
        assert "✗ ◀ t′" in line and line.partition("▏")[0].count("98%") == 1
        shown = " ".join(detail(app).split())
        assert "! craft bad" in shown and "critic ✗ bad 98%" in shown and "so it is" in shown
        assert "◀ t′ the last bad step that a revision keeps" in shown
        assert "good 66%" not in shown
        assert "the first bad step of 6 in this row" in shown
        await press(pilot, "y")
        assert app.clipboard.startswith("Thought: on.\nAction: go 1")
        await press(pilot, "enter")
        assert isinstance(app.screen, StepScreen) and app.screen._at == 1

    drive(made[0], script, run_id=made[1], size=size)


def test_unfolded_each_step_has_its_own_verdict(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "enter", "z", "home", "down", "asterisk")
        lines = picture(app).splitlines()[2:]
        bad = next(line for line in lines if "! craft bad" in line)
        good = next(line for line in lines if "go on" in line)
        assert "◀ t′" in bad and "✗ 98%" in bad
        assert "◀ t′" not in good and "✓ 66%" in good

    drive(made[0], script, run_id=made[1])


def test_a_row_of_hidden_siblings_says_that_an_error_is_below_it(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "enter", "m", "m", "m")
        [row] = [line for line in picture(app).splitlines() if "more, n <" in line]
        assert "✗↓" in row
        await press(pilot, "escape", "end", "up", "enter", "m", "m", "m")
        assert "✗↓" not in picture(app)

    drive(made[0], script, run_id=made[1])


@pytest.mark.parametrize(("which", "says"), [(("home", "down"), True), (("end",), False)], ids=str)
def test_a_tree_without_an_error_says_that_the_critic_was_not_asked(
    made: tuple[Path, str], which: tuple[str, ...], says: bool
) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, *which, "enter", "e")
        shown = " ".join(picture(app).split())
        assert ("critic has not been asked about" in shown) == says

    drive(made[0], script, run_id=made[1], notifications=True, size=(120, 40))


def test_what_was_said_and_answered_comes_before_what_was_seen(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "enter", "e")
        words = [line.split()[1] for line in detail(app).splitlines() if line.startswith("── ")]
        assert words == ["said", "answer", "saw"]

    drive(made[0], script, run_id=made[1])


def test_a_tree_without_a_pair_says_why(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "down", "enter")
        assert "no pair: never solved" in picture(app)
        assert "No pair: no trajectory earned α" in " ".join(detail(app).split())
        await press(pilot, "escape", "down", "enter")
        assert "no pair: never solved" in picture(app), "with verdicts there is still no pair"
        assert "✗ 98%" in picture(app) and "◀ t′" not in picture(app)

    drive(made[0], script, run_id=made[1])


@covers("tree.next_error", "tree.previous_error")
def test_the_keys_go_from_error_to_error(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "enter", "e")
        assert tree(app).node == 1, "the chain is unfolded for it"
        await press(pilot, "E")
        assert tree(app).node == 1, "there is one"
        await press(pilot, "escape", "end", "enter", "e")
        assert tree(app).node == 6, "t′ without a bad verdict"

    drive(made[0], script, run_id=made[1])


def test_a_closed_node_says_that_an_error_is_below(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "enter", "home", "space")
        assert app.screen.query_one(TreeView).count == 1
        assert "+2 ✗↓" in picture(app)

    drive(made[0], script, run_id=made[1])


def test_what_a_chain_shows(made: tuple[Path, str]) -> None:
    with Store.open(made[0]) as store:
        shape = tree_shape(store, 1)
    chain = [1, 2, 3, 4, 5, 6]
    judged = {3: [verdict(1, 2, 3, "bad")], 5: [verdict(1, 4, 5, "good")]}
    assert TreeErrors.of(shape, judged, ()).first_in(chain, shape) == 3
    cut = BadPathCut(leaf_idx=6, parting_step=0, cut_step=2)
    errors = TreeErrors.of(shape, judged, [cut])
    assert errors.first_in(chain, shape) == 3, "a verdict comes before a t′ of another path"
    assert TreeErrors.of(shape, {}, [cut]).first_in(chain, shape) == 2
    assert errors.first == [3] and TreeErrors.of(shape, {}, [cut]).first == [2]
    assert errors.nodes == [2, 3]
    assert errors.leads == {0, 1, 2}
    nothing = BadPathCut(leaf_idx=6, parting_step=3, cut_step=3)
    assert TreeErrors.of(shape, {}, [nothing]).cuts == frozenset()
    assert TreeErrors().first_in(chain, shape) == 1, "an action that is not possible"
    assert TreeErrors().first_in(chain[1:], shape) == 6, "the last, if none is wrong"


def test_why_a_tree_has_no_pair() -> None:
    assert [why_no_pair(*counts) for counts in ((0, 0), (0, 3), (2, 0), (1, 1))] == [
        "no trajectory ended",
        "never solved",
        "never failed",
        "nothing to revise",
    ]
    assert splicing_span(TreeSplicing(1, 1, pairs=1))[0] == "the critic was not asked"


def test_a_round_is_read_at_once(made: tuple[Path, str]) -> None:
    with Store.open(made[0]) as store:
        found = splicing_of_trees(store, made[1], 1)
        assert splicing_of_trees(store, made[1], 2) == {}
    assert [(it.good, it.bad, it.pairs, it.judged) for it in found.values()] == [
        (1, 1, 1, 2),
        (0, 1, 0, 0),
        (0, 1, 0, 1),
        (1, 0, 0, 0),
        (1, 1, 1, 1),
    ]
