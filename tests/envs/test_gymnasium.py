"""Gymnasium environments through the adapter."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.agent.boundary import guarded_reset, guarded_step
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.registry import make_env

if importlib.util.find_spec("gymnasium") is None:
    pytest.skip(
        "Gymnasium is not installed: pip install 'agentr-lite[gymnasium]'", allow_module_level=True
    )

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Guess(gym.Env[Any, Any]):
    """Guess a number drawn from the seed; ``form`` says how text and actions look."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(self, form: str = "text", pay: float = 1.0) -> None:
        self.form, self.pay = form, pay
        self.observation_space = {
            "dict": spaces.Dict({"text": spaces.Text(99), "n": spaces.Discrete(9)}),
            "number": spaces.Discrete(9),
        }.get(form, spaces.Text(99))
        self.action_space = {
            "discrete": spaces.Discrete(4, start=1),
            "box": spaces.Box(-9, 9, (2,), np.float32),
            "tuple": spaces.Tuple((spaces.Discrete(5), spaces.Discrete(5))),
        }.get(form, spaces.Text(99))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.secret = int(self.np_random.integers(1, 5))
        return self.show(f"Guess 1 to 4 ({self.secret * 37 % 11})."), {"text": "in info"}

    def step(self, action: Any) -> Any:
        if self.form == "box":
            assert action.dtype == np.float32
        guess = action if self.form in ("text", "dict") else np.ravel(action)[0]
        won = str(int(float(guess))) == str(self.secret) if str(guess)[-1:].isdigit() else False
        return self.show("Right." if won else "Wrong."), self.pay * won - 0.5, won, False, {}

    def show(self, text: str) -> Any:
        if self.form == "dict":
            return {"text": text, "n": 1}
        return 3 if self.form == "number" else text


gym.register("Guess-v0", Guess, max_episode_steps=3)


def begin(name: str = "gymnasium:Guess-v0", **options: Any) -> tuple[Any, str]:
    env = make_env(name, options)
    return env, guarded_reset(env, env.tasks("train")[0])


def test_the_protocol_is_kept() -> None:
    env = make_env("gymnasium:Guess-v0", {"train": 3, "dev": 2, "test": 1})
    findings = check_environment(
        env, other=lambda: make_env("gymnasium:Guess-v0", {"train": 3}), episodes=4
    )
    assert [finding for finding in findings if finding.failed] == []
    assert env.name == "gymnasium:Guess-v0"
    assert [len(env.tasks(split)) for split in ("train", "dev", "test")] == [3, 2, 1]


def test_a_task_is_a_seed() -> None:
    env = make_env("gymnasium:Guess-v0")
    texts = [env.reset(task)[0] for task in env.tasks("train")[:20]]
    assert len(set(texts)) == 4
    assert texts == [env.reset(task)[0] for task in env.tasks("train")[:20]]


@pytest.mark.parametrize(
    ("form", "understood", "refused"),
    [
        ("discrete", ["1", " 4 "], ["0", "5", "one", ""]),
        ("box", ["[1, 2.5]", "(0, 0)"], ["[1]", "['a', 'b']", "go", "[99, 0]"]),
        ("tuple", ["(1, 2)", "[1, 2]"], ["(1, 7)", "1", "((", "9" * 5000]),
        ("text", ["anything", "工作"], []),
    ],
)
def test_actions(form: str, understood: list[str], refused: list[str]) -> None:
    for action in (*understood, *refused):
        env, _ = begin(make={"form": form})
        result = guarded_step(env, action)
        assert result.info["invalid"] == (action in refused), action
        if action in refused:
            assert result.observation.startswith("No such action. Actions")


def test_named_actions() -> None:
    env, _ = begin(make={"form": "discrete"}, actions=["one", "two", "three", "Four"])
    assert env.valid_actions() == ["one", "two", "three", "Four"]
    assert "Actions: one, two, three, Four." in env.instructions()
    assert not guarded_step(env, "TWO").info["invalid"]
    assert guarded_step(env, "2").info["invalid"]


class Masked(Guess):
    """Says that the last guess need not be repeated; before the first one, that 1 is wrong."""

    def __init__(self) -> None:
        super().__init__("discrete")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        observation, _ = super().reset(seed=seed)
        return observation, {"action_mask": np.array([0, 1, 1, 1], np.int8)}

    def step(self, action: Any) -> Any:
        mask = np.arange(1, 5) != action
        return (*super().step(action)[:4], {"action_mask": mask if action != 4 else mask[:2]})


gym.register("Masked-v0", Masked)


def test_masked_actions_are_left_out() -> None:
    env, _ = begin("gymnasium:Masked-v0")
    secret = env.inner._env.unwrapped.secret
    assert env.valid_actions() == ["2", "3", "4"]
    wrong = "2" if secret != 2 else "3"
    # A masked action may still be taken, and one that is none leaves the mask as it is.
    assert not guarded_step(env, wrong).info["invalid"] and guarded_step(env, "9").info["invalid"]
    assert env.valid_actions() == [word for word in "1234" if word != wrong]
    if secret != 4:
        guarded_step(env, "4")
        assert env.valid_actions() == list("1234"), "a mask of another length is none"
    guarded_step(env, str(secret))
    assert env.valid_actions() == []


def test_rewards() -> None:
    def rewards(**options: Any) -> list[float]:
        env, _ = begin(make={"pay": 2.0}, **options)
        secret = env.inner._env.unwrapped.secret
        return [guarded_step(env, a).reward for a in (str(secret % 4 + 1), str(secret))]

    assert rewards() == [0.0, 1.0]
    assert rewards(reward_low=-0.5, reward_high=1.5) == [0.0, 1.0]
    assert rewards(reward="sum", reward_low=-1, reward_high=3) == [0.125, 0.5]


def test_not_a_number_is_noticed() -> None:
    env, _ = begin(make={"pay": float("nan")})
    with pytest.raises(EnvironmentFault, match=r"gymnasium:Guess-v0.*reward nan"):
        guarded_step(env, "1")


def test_an_episode_that_is_over_stays_over() -> None:
    env, _ = begin()
    results = [guarded_step(env, "0") for _ in range(4)]
    assert [r.truncated for r in results] == [False, False, True, True]
    assert results[3].observation == "The episode is over."


def test_where_the_text_is() -> None:
    assert begin(make={"form": "dict"}, observation_key="text")[1].startswith("Guess 1 to 4")
    assert begin(make={"form": "number"}, observation_key="text")[1] == "in info"
    with pytest.raises(EnvironmentFault, match="its observation is a int, not text"):
        begin(make={"form": "number"})


def test_the_manuals_class_puts_numbers_into_words(tmp_path: Path) -> None:
    manual = Path(__file__).parents[2] / "docs" / "environments.md"
    text = manual.read_text("utf-8")
    code = text.partition("<!-- example: words -->\n```python\n")[2].partition("```")[0]
    path = tmp_path / "cartpole.py"
    path.write_text(code, "utf-8")
    env, first = begin(str(path))
    assert re.fullmatch(r"The cart is at -?0\.\d\d, the pole leans by -?0\.\d{3}\.", first)
    rewards = [guarded_step(env, action).reward for action in ("left", "right")]
    assert rewards == [1 / 500, 2 / 500]


def test_a_drawing_serves_as_text() -> None:
    env, text = begin(
        "gymnasium:FrozenLake-v1",
        make={"is_slippery": False},
        actions=["left", "down", "right", "up"],
    )
    assert "[S]FFF\nFHFH\nFFFH\nHFFG" in text and "\x1b" not in text
    path = ["down", "down", "right", "right", "down", "right"]
    held = env.snapshot()
    results = [guarded_step(env, action) for action in path]
    assert "F[F]HF" not in results[0].observation and "[F]HFH" in results[0].observation
    assert results[-1].terminated and results[-1].reward == 1.0
    env.restore(held)
    assert guarded_step(env, "down").observation == results[0].observation


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gymnasium:Gues-v0", {}, "Gues"),
        ("gymnasium:no_such_module:X-v0", {}, "no_such_module"),
        ("gymnasium:Guess-v0", {"reward": "mean"}, "'last' or 'sum'"),
        ("gymnasium:Guess-v0", {"reward_low": 1}, "less than reward_high"),
        ("gymnasium:Guess-v0", {"actions": ["a"]}, "no names"),
        ("gymnasium:Guess-v0", {"make": {"form": "discrete"}, "actions": ["a"]}, "has 4 actions"),
        ("gymnasium:Guess-v0", {"adress": "x"}, "no option 'adress'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_env(name, options)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        make_env("gymnasium:Guess-v0")
    assert "agentr-lite[gymnasium]" in caught.value.hint
