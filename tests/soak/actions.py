"""Fuzzed actions: nothing that a model may write is a fault of one of our environments."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from tests.soak.kind import Bench, Kind, Outcome
from tests.support.hostile_actions import play_hostile_actions

ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "textcraft": {},
    "webshop": {},
    "sciworld": {},
    # Each game is made once, which takes seconds.
    "textworld": {"train": 12},
}
ACTIONS = 500


@dataclass(frozen=True)
class Fuzzed:
    """Actions in an environment.

    Attributes:
        environment: which.
        seed: of the actions.
    """

    environment: str
    seed: int


class Actions(Kind[Fuzzed]):
    """The four environments, drawn alike."""

    name = "actions"
    share = 16

    def draw(self, rng: random.Random) -> Fuzzed:
        return Fuzzed(rng.choice(list(ENVIRONMENTS)), rng.randrange(2**31))

    def check(self, scenario: Fuzzed, bench: Bench) -> Outcome:
        name = scenario.environment

        def make() -> Environment:
            env = make_env(name, ENVIRONMENTS[name])
            bench.closing.callback(env.close)
            return env

        env: Environment = bench.once(f"environment {name}", make)
        counts, faults = play_hostile_actions(env, ACTIONS, scenario.seed)
        outcome = Outcome(faults=[f"{fault} at {action!r}" for fault, action in faults.items()])
        outcome.counts[f"in {name}"] = counts.total()
        outcome.counts["understood"] = counts["understood"]
        return outcome
