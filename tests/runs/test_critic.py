"""The critic that is asked about a single tree: same verdicts as splicing's, stored or not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.recipe.groups import SpliceSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs import actors, critic
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs, splices
from agentr_lite.store.first_errors import splicing_of_trees
from tests.support.corridor import Corridor
from tests.support.inspector_cases import RECIPE
from tests.support.splice_cases import RuleActor, plant
from tests.support.stages import splice_stage

FAILED = ["forward, back, leave it", "back, back"]
SOLVED = ["forward, forward, take, forward, open", "forward, back, jump"]


@dataclasses.dataclass
class Case:
    """A run with one tree that was never solved and one that was."""

    path: Path
    run_id: str
    failed: int
    solved: int
    actor: RuleActor
    opened: int = 0

    def ask(self, tree_id: int, *, cancelled_at: int = -1) -> critic.CriticAnswer | None:
        said: list[str] = []
        self.said = said
        return critic.TreeCritic(self.path).ask(
            tree_id, said.append, lambda: 0 <= cancelled_at < len(said)
        )

    def stored(self) -> list[tuple[int, str]]:
        with Store.open(self.path, read_only=True) as store:
            rows = splices.list_judgements(store, self.run_id, tree_id=self.failed)
        return [(row.node_idx, row.verdict) for row in rows]


def make(path: Path, recipe: Recipe, *, spliced: bool = True) -> Case:
    actor, env = RuleActor(["back"]), Corridor()
    tasks = list(env.tasks("train"))
    with Store.open(path) as store:
        run_id = create_run(store, recipe)
        failed = plant(store, run_id, env, tasks[0], FAILED)
        solved = plant(store, run_id, env, tasks[1], SOLVED, wave=1)
        if spliced:
            splice_stage(store, run_id, 1, recipe, env, actor)
    return Case(path, run_id, failed, solved, actor)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    made = make(tmp_path / "runs.db", with_splice())
    serve(made, monkeypatch)
    return made


def serve(made: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(recipe: Recipe, **more: Any) -> RuleActor:
        made.opened += 1
        return made.actor

    monkeypatch.setattr(actors, "open_actor", opened)


def with_splice(**settings: Any) -> Recipe:
    values = {"recovery_attempts": 0, **settings}
    return dataclasses.replace(RECIPE, splice=SpliceSettings(**values))


def nodes(rows: Sequence[Any]) -> list[tuple[int, str]]:
    return [(row.node_idx, row.verdict) for row in rows]


def test_the_verdicts_are_those_that_splicing_would_have_stored(case: Case, tmp_path: Path) -> None:
    assert case.stored() == []
    answer = case.ask(case.failed)
    assert answer is not None and answer.note == ""
    by_recipe = make(tmp_path / "other.db", with_splice(judge_failures=True))
    assert case.stored() == by_recipe.stored() == nodes(answer.judgements)
    assert "bad" in [verdict for _, verdict in case.stored()]
    with Store.open(case.path, read_only=True) as store:
        splicing = splicing_of_trees(store, case.run_id, 1)[case.failed]
        assert splicing.first_error is not None and splicing.pairs == 0
        calls = store.scalar(
            "SELECT count(*) FROM model_calls WHERE tree_id = ? AND purpose = 'judge'",
            (case.failed,),
        )
    assert calls == len(answer.judgements)
    assert case.said[0] == "loading the model" and case.said[1].startswith("0 of at most ")


def test_the_model_is_loaded_once(case: Case) -> None:
    asked = critic.TreeCritic(case.path)
    for _ in range(2):
        assert asked.ask(case.failed, lambda text: None, lambda: False) is not None
    assert case.opened == 1


def test_what_cannot_be_stored_is_shown(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(case.path) as store, claimed(store, case.run_id):
        answer = case.ask(case.failed)
    assert answer is not None and "is working on run" in answer.note
    monkeypatch.setattr(critic, "is_writable", lambda path: False)
    answer = case.ask(case.failed)
    assert answer is not None and answer.note == "the database cannot be written"
    assert "bad" in [row.verdict for row in answer.judgements]
    assert case.stored() == []


def test_splicing_still_finds_the_round_that_it_has_not_spliced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(tmp_path / "runs.db", with_splice(), spliced=False)
    serve(case, monkeypatch)
    answer = case.ask(case.failed)
    assert answer is not None and answer.note == "the round has not been spliced yet"
    with Store.open(case.path) as store:
        assert splices.list_trajectories(store, case.run_id) == []
        splice_stage(store, case.run_id, 1, with_splice(), Corridor(), case.actor)
        assert splices.list_revisions(store, case.run_id)


def test_a_recipe_without_a_critic_gets_no_verdicts_in_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(tmp_path / "runs.db", with_splice(critic="none"))
    serve(case, monkeypatch)
    answer = case.ask(case.failed)
    assert answer is not None and answer.note == "the run's recipe has no critic"
    assert [row.critic for row in answer.judgements] == ["score"] * len(answer.judgements)
    assert answer.judgements and case.stored() == []


def test_cancelling_keeps_nothing(case: Case) -> None:
    before = len(case.actor.judged)
    assert case.ask(case.failed, cancelled_at=0) is None
    assert len(case.actor.judged) == before and case.stored() == []


def test_a_tree_that_was_solved_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, match="it was solved"):
        case.ask(case.solved)
    with pytest.raises(UsageError, match="no longer exists"):
        case.ask(99)


def test_a_missing_model_is_told_with_what_to_do(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    with Store.open(case.path) as store:
        recipe = dict(runs.get_run(store, case.run_id).recipe)
        recipe["model"] = str(tmp_path / "gone.gguf")
        store.execute("UPDATE runs SET recipe = ?", (json.dumps(recipe),))
    with pytest.raises(ModelError, match=r"the critic is the run's own model.*gone\.gguf") as info:
        case.ask(case.failed)
    assert info.value.hint
