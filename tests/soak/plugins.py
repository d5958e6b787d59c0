"""A plugin of which one call goes wrong, as ``tests/cli/test_faulty_plugins.py`` has them all."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Running
from tests.support.faulty_env import CALLS, FAULTS
from tests.support.loop_case import write_recipe

ALLOWED = (0, 1, 2, 5, 6)
COMMANDS = ("check", "search", "eval", "run", "show", "demos")
_TINY = [
    *("rounds=1", "search.tasks=2", "search.simulations=2", "search.width=2", "search.depth=3"),
    *("eval.tasks=2", "eval.max_steps=3", "eval.samples=0", "eval.batch=1"),
]


@dataclass(frozen=True)
class Wrong:
    """What goes wrong, and in which command.

    Attributes:
        call: a call of the environment, or a part of what it gives.
        fault: what it does instead.
        command: one of ``COMMANDS``.
        isolated: whether the environment has a process of its own.
    """

    call: str
    fault: str
    command: str
    isolated: bool


class Plugins(Kind[Wrong]):
    """Whatever a plugin does costs its task, or ends the command with a message."""

    name = "plugins"
    share = 8

    def draw(self, rng: random.Random) -> Wrong:
        while True:
            call, fault = rng.choice(CALLS), rng.choice(list(FAULTS))
            # It has no end there, and no limit either.
            if (call, fault) != ("constructor", "endless"):
                return Wrong(call, fault, rng.choice(COMMANDS), rng.random() < 0.3)

    def check(self, scenario: Wrong, bench: Bench) -> Outcome:
        own = ["-o", f"call={scenario.call}", "-o", f"fault={scenario.fault}"]
        own += ["-o", "isolate=true"] if scenario.isolated else []
        own += ["-o", "time_limit_s=2"] if scenario.call != "time_limit_s" else []
        recipe = write_recipe(bench.folder / "case")
        sets = [word for key in _TINY for word in ("--set", key)]
        database = ["-d", str(bench.folder / "runs.db")]
        chosen = ["faulty", "--recipe", str(recipe), *sets, *own, *database]
        words = {
            "check": ["envs", "check", "faulty", "--episodes", "1", "--quick", *own],
            "show": ["envs", "show", "faulty", *own],
            "demos": ["demos", "make", "faulty", "--tasks", "2", *own, *database],
        }.get(scenario.command) or [scenario.command, *chosen]
        ended = Running(
            [*words, "--json"],
            program=("-m", "tests.soak.stand_in", "corridor"),
            folder=bench.folder,
        ).ended()
        outcome = Outcome()
        outcome.counts["commands"] += 1
        outcome.counts["in a process of its own"] += scenario.isolated
        outcome.faults += ended.judged(*ALLOWED)
        try:
            json.loads(ended.out)
        except ValueError as error:
            outcome.faults.append(f"no JSON on stdout ({error}): {ended.out[:300]!r}")
        return outcome
