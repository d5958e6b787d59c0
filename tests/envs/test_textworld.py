"""TextWorld: making games, playing them, their states and the oracle."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.agent.boundary import guarded_reset, guarded_step
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.tasks import SPLITS
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.isolated import IsolatedEnvironment
from agentr_lite.envs.registry import make_env
from agentr_lite.envs.textworld import TextWorld
from agentr_lite.envs.textworld.build import Workshop
from agentr_lite.envs.textworld.env import is_played, one_line
from agentr_lite.envs.textworld.games import LEVELS, make_tasks
from agentr_lite.envs.textworld.machine import read_output, tidy
from tests.support.hostile_actions import play_hostile_actions

needs_textworld = pytest.mark.skipif(
    importlib.util.find_spec("textworld") is None,
    reason="TextWorld is not installed: pip install 'agentr-lite[textworld]'",
)


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests of this file: a game takes seconds to make."""
    return tmp_path_factory.mktemp("games")


@pytest.fixture
def env(games: Path) -> Iterator[TextWorld]:
    made = TextWorld(levels=[3], train=1, dev=1, test=1, games_dir=str(games))
    yield made
    made.close()


def test_reading_what_a_game_prints() -> None:
    raw = (
        "\n[opening the fridge]\nYou open the fridge, revealing a carrot.\n"
        "[opening the fridge - succeeded]\n\n\n\nYour score has just gone up by one point.\n"
        "[(first taking) the carrot - succeeded]\n"
        "<score>\n2\n</score><moves>\n3\n</moves>\n>          -= Kitchen =-0/4"
    )
    output = read_output(raw)
    assert output.text == (
        "You open the fridge, revealing a carrot.\n\nYour score has just gone up by one point."
    )
    assert output.events == ("opening the fridge",)
    assert output.score == 2
    ended = read_output(
        "You eat.\n\n   *** The End ***\n\nYou scored 3 out of a possible 3, in 4 turns.\n\n\n"
        "Would you like to RESTART, RESTORE a saved game, QUIT or UNDO the last command?\n> "
    )
    assert ended.score == 3 and ended.text.endswith("in 4 turns.") and ended.events == ()
    assert read_output("\nI beg your pardon?\n\n>  -= Study =-0/5").score is None
    assert tidy("  a  \n\n \n\n b \n") == "a\n\nb"


@pytest.mark.parametrize("game", LEVELS)
def test_splits_share_no_game(game: str) -> None:
    every = range(1, len(LEVELS[game]) + 1)
    tasks = {split: make_tasks(game, every, split, 20) for split in SPLITS}
    payloads = [json.dumps(dict(t.payload)) for split in SPLITS for t in tasks[split]]
    assert len(set(payloads)) == 60
    assert len({t.payload["seed"] for split in SPLITS for t in tasks[split]}) == 60
    assert {t.level for t in tasks["dev"]} == set(every)
    assert tasks["test"][:7] == make_tasks(game, every, "test", 7)


@needs_textworld
def test_a_game_is_won_by_its_plan(env: TextWorld) -> None:
    (task,) = env.tasks("train")
    observation, _ = env.reset(task)
    assert observation.startswith("You are hungry!") and "-= Kitchen =-" in observation
    assert "$$" not in observation and ">" not in observation
    plan = env.solve(task)
    assert plan[-2:] == ["prepare meal", "eat meal"]
    rewards = []
    for number, action in enumerate(plan):
        assert env.plan() == plan[number:]
        assert action in env.valid_actions()
        result = env.step(action)
        rewards.append(result.reward)
        assert not result.info["invalid"] and result.observation
        assert result.terminated == (number == len(plan) - 1)
    assert rewards == sorted(rewards) and rewards[-1] == 1.0
    assert 0 < rewards[-2] < 1, "points come on the way"
    after = env.step("look")
    assert after.terminated and after.reward == 1.0 and after.info["invalid"]
    assert env.plan() == [] and env.valid_actions() == [] and env.describe_state() == ""


@pytest.mark.parametrize(
    "action",
    [
        *("look. save", "look.SAVE", "look, quit", "me, save", "look; restart", "look then q"),
        *(". save", "\nundo", "look.\n save", "look. save\0x", "transcripzz", "look. superbrieF"),
        *("long", "look. Short", "me, normal"),
        *("look. tw-trace-actions", "TW-print facts", "print_state", "restrict commands", "o save"),
        *("look. again", "g, look", "look. " + "." * 188 + "saved", '"save', 'look."undo"'),
        *(
            "\\boxed{take apple}",
            r"\frac{1}{2}",
            "\\U",
            "look \\s",
            "take \\\\",
            "\n\\help",
            "\x00\\",
        ),
    ],
)
def test_commands_to_the_interpreter_are_found_anywhere_on_a_line(action: str) -> None:
    assert not is_played(one_line(action), again=True)


def test_what_is_for_the_game_is_played() -> None:
    lines = ("look", "take the saved quilt", "open fridge. go north", "", "工作", "strengthen door")
    assert all(is_played(one_line(line), again=False) for line in lines)
    assert one_line("  take \n apple\t") == "take apple"
    assert len(one_line("工" * 500).encode()) <= 198
    assert is_played("again", again=True) and is_played("G", again=True)
    assert not is_played("again", again=False) and not is_played("g", again=False)


@needs_textworld
def test_the_text_of_a_model_writes_no_files(
    env: TextWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env.reset(env.tasks("train")[0])
    for action in ("again", "look. save", "me, save", "look, restart", "transcripzz"):
        assert env.step(action).info["invalid"]
    assert list(tmp_path.iterdir()) == []
    first = env.step("look").observation
    assert env.step("again").observation == first


@needs_textworld
def test_nothing_of_an_action_reaches_the_interpreters_commands(
    games: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {"levels": [3], "train": 1, "dev": 1, "test": 1, "games_dir": str(games)}
    with closing(make_env("textworld", {**options, "time_limit_s": 20})) as env:
        assert isinstance(env, IsolatedEnvironment)
        guarded_reset(env, env.tasks("train")[0])
        capfd.readouterr()
        for action in (
            "\\boxed{take apple}",
            "\\frac",
            "\\U",
            "look \\s",
            "\\",
            "\n\\d\n",
            "@",
            "*",
        ):
            assert guarded_step(env, action).info["invalid"]
        counts, faults = play_hostile_actions(env, 300, seed=7)
        assert faults == {} and counts.total() == 300 and counts["understood"] > 10
    assert "DUMB-FROTZ" not in "".join(capfd.readouterr())


@needs_textworld
def test_the_machine_refuses_what_is_no_line(env: TextWorld) -> None:
    env.reset(env.tasks("train")[0])
    machine, _ = env._playing()
    for command in ("\\U", "a\nb", "look\x00"):
        with pytest.raises(ValueError, match="no line for the game"):
            machine.send(command)


@needs_textworld
def test_what_is_no_move(env: TextWorld) -> None:
    env.reset(env.tasks("train")[0])
    before = env.describe_state()
    for action in ("quit", "SAVE", "restart", "undo", "tw-print facts", "dance wildly", "", "工作"):
        result = env.step(action)
        assert result.info["invalid"] and result.observation and not result.terminated
        assert result.reward == 0.0
    assert env.describe_state() == before
    assert not env.step("look").info["invalid"]


@needs_textworld
def test_a_disaster_loses_the_game(games: Path) -> None:
    env = TextWorld(levels=[3], train=1, games_dir=str(games))
    (task,) = env.tasks("train")
    env.reset(task)
    for action in env.solve(task):
        env.step(action)
        if action.startswith("cook"):
            lost = env.step(action)
            break
    assert lost.terminated and lost.info["disaster"] and 0 < lost.reward < 1
    assert env.plan() == []
    env.close()


@needs_textworld
def test_states_travel_between_instances(env: TextWorld, games: Path) -> None:
    (task,) = env.tasks("train")
    env.reset(task)
    plan = env.solve(task)
    env.step(plan[0])
    held = pickle.loads(pickle.dumps(env.snapshot()))
    inventory, reward = env.describe_state(), env.step(plan[1]).reward
    other = TextWorld(levels=[3], train=1, dev=1, games_dir=str(games))
    # Another game in between.
    other.reset(other.tasks("dev")[0])
    other.restore(held)
    assert other.describe_state() == inventory
    assert other.plan() == plan[1:]
    assert other.step(plan[1]).reward == reward
    other.close()


@needs_textworld
def test_the_protocol_is_kept(env: TextWorld, games: Path) -> None:
    def again() -> TextWorld:
        return TextWorld(levels=[3], train=1, dev=1, test=1, games_dir=str(games))

    findings = check_environment(env, other=again, episodes=3)
    assert [finding for finding in findings if finding.failed] == []
    assert next(finding for finding in findings if finding.check == "oracle").cases == 3


@needs_textworld
@pytest.mark.parametrize("game", ["coins", "treasure", "quest"])
def test_the_other_games(game: str, games: Path) -> None:
    env = TextWorld(game=game, levels=[1], train=1, games_dir=str(games))
    (task,) = env.tasks("train")
    env.reset(task)
    for action in env.solve(task):
        result = env.step(action)
    assert result.terminated and result.reward == 1.0
    env.close()


@needs_textworld
def test_games_are_the_same_whatever_the_hash_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = make_tasks("cooking", [1], "dev", 1)[0].payload
    texts = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        workshop = Workshop(tmp_path / seed)
        story = workshop.game_file(payload)
        texts.append(story.read_bytes())
        assert sorted(f.suffix for f in story.parent.iterdir()) == [".json", ".z8"]
        workshop.close()
    assert texts[0] == texts[1]


@needs_textworld
def test_a_game_that_cannot_be_made(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    with pytest.raises(EnvironmentFault, match="cannot make a game: KeyError: 'rooms'"):
        workshop.game_file({"game": "quest", "seed": 1, "settings": {}})
    assert list(tmp_path.iterdir()) == []
    # The maker goes on with the next one; one that was killed is replaced.
    maker = workshop._maker
    assert maker is not None and maker.poll() is None
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    payload = make_tasks("quest", [1], "dev", 1)[0].payload
    with pytest.raises(EnvironmentFault, match="ended with code -9"):
        workshop.game_file(payload)
    assert workshop.game_file(payload).is_file()
    workshop.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"game": "cookng"}, "did you mean 'cooking'"),
        ({"levels": [0]}, "levels of cooking are 1 to 5"),
        ({"levels": []}, "levels of cooking are 1 to 5"),
        ({"train": "many"}, "train needs a whole number"),
        ({"test": -1}, "test needs a whole number"),
    ],
)
@needs_textworld
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_env("textworld", options)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        make_env("textworld", {"isolate": False})
    assert "agentr-lite[textworld]" in caught.value.hint
