"""Runs the package ``openenv``: its client, its server, its validator. Needs a Python that has it.

``client URL ACTIONS`` plays one episode with the package's generic client and prints what it saw;
``server PORT`` serves a game with the package's server; ``validate URL`` prints the validator's
report. Actions and reports are JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def client(url: str, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Play one episode; ``plan`` holds the reset's fields and the actions."""
    from openenv.core.generic_client import GenericEnvClient

    seen = []
    with GenericEnvClient(base_url=url).sync() as env:
        results = [env.reset(**plan["reset"])]
        results += [env.step({"message": action}) for action in plan["actions"]]
        for result in results:
            text = result.observation["text"]
            seen.append({"text": text, "reward": result.reward, "done": result.done})
        seen.append({"state": env.state()})
    return seen


def server(port: int) -> None:
    """Serve a game of two sessions until the process is ended."""
    import uvicorn
    from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app

    class Guess(Action):
        number: int

    class Seen(Observation):
        text: str

    class Counting(Environment):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self) -> None:
            super().__init__()
            self._state = State()

        def reset(self, seed: int | None = None, episode_id: str | None = None) -> Seen:
            self.count = (seed or 0) % 2
            self._state = State(episode_id=episode_id)
            return Seen(text=f"Count: {self.count}.")

        def step(self, action: Guess) -> Seen:
            if action.number == 99:
                raise ValueError("cannot divide a duck")
            self.count += action.number
            self._state.step_count += 1
            done = self.count >= 3
            return Seen(text=f"Count: {self.count}.", reward=float(done), done=done)

        @property
        def state(self) -> State:
            return self._state

    app = create_fastapi_app(Counting, Guess, Seen, max_concurrent_envs=2)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def validate(url: str) -> dict[str, Any]:
    """The report of ``openenv validate --url``."""
    from openenv.cli._validation import validate_running_environment

    report: dict[str, Any] = validate_running_environment(url)
    return report


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["client", url, plan]:
            print(json.dumps(client(url, json.loads(plan))))
        case ["server", port]:
            server(int(port))
        case ["validate", url]:
            print(json.dumps(validate(url)))
