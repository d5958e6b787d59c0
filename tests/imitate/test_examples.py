"""Demonstrations in the prompt: chosen once, shown in every stage, and never of a held-out task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.actors.base import GenerateRequest
from agentr_lite.actors.chat.encoder import split_exchanges
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.turns import parse_action
from agentr_lite.cli import main
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.messages import without_examples
from agentr_lite.core.openings import Opening
from agentr_lite.imitate.choice import imitation_messages
from agentr_lite.imitate.examples import POOL, choose_examples
from agentr_lite.recipe.groups import AgentSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.examples import run_examples
from agentr_lite.store import Store, runs, splices, trees
from agentr_lite.store.demonstrations import add_demonstrations, list_demonstrations
from agentr_lite.store.examples import list_examples
from tests.support import loop_case
from tests.support.corridor import Corridor
from tests.support.stairs import Stairs

SHOWN = "agent: {max_tokens: 40, examples: 2}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "runs.db") as store:
        yield store


def recipe(count: int, seed: int = 1, **agent: Any) -> Recipe:
    return Recipe(seed=seed, agent=AgentSettings(examples=count, **agent))


def chosen(store: Store, count: int, seed: int = 1, **agent: Any) -> list[str]:
    def save(made: Any) -> None:
        add_demonstrations(store, "corridor", [made])

    found = choose_examples(store, Corridor(), recipe(count, seed, **agent), save=save)
    return [example.task for _, example in found]


def test_the_shortest_of_the_drawn_tasks_are_shown(store: Store) -> None:
    env = Corridor()
    lengths = {task.name: len(env.solve(task)) for task in env.tasks("train")}
    names = chosen(store, 3)
    assert len(lengths) <= POOL * 3
    assert [lengths[name] for name in names] == sorted(lengths.values())[:3]
    assert names == chosen(store, 3)
    assert {tuple(chosen(store, 1, seed)) for seed in range(8)} == {("corridor-2-0",)}
    assert all(row.task.split == "train" for row in list_demonstrations(store, "corridor"))


def test_only_what_fits_half_of_the_context_is_shown(store: Store) -> None:
    assert len(chosen(store, 8)) == 8
    assert 0 < len(chosen(store, 8, context_tokens=400)) < 8
    with pytest.raises(AgentrError, match="not one example of corridor fits"):
        chosen(store, 8, context_tokens=64)


def test_without_demonstrations_there_is_a_reason(store: Store) -> None:
    with pytest.raises(AgentrError, match="no training task of stairs has a demonstration"):
        choose_examples(store, Stairs(), recipe(1), save=print)


def test_an_example_is_part_of_the_head_and_not_of_the_episode(store: Store) -> None:
    env = Corridor()
    run = "r"
    store.execute(
        "INSERT INTO runs (id, created_utc, status, env, seed, recipe, versions)"
        " VALUES ('r', '', 'running', 'corridor', 1, '{}', '{}')"
    )
    examples = run_examples(store, run, RunEnvironment(env, recipe(2)))
    assert len(examples) == 2 and list_examples(store, run, "corridor") == examples
    # What is stored later changes nothing.
    store.execute("DELETE FROM demonstrations")
    assert run_examples(store, run, RunEnvironment(env, recipe(2, seed=5))) == examples
    row = list_demonstrations(store, "corridor")
    assert row == []
    add_demonstrations(store, "corridor", [])
    steps = examples[1].steps
    messages = conversation(Opening("Rules.", "The task.", examples[:1]), steps)
    head, exchanges = split_exchanges(messages)
    assert head[0]["content"] == "Rules." and head[-1]["content"] == "The task."
    assert [message["role"] for message in head[1:]] == ["user", "assistant"] * len(
        examples[0].steps
    ) + ["user"]
    assert len(exchanges) == len(steps)
    own, flags = without_examples(messages, [True] * len(messages))
    assert own == conversation(Opening("Rules.", "The task."), steps) and len(flags) == len(own)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Any]]]:
    """A whole run with examples, and what its player was asked."""
    folder = tmp_path_factory.mktemp("finished")
    asked: list[GenerateRequest] = []

    class Listening(loop_case.Player):
        def generate(self, requests: Any) -> Any:
            asked.extend(requests)
            return super().generate(requests)

    with pytest.MonkeyPatch.context() as patch:
        loop_case.install(patch.setattr, Listening)
        patch.setenv("AGENTR_LITE_HOME", str(folder))
        path = loop_case.write_recipe(folder / "case", loop_case.IMITATION)
        path.write_text(path.read_text().replace("agent: {max_tokens: 40}", SHOWN))
        db = folder / "runs.db"
        with pytest.raises(SystemExit) as caught:
            main(["run", str(path), "-d", str(db)])
        assert not caught.value.code
        yield db, asked


def test_every_prompt_of_a_run_begins_with_the_same_examples(
    finished: tuple[Path, list[Any]],
) -> None:
    db, asked = finished
    assert len(asked) > 100
    heads = {str([m for m in request.messages if m.get("example")]) for request in asked}
    assert len(heads) == 1 and heads != {"[]"}
    with Store.open(db, create=False) as store:
        [run] = runs.list_runs(store)
        examples = list_examples(store, run.id, "corridor")
        assert str(conversation(Opening("", "", examples))[1:-1]) in heads


def test_a_run_searches_and_imitates_other_tasks(finished: tuple[Path, list[Any]]) -> None:
    with Store.open(finished[0], create=False) as store:
        [run] = runs.list_runs(store)
        shown = {example.task for example in list_examples(store, run.id, "corridor")}
        searched = {tree.task.name for tree in trees.list_trees(store, run.id)}
        assert len(shown) == 2 and searched and not shown & searched
        [imitated] = splices.list_datasets(store, run.id, round_index=0)
        learnt = {row.demonstration_id for row in splices.list_dataset_items(store, imitated.id)}
        by_id = {row.id: row.task.name for row in list_demonstrations(store, "corridor")}
        assert learnt and not shown & {by_id[number] for number in learnt if number}


def test_what_is_learnt_is_what_is_played(finished: tuple[Path, list[Any]]) -> None:
    with Store.open(finished[0], create=False) as store:
        [run] = runs.list_runs(store)
        examples = list_examples(store, run.id, "corridor")
        accepted = splices.list_revisions(store, run.id, accepted=True)
        assert accepted
        for revision in accepted:
            assert revision.messages is not None and revision.loss is not None
            head, _ = split_exchanges(revision.messages)
            assert len(head) == 2 + sum(2 * len(example.steps) for example in examples)
            assert not any(revision.loss[: len(head)])
            own, loss = without_examples(revision.messages, revision.loss)
            assert any(loss) and own[1]["role"] == "user"
        row = list_demonstrations(store, "corridor")[0]
        messages, loss = imitation_messages(row, "Rules.", examples)
        learnt = [m for m, flag in zip(messages, loss, strict=True) if flag]
        assert [parse_action(m["content"]) for m in learnt] == [s.action for s in row.steps]
