"""Makes an ``Environment`` of a Gymnasium environment with text observations.

Source: Farama Gymnasium's ``Env``, ``spaces.Text`` and registry.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult

if TYPE_CHECKING:
    import gymnasium

_FIRST_SEED = {"train": 0, "dev": 1_000_000, "test": 2_000_000}
_SHOWN_ACTIONS = 64
_COLOURED = re.compile(r"\x1b\[[0-9;]+m([^\x1b]*)\x1b\[0m")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_INSTRUCTIONS = """\
You act in the environment {id}. Each message tells what you observe.

Write two lines each turn:
Thought: what you see, what the goal needs, and what to do next
Action: exactly one action

{actions}"""
_BRIEF = "Act in the environment. Answer with a Thought line and an Action line."


class GymnasiumText(Environment):
    """A registered Gymnasium environment whose observations are text.

    An observation is text, or a mapping or a tuple with text under ``observation_key``. If an
    environment has no text but can draw itself with characters (``render_mode="ansi"``: FrozenLake,
    Taxi, CliffWalking), its drawing is the observation.

    Actions are text (``spaces.Text``), numbers (``spaces.Discrete``; or names, if ``actions`` gives
    them), or any Python literal that the space contains. A task is a seed.

    The reward is the last step's, or with ``reward: sum`` the sum over the episode so far. It is
    scaled so that ``reward_low`` is 0 and ``reward_high`` is 1, and clipped to [0, 1].

    Args:
        address: the environment's id, e.g. ``FrozenLake-v1``, or ``module:id`` to import first.
        make: keyword arguments of ``gymnasium.make``.
        instructions: the system prompt; default: a general one with the actions.
        actions: names of a ``Discrete`` space's actions, starting with its first action.
        observation_key: the key of the text in an observation that is a mapping or a tuple, or in
            ``info`` if the observation is no text.
        reward: ``last`` step's or ``sum`` over the episode.
        reward_low: the reward that becomes 0.
        reward_high: the reward that becomes 1.
        train, dev, test: number of tasks (seeds) in each split.

    Raises:
        UsageError: Gymnasium is not installed, there is no such environment, or an option is
            wrong.
    """

    def __init__(
        self,
        address: str,
        make: Mapping[str, Any] | None = None,
        instructions: str = "",
        actions: Sequence[str] = (),
        observation_key: str | int | None = None,
        reward: str = "last",
        reward_low: float = 0.0,
        reward_high: float = 1.0,
        train: int = 200,
        dev: int = 50,
        test: int = 100,
    ) -> None:
        self.name = f"gymnasium:{address}"  # type: ignore[misc]  # known here, not in the class
        self._id = address
        if reward not in ("last", "sum"):
            raise UsageError(f"{self.name}: reward is 'last' or 'sum', not {reward!r}")
        if not reward_low < reward_high:
            raise UsageError(f"{self.name}: reward_low must be less than reward_high")
        self._counts = {"train": train, "dev": dev, "test": test}
        self._env, self._drawn = _make(self.name, address, make or {}, observation_key is None)
        self.keeps_full_stop = type(self._env.action_space).__name__ == "Text"
        self._instructions = instructions
        self._words = self._action_words(list(actions))
        self._key = observation_key
        self._sums = reward == "sum"
        self._range = (float(reward_low), float(reward_high))
        self._total = 0.0
        self._over = (False, False)
        self._playing = False
        self._masked: frozenset[int] = frozenset()

    def tasks(self, split: str) -> Sequence[Task]:
        """One task for each seed; no seed is in two splits.

        Raises:
            UsageError: there is no such split.
        """
        if split not in self._counts:
            raise UsageError(
                f"{self.name} has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        first = _FIRST_SEED[split]
        return [
            Task(f"seed-{seed}", split, f"{self._id} with seed {seed}", payload={"seed": seed})
            for seed in range(first, first + self._counts[split])
        ]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task``. The environment gets the task's own seed; ``seed`` changes nothing.

        Raises:
            UsageError: the observation is no text.
        """
        observation, info = self._env.reset(seed=int(task.payload["seed"]))
        self._total, self._over, self._playing = 0.0, (False, False), True
        self._masked = self._masked_by(info)
        return self.text(observation, info), {}

    def step(self, action: str) -> StepResult:
        """Carry out one action; one that the space does not contain changes nothing."""
        if not self._playing:
            raise UsageError(f"{self.name}: reset comes before the first step")
        if any(self._over):
            return self._refused("The episode is over.")
        understood, value = self._read(action)
        if not understood:
            return self._refused(f"No such action. {self._words_shown()}")
        observation, reward, terminated, truncated, info = self._env.step(value)
        self._total = float(reward) + (self._total if self._sums else 0.0)
        self._over = (bool(terminated), bool(truncated))
        self._masked = self._masked_by(info)
        kept = {"invalid": bool(info.get("invalid")), "disaster": bool(info.get("disaster"))}
        return StepResult(self.text(observation, info), self._reward(), *self._over, kept)

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        if brief:
            return _BRIEF
        shown = self._words_shown()
        return self._instructions or _INSTRUCTIONS.format(id=self._id, actions=shown)

    def valid_actions(self) -> list[str] | None:
        """All actions of a ``Discrete`` space that ``info["action_mask"]`` does not exclude."""
        if not self._words:
            return None
        if any(self._over):
            return []
        return [word for i, word in enumerate(self._words) if i not in self._masked]

    def close(self) -> None:
        """Close the Gymnasium environment."""
        self._env.close()

    def _refused(self, text: str) -> StepResult:
        return StepResult(text, self._reward(), *self._over, {"invalid": True})

    def _masked_by(self, info: Mapping[str, Any]) -> frozenset[int]:
        """The numbers of the excluded actions, from 0."""
        import numpy as np

        mask = np.ravel(info.get("action_mask", ()))
        if mask.size != len(self._words):
            # There is no mask, or it does not describe the actions.
            return frozenset()
        return frozenset(np.flatnonzero(mask == 0).tolist())

    def _reward(self) -> float:
        low, high = self._range
        share = (self._total - low) / (high - low)
        # NaN is kept, so that the checker notices it.
        return share if math.isnan(share) else min(1.0, max(0.0, share))

    def _action_words(self, names: list[str]) -> dict[str, int]:
        """Words for the actions of a ``Discrete`` space; empty for other spaces."""
        import gymnasium

        space = self._env.action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            if names:
                raise UsageError(f"{self.name}: actions have no names in {space}")
            return {}
        first, count = int(space.start), int(space.n)
        if names and len(names) != count:
            raise UsageError(f"{self.name} has {count} actions, not {len(names)}")
        words = [str(name) for name in names] or [str(first + index) for index in range(count)]
        return {word: first + index for index, word in enumerate(words)}

    def _words_shown(self) -> str:
        if not self._words:
            return f"Actions are of the kind {self._env.action_space}."
        shown = list(self._words)[:_SHOWN_ACTIONS]
        more = len(self._words) - len(shown)
        return f"Actions: {', '.join(shown)}{f' and {more} more' if more else ''}."

    def _read(self, action: str) -> tuple[bool, Any]:
        """Whether an action is understood, and its value."""
        import gymnasium

        space = self._env.action_space
        if self._words:
            word = action.strip()
            by_case = {known.lower(): value for known, value in self._words.items()}
            value: Any = self._words.get(word, by_case.get(word.lower()))
            return value is not None, value
        if isinstance(space, gymnasium.spaces.Text):
            # The environment itself checks the text's alphabet and length.
            return True, action
        try:
            value = ast.literal_eval(action.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return False, None
        if isinstance(space, gymnasium.spaces.Box):
            import numpy as np

            try:
                value = np.asarray(value, dtype=space.dtype)
            except (TypeError, ValueError):
                return False, None
        if isinstance(space, gymnasium.spaces.Tuple) and isinstance(value, list):
            value = tuple(value)
        return bool(space.contains(value)), copy.copy(value)

    def text(self, observation: Any, info: Mapping[str, Any]) -> str:
        """The text of an observation; a subclass may make one if there is none.

        Raises:
            UsageError: the observation has no text.
        """
        text = observation
        if self._drawn:
            text = _without_escapes(self._env.render())
        elif self._key is not None:
            holds = isinstance(observation, Mapping | tuple | list)
            text = (observation if holds else info)[self._key]  # type: ignore[index]
        if isinstance(text, str):
            return text
        raise UsageError(
            f"{self.name}: its observation is a {type(text).__name__}, not text",
            hint="`-o observation_key=KEY` names the part of it, or of info, that is text."
            " Otherwise, write a subclass that makes the text (docs/environments.md).",
        )


def _without_escapes(drawing: Any) -> Any:
    """Replace colours that mark a place by brackets, and drop other terminal escapes."""
    if not isinstance(drawing, str):
        return drawing
    return _ESCAPE.sub("", _COLOURED.sub(r"[\1]", drawing)).strip("\n")


def _make(
    name: str, address: str, options: Mapping[str, Any], may_draw: bool
) -> tuple[gymnasium.Env[Any, Any], bool]:
    """Make the environment.

    Returns:
        (the environment, whether its drawing is the observation).

    Raises:
        UsageError: it cannot be made.
    """
    if importlib.util.find_spec("gymnasium") is None:
        raise UsageError(
            f"{name}: the package Gymnasium is not installed",
            hint="pip install 'agentr-lite[gymnasium]'",
        )
    import gymnasium

    try:
        # Gymnasium's checker warns about things that this adapter handles.
        env = gymnasium.make(address, disable_env_checker=True, **options)
        holds_text = isinstance(
            env.observation_space,
            gymnasium.spaces.Text | gymnasium.spaces.Dict | gymnasium.spaces.Tuple,
        )
        modes = env.metadata.get("render_modes") or ()
        if holds_text or not may_draw or "ansi" not in modes or env.render_mode is not None:
            return env, env.render_mode == "ansi" and not holds_text and may_draw
        env.close()
        drawing = gymnasium.make(
            address, disable_env_checker=True, **{**options, "render_mode": "ansi"}
        )
        return drawing, True
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DependencyNotInstalled) as error:
        raise UsageError(
            f"{name}: {' '.join(str(error).split())}",
            hint="`module:ID` imports the module that registers the environment first.",
        ) from error
    except ImportError as error:
        raise UsageError(f"{name}: cannot import {error.name}: {error}") from error
