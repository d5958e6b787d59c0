"""Whole searches of one tree: golden trees, invariants, faults."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentr_lite.agent.step import take_step
from agentr_lite.core.messages import Message
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.recipe.groups import AgentSettings, SearchSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.stages.tree_rows import node_row
from agentr_lite.search.context import search_context
from agentr_lite.search.mcts import action_key
from agentr_lite.search.scheduler import TreeSearch, run_wave
from agentr_lite.search.tree import Node, Tree
from tests.support.corridor import ACTIONS, Corridor
from tests.support.policy_actor import PolicyActor, wanderer

GOLDEN = Path(__file__).parents[1] / "golden"
TASK = Corridor().tasks("train")[0]
WALKER = wanderer("forward", "take", "open", "leave", "take", "forward", "reflect", "  forward")


def search(
    actor: PolicyActor,
    *,
    task: Task = TASK,
    env: Environment | None = None,
    seed: int = 1,
    **options: Any,
) -> Tree:
    recipe = Recipe(seed=seed, search=SearchSettings(**options))
    one = TreeSearch(task, search_context(recipe, env or Corridor(), 1))
    run_wave([one], actor)
    return one.tree


def golden_tree(descent: Literal["paper", "textbook"]) -> dict[str, Any]:
    """What a golden file holds: the settings and one short line a node."""
    options = {"simulations": 8, "width": 3, "depth": 6, "descent": descent, "c": 0.25}
    tree = search(PolicyActor(WALKER), **options)
    lines = []
    for node in tree.nodes:
        step = node.outcome
        flags = [
            name
            for name in ("terminated", "truncated", "invalid", "disaster")
            if getattr(step, name, False)
        ]
        parent = "" if node.parent is None else f" <- {node.parent.idx}"
        action = None if step is None else step.action
        lines.append(
            f"{node.idx}{parent} {node.kind} {action!r} {'+'.join(flags) or '-'}"
            f" reward={node.reward:.4g} visits={node.visits} value_sum={node.value_sum:.4g}"
            f" merged={node.merged} | {node.observation.splitlines()[-1]}"
        )
    calls = [f"{call.node_idx}: {len(call.seeds)}" for call in tree.calls]
    return {"task": TASK.name, "settings": options, "nodes": lines, "calls": calls}


@pytest.mark.parametrize("descent", ["paper", "textbook"])
def test_golden_tree(descent: Literal["paper", "textbook"]) -> None:
    expected = json.loads((GOLDEN / f"{descent}.json").read_text("utf-8"))
    assert golden_tree(descent) == expected


SETTINGS = st.fixed_dictionaries(
    {
        "simulations": st.integers(1, 24),
        "width": st.integers(1, 4),
        "depth": st.integers(1, 9),
        "c": st.floats(0, 2),
        "descent": st.sampled_from(["paper", "textbook"]),
    }
)
TASKS = st.sampled_from(list(Corridor().tasks("train")))
POLICIES = st.lists(st.sampled_from([*ACTIONS, "reflect", "forward "]), min_size=1, max_size=6).map(
    lambda actions: wanderer(*actions)
)


class TestInvariants:
    @settings(max_examples=150, deadline=None)
    @given(SETTINGS, TASKS, POLICIES, st.integers(0, 1000))
    def test_counts_add_up(self, options: dict[str, Any], task: Task, policy, seed: int) -> None:
        tree = search(PolicyActor(policy), task=task, seed=seed, **options)
        width = options["width"]
        assert tree.error is None
        assert tree.root.visits == tree.simulations <= options["simulations"]
        assert tree.simulations == options["simulations"] or tree.root.closed
        assert [node.idx for node in tree.nodes] == list(range(len(tree.nodes)))
        for node in tree.nodes:
            assert 0.0 <= node.reward <= 1.0 and node.depth <= options["depth"]
            assert node.sampled <= width
            assert sum(child.merged for child in node.children) == node.sampled
            keys = [action_key(child.step.text) for child in node.children if child.step]
            assert len(set(keys)) == len(keys)
            if node.ended:
                assert not node.children and node.visits <= 1 and node.closed == (node.visits > 0)
                assert node.value_sum == (node.reward if node.visits else 0.0)
            else:
                assert node.visits == sum(child.visits for child in node.children)
                assert node.value_sum == pytest.approx(sum(c.value_sum for c in node.children))
                done = node.sampled == width and all(child.closed for child in node.children)
                assert node.closed == done
                assert node.depth < options["depth"]
            if node.ended or node.closed:
                assert node.state is None
        assert sum(len(call.seeds) for call in tree.calls) == sum(n.sampled for n in tree.nodes)

    @settings(max_examples=60, deadline=None)
    @given(SETTINGS, TASKS, POLICIES, st.integers(0, 1000))
    def test_every_path_replays_from_reset(
        self, options: dict[str, Any], task: Task, policy, seed: int
    ) -> None:
        tree = search(PolicyActor(policy), task=task, seed=seed, **options)
        env = Corridor()
        for leaf in (node for node in tree.nodes if not node.children):
            observation, _ = env.reset(task)
            assert observation == tree.root.observation
            for node in leaf.path()[1:]:
                assert node.step is not None
                replayed = take_step(env, node.step.text)
                assert replayed == node.step
                assert (node.observation, node.kind) == (replayed.observation, replayed.kind)

    @settings(max_examples=40, deadline=None)
    @given(SETTINGS, TASKS, POLICIES)
    def test_the_same_seed_gives_the_same_tree(
        self, options: dict[str, Any], task: Task, policy
    ) -> None:
        first, second = (search(PolicyActor(policy), task=task, **options) for _ in range(2))
        assert rows(first) == rows(second) and first.calls == second.calls


def rows(tree: Tree) -> list[Any]:
    return [node_row(node) for node in tree.nodes]


class TestDescents:
    def test_paper_expands_all_levels_in_one_simulation(self) -> None:
        tree = search(PolicyActor(wanderer("forward", "back")), simulations=1, width=4, depth=6)
        assert [len(call.seeds) for call in tree.calls] == [4] * 6
        assert [call.node_idx for call in tree.calls] == [n.idx for n in walked(tree)[:-1]]

    def test_textbook_expands_one_leaf_and_rolls_out(self) -> None:
        actor = PolicyActor(wanderer("forward", "back"))
        tree = search(actor, simulations=1, width=4, depth=6, descent="textbook")
        assert [len(call.seeds) for call in tree.calls] == [4, 1, 1, 1, 1, 1]

    def test_a_rollout_counts_as_the_first_candidate_of_a_later_expansion(self) -> None:
        actor = PolicyActor(wanderer("forward", "back"))
        tree = search(actor, simulations=6, width=2, depth=4, descent="textbook")
        asked: dict[int, list[int]] = {}
        for call in tree.calls:
            asked.setdefault(call.node_idx, []).extend(call.seeds)
        assert any(len(seeds) == 2 for idx, seeds in asked.items() if idx)
        for idx, seeds in asked.items():
            assert seeds == [
                stream_seed(1, "search", 1, TASK.name, idx, sample) for sample in range(len(seeds))
            ]

    def test_textbook_costs_fewer_samples_for_as_many_trajectories(self) -> None:
        def samples(descent: str) -> tuple[int, int]:
            policy = wanderer("forward", "back", "take")
            tree = search(PolicyActor(policy), simulations=8, width=4, depth=10, descent=descent)
            return tree.simulations, sum(node.sampled for node in tree.nodes)

        paper, textbook = samples("paper"), samples("textbook")
        assert paper[0] == textbook[0] == 8
        assert textbook[1] < paper[1] / 2


def walked(tree: Tree) -> list[Node]:
    """The path of a tree with one simulation."""
    node, path = tree.root, [tree.root]
    while any(child.visits for child in node.children):
        node = next(child for child in node.children if child.visits)
        path.append(node)
    return path


class TestEnds:
    def test_search_stops_when_everything_is_visited(self) -> None:
        tree = search(PolicyActor(wanderer("leave", "jump")), simulations=50, width=4)
        assert tree.root.closed and tree.simulations == len(tree.nodes) - 1 == 2
        assert {(n.step.disaster, n.reward) for n in tree.nodes[1:] if n.step} == {
            (False, 0.0),
            (True, 0.0),
        }

    def test_the_depth_limit_truncates_with_no_reward(self) -> None:
        tree = search(PolicyActor(wanderer("forward")), simulations=3, width=2, depth=3)
        leaf = tree.nodes[-1]
        assert (leaf.depth, leaf.truncated, leaf.terminated, leaf.reward) == (3, True, False, 0.0)
        assert tree.simulations == 1 and tree.root.closed

    def test_a_conversation_that_no_longer_fits_is_truncated(self) -> None:
        actor = PolicyActor(wanderer("forward", "back"), overflow_at=6)
        for descent in ("paper", "textbook"):
            tree = search(actor, simulations=9, width=3, depth=20, descent=descent)
            leaves = [node for node in tree.nodes if node.ended]
            assert leaves and all(node.depth == 3 and node.truncated for node in leaves)
            assert all("no longer fits" in node.observation for node in leaves)

    def test_a_model_that_never_acts_is_an_error_of_its_task(self) -> None:
        tree = search(PolicyActor(lambda *_: "\x1b[31mhello"), simulations=8, width=2, depth=5)
        assert tree.error == "no action in 10 turns"
        assert [node.kind for node in tree.nodes] == ["root"] + ["none"] * 5
        assert tree.nodes[1].merged == 2 and tree.nodes[-1].truncated
        assert tree.root.closed

    def test_a_single_action_is_no_such_error(self) -> None:
        def policy(messages: list[Message], seed: int) -> str:
            return "Action: forward" if seed % 4 == 0 else "hm"

        assert search(PolicyActor(policy), simulations=8, width=4, depth=5).error is None


class Broken(Corridor):
    """Raises or misbehaves where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def reset(self, task: Task, *, seed: int = 0):
        if self.where == "reset":
            raise OSError("no world")
        return super().reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        result = super().step(action)
        if self.where == "step" and action == "back":
            raise ZeroDivisionError("oops")
        if self.where == "reward" and action == "back":
            return result._replace(reward=7.0)
        return result

    def restore(self, snapshot: Any) -> None:
        if self.where == "restore":
            raise ValueError("what is this")
        super().restore(snapshot)

    def snapshot(self) -> Any:
        if self.where == "snapshot":
            raise NotImplementedError
        return super().snapshot()


class TestFaults:
    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("reset", "reset('corridor-3-1') raised OSError: no world"),
            ("step", "step('back') raised ZeroDivisionError: oops"),
            ("reward", "step('back') returned reward 7.0"),
            ("restore", "restore() raised ValueError: what is this"),
            ("snapshot", "raised NotImplementedError"),
        ],
    )
    def test_a_broken_environment_costs_its_tree_only(self, where: str, message: str) -> None:
        context = search_context(Recipe(), Broken(where), 1)
        fine = dataclasses.replace(context, env=Corridor())
        actor = PolicyActor(wanderer("forward", "back"))
        searches = [TreeSearch(TASK, context), TreeSearch(TASK, fine)]
        run_wave(searches, actor)
        error = searches[0].tree.error
        assert error is not None and message in error and "environment 'corridor'" in error
        assert searches[1].tree.error is None and searches[1].tree.simulations

    def test_settings_reach_the_actor(self) -> None:
        recipe = Recipe(
            agent=AgentSettings(brief=True, max_tokens=9),
            search=SearchSettings(temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, width=2),
        )
        request = TreeSearch(TASK, search_context(recipe, Corridor(), 2)).wanted
        assert request is not None
        assert request.messages[0] == {"role": "system", "content": "Open the door."}
        assert request.sampling.max_tokens == 9 and request.sampling.top_k == 3
        assert (request.sampling.temperature, request.sampling.min_p) == (0.5, 0.1)
        assert request.seeds == tuple(
            stream_seed(1, "search", 2, TASK.name, 0, sample) for sample in range(2)
        )


if __name__ == "__main__":
    # After a wanted change of the search: write the golden trees anew and read the difference.
    for name in ("paper", "textbook"):
        text = json.dumps(golden_tree(name), indent=1)
        (GOLDEN / f"{name}.json").write_text(text + "\n", "utf-8")
