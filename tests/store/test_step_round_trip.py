"""Every field of a step survives every form in which a step is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.steps import Step, step_from_json, step_to_json
from agentr_lite.core.tasks import Task
from agentr_lite.store import Store, evals, runs, trees
from agentr_lite.store.records import EpisodeStep, EvalItemRow, NodeRow, TaskRow
from tests.support.store_cases import new_run, new_tree

PLAIN = Step("a text", "an action", "an observation")
CHANGED: dict[str, Any] = {
    "text": "another text",
    "action": None,
    "observation": "another observation",
    "reward": 0.5,
    "terminated": True,
    "truncated": True,
    "invalid": True,
    "kind": "reflect",
    "disaster": True,
    "token_ids": (3, 1, 2),
    "thinking": "I should look first.",
}
"""For each field a value that ``PLAIN`` does not have."""

STEPS = [
    PLAIN,
    *(dataclasses.replace(PLAIN, **{name: value}) for name, value in CHANGED.items()),
    dataclasses.replace(PLAIN, **CHANGED),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


def test_every_field_is_tried() -> None:
    names = [field.name for field in dataclasses.fields(Step)]
    assert sorted(CHANGED) == sorted(names)
    assert all(getattr(PLAIN, name) != CHANGED[name] for name in names)


@pytest.mark.parametrize("step", STEPS)
def test_as_json(step: Step) -> None:
    assert step_from_json(json.loads(json.dumps(step_to_json(step)))) == step


def test_as_the_nodes_of_a_tree(store: Store) -> None:
    root = NodeRow.root("first observation", visits=3, value_sum=1.5)
    nodes = [root]
    nodes += [NodeRow.from_step(step, idx, idx - 1, idx) for idx, step in enumerate(STEPS, 1)]
    tree_id = new_tree(store, new_run(store), nodes=nodes, calls=[])
    loaded = trees.load_tree(store, tree_id)
    assert loaded == [dataclasses.replace(node, tree_id=tree_id) for node in nodes]
    assert [node.to_step() for node in loaded[1:]] == STEPS
    assert trees.path_steps(store, tree_id, len(STEPS)) == STEPS
    with pytest.raises(ValueError, match="root"):
        loaded[0].to_step()


def test_as_an_evaluated_episode(store: Store) -> None:
    run_id = new_run(store)
    task = Task("stick", "test", "craft a stick")
    task_id = runs.task_ids(store, "textcraft", [task])["stick"]
    row = TaskRow(task_id, "textcraft", "stick", "test", "craft a stick", 0)
    episode = tuple(EpisodeStep(step, given=number < 2) for number, step in enumerate(STEPS))
    item = EvalItemRow(row, 0, 0.5, False, len(STEPS), 0, 0, 0, episode)
    eval_id = evals.open_eval(store, run_id, 1, "recovery", "test")
    evals.save_eval_items(store, eval_id, [(task_id, item)])
    assert evals.list_eval_items(store, eval_id) == [item]
    # The stored form is read by other programs, too.
    [stored] = store.rows("SELECT steps_json FROM eval_items")
    assert json.loads(stored["steps_json"])[0] == {
        "text": "a text",
        "action": "an action",
        "observation": "an observation",
        "reward": 0.0,
        "kind": "act",
        "invalid": False,
        "given": True,
    }
