"""ALFWorld: games in a directory, episodes, the expert, and states that are replayed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.alfworld.games import KINDS, Games, chosen_kinds
from agentr_lite.envs.base import Environment
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.registry import make_env
from tests.support.alfworld_games import write_game

needs_alfworld = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("alfworld", "fast_downward")),
    reason="ALFWorld is not installed: pip install 'agentr-lite[alfworld]'",
)


def written(folder: Path, kind: str = "pick_and_place_simple", *, solvable: str = "true") -> None:
    """A file that says what it is; nothing could play it."""
    folder.mkdir(parents=True)
    grammar = '{"grammar": "Your task is to: put it there.\\n\\n", "solvable": ' + solvable + "}"
    (folder / "game.tw-pddl").write_text(grammar)
    (folder / "traj_data.json").write_text(json.dumps({"task_type": kind}))


def names(games: Games, split: str) -> list[str]:
    return [task.name for task in games.tasks(split)]


def test_alfworlds_folders_are_the_splits(tmp_path: Path) -> None:
    root = tmp_path / "json_2.1.1"
    for folder in ("train/b/trial_1", "train/a/trial_2", "valid_seen/c/t", "valid_unseen/d/t"):
        written(root / folder)
    games = Games(tmp_path, KINDS)
    assert names(games, "train") == ["a/trial_2", "b/trial_1"]
    assert (names(games, "dev"), names(games, "test")) == (["c/t"], ["d/t"])
    task = games.tasks("train")[0]
    assert (task.goal, task.level) == ("put it there", 1)
    assert games.path(task) == root / "train/a/trial_2/game.tw-pddl"


def test_other_directories_are_split_in_order(tmp_path: Path) -> None:
    for number in range(10):
        written(tmp_path / f"game-{number}")
    games = Games(tmp_path, KINDS)
    assert [len(names(games, split)) for split in ("train", "dev", "test")] == [6, 1, 3]
    assert names(games, "dev") == ["game-6"]


def test_games_that_cannot_be_played_are_left_out(tmp_path: Path) -> None:
    written(tmp_path / "train/good")
    written(tmp_path / "train/unsolvable", solvable="false")
    written(tmp_path / "train/unknown", kind="dance")
    written(tmp_path / "train/AppleSliced-1/t")
    written(tmp_path / "train/movable_recep-1/t")
    (tmp_path / "train/alone").mkdir()
    (tmp_path / "train/alone/game.tw-pddl").write_text('{"solvable": true}')
    assert names(Games(tmp_path, KINDS), "train") == ["good"]


def test_kinds_can_be_chosen(tmp_path: Path) -> None:
    written(tmp_path / "train/a", "pick_and_place_simple")
    written(tmp_path / "train/b", "pick_heat_then_place_in_recep")
    assert names(Games(tmp_path, chosen_kinds("4")), "train") == ["b"]
    assert chosen_kinds("") == set(KINDS)
    assert chosen_kinds("1, look_at_obj_in_light") == {
        "pick_and_place_simple",
        "look_at_obj_in_light",
    }
    with pytest.raises(UsageError, match="no kind of task '7'"):
        chosen_kinds("7")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory") as caught:
        Games(tmp_path / "nowhere", KINDS)
    assert "alfworld-download" in caught.value.hint
    written(tmp_path / "train/a")
    (tmp_path / "train/a/traj_data.json").write_text("{")
    with pytest.raises(UsageError, match=r"cannot read .*traj_data\.json"):
        Games(tmp_path, KINDS).tasks("train")


@pytest.mark.skipif(
    importlib.util.find_spec("fast_downward") is not None, reason="the planner is installed"
)
def test_a_missing_package_is_said() -> None:
    with pytest.raises(UsageError, match="is not installed") as caught:
        make_env("alfworld")
    assert "agentr-lite[alfworld]" in caught.value.hint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two games for training and one to test with."""
    root = tmp_path_factory.mktemp("alfworld")
    write_game(root / "train/pick_and_place_simple-Mug-None-Desk-1/trial_1")
    write_game(root / "train/pick_and_place_simple-Pen-None-Desk-1/trial_1", thing="Pen")
    two = "pick_two_obj_and_place"
    write_game(root / f"valid_unseen/{two}-Pen-None-Desk-1/trial_1", two, "Pen")
    return root


def opened(folder: Path, **options: Any) -> Environment:
    return make_env("alfworld", {"games_dir": str(folder), **options})


@needs_alfworld
def test_an_episode_is_won_by_the_expert(folder: Path) -> None:
    env = opened(folder)
    for split in ("train", "test"):
        task = env.tasks(split)[0]
        solution = env.solve(task)
        first, _ = env.reset(task)
        # Upstream's agents do not see the title.
        assert first.startswith("You are in the middle of a room.")
        assert f"Your task is to: {task.goal}." in first
        results = [env.step(action) for action in solution]
        assert [result.reward for result in results] == [0.0] * (len(solution) - 1) + [1.0]
        assert results[-1].terminated and not any(result.info["invalid"] for result in results)
        assert env.valid_actions() == [] and env.step("look").info["invalid"]
    env.close()


@needs_alfworld
def test_what_is_impossible_changes_nothing(folder: Path) -> None:
    env = opened(folder)
    env.reset(env.tasks("train")[0])
    before = env.valid_actions()
    for action in ("dance", "take mug 1 from shelf 1", "", "\\U"):
        result = env.step(action)
        assert result.observation == "Nothing happens." and result.info["invalid"]
    assert env.valid_actions() == before
    env.close()


@needs_alfworld
def test_games_stay_where_they_were_played(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentr_lite.envs.alfworld.engine import Engine

    env = opened(folder, sessions=2)
    states = []
    for task in env.tasks("train"):
        env.reset(task)
        states.append(env.snapshot())
    starts: list[Path] = []
    monkeypatch.setattr(Engine, "start", lambda self: starts.append(self._path))
    # Two episodes take turns, and no game is started again.
    for action in ("go to shelf 1", "go to desk 1"):
        for index, state in enumerate(states):
            env.restore(state)
            assert not env.step(action).info["invalid"]
            states[index] = env.snapshot()
    assert starts == []
    env.close()


@needs_alfworld
def test_the_checker_finds_nothing(folder: Path) -> None:
    env = opened(folder)
    findings = check_environment(env, other=lambda: opened(folder), episodes=1, solve_all=False)
    env.close()
    assert [finding for finding in findings if finding.failed] == []


@needs_alfworld
def test_a_game_that_the_expert_does_not_solve_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentr_lite.envs.alfworld.engine._LONGEST", 3)
    env = opened(folder)
    with pytest.raises(EnvironmentFault, match="expert does not solve"):
        env.solve(env.tasks("train")[0])
    env.close()
