"""Both ends against the package ``openenv``: its client plays our server, ours plays its server.

The package brings a hundred others, so it has an environment of its own: ``make test-models``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="pip install 'agentr-lite[openenv]'")

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.openenv.session import Full, Session
from agentr_lite.envs.registry import make_env
from agentr_lite.envs.textcraft import TextCraft
from tests.support import openenv_process
from tests.support.served import served

PYTHON = Path(
    os.environ.get("OPENENV_PYTHON")
    or Path(__file__).parents[2] / ".work" / "openenv" / "bin" / "python"
)
START_S = 600.0
"""The package takes long to import."""
pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        not PYTHON.is_file(), reason="the package openenv is not installed: make test-models"
    ),
]


def command(*arguments: str) -> list[str]:
    return [str(PYTHON), str(openenv_process.__file__), *arguments]


def said(*arguments: str) -> Any:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=START_S,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def their_server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.Popen(command("server", str(port)), env=environment)
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None and time.monotonic() < deadline
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_their_client_plays_our_textcraft() -> None:
    env = TextCraft()
    task = env.tasks("test")[40]
    actions = ["dance", *env.solve(task)]
    plan = {"reset": {"split": "test", "index": 40}, "actions": actions}
    with served("textcraft", "openenv") as url:
        first, *rest, last = said("client", url, json.dumps(plan))
    assert first == {"text": env.reset(task)[0], "reward": None, "done": False}
    for action, seen in zip(actions, rest, strict=True):
        result = env.step(action)
        assert seen == {
            "text": result.observation,
            "reward": result.reward,
            "done": result.terminated,
        }
    assert seen["reward"] == 1.0
    assert (last["state"]["task"], last["state"]["step_count"]) == (task.name, len(actions))


def test_their_validator_passes_our_server() -> None:
    with served("textcraft", "openenv") as url:
        report = said("validate", url)
    assert report["passed"], report["criteria"]
    assert report["mode"] == "simulation"


def test_our_client_plays_their_server() -> None:
    with their_server() as url:
        env = make_env(f"openenv+{url}", {"train": 4, "dev": 1, "test": 1})
        assert env.reset(env.tasks("train")[1])[0] == "Count: 1."
        assert env.step("one").info["invalid"]
        refused = env.step("99")
        assert refused.info["invalid"] and "cannot divide a duck" in refused.observation
        assert env.step("1").observation == "Count: 2."
        place = env.snapshot()
        end = env.step("1")
        assert (end.reward, end.terminated) == (1.0, True)
        env.restore(place)
        assert env.step("0").observation == "Count: 2."
        # It allows two sessions, and both are held by now.
        env.reset(env.tasks("train")[0])
        with pytest.raises(Full, match="2/2"):
            Session("another", url, timeout_s=60)
        findings = check_environment(
            env, other=lambda: make_env(f"openenv+{url}", {"train": 4}), episodes=2
        )
        assert [finding for finding in findings if finding.failed] == []
    with pytest.raises(EnvironmentFault, match="no server answers"):
        env.reset(env.tasks("train")[0])
    env.close()
