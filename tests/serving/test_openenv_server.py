"""OpenEnv's protocol: what the server answers, and our client, which must notice no difference."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

pytest.importorskip("websockets", reason="pip install 'agentr-lite[openenv]'")

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import SPLITS
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from agentr_lite.envs.textcraft import TextCraft
from tests.support.served import served

GAME = '''
from agentr_lite.envs.base import Environment, StepResult, Task


class Steps(Environment):
    """Reach three; each step earns a third, and a crash is an error."""

    name = "steps"

    def tasks(self, split):
        return [Task("three", split, "reach three")]

    def instructions(self, *, brief=False):
        return "Write `Thought:` and `Action:`."

    def reset(self, task, *, seed=0):
        self.count, self.seed = 0, seed
        return f"Count 0, seed {seed}.", {}

    def step(self, action):
        if action == "crash":
            raise ValueError("cannot divide a duck")
        self.count += 1
        return StepResult(f"Count {self.count}.", self.count / 3, self.count == 3, False, {})
'''


@pytest.fixture
def game(tmp_path: Path) -> str:
    """An environment that cannot save its state."""
    file = tmp_path / "steps.py"
    file.write_text(GAME)
    return str(file)


class Wire:
    """A WebSocket, in dictionaries."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def ask(self, kind: str, data: Any = None) -> dict[str, Any]:
        return self.say(
            json.dumps({"type": kind} if data is None else {"type": kind, "data": data})
        )

    def say(self, text: str) -> dict[str, Any]:
        self._socket.send(text)
        answer: dict[str, Any] = json.loads(self._socket.recv(timeout=120))
        return answer


@pytest.fixture
def textcraft() -> Iterator[str]:
    with served("textcraft", "openenv", sessions=2) as url:
        yield url


def connected(url: str) -> ClientConnection:
    return connect(f"ws{url.removeprefix('http')}/ws", proxy=None, open_timeout=60)


def play(env: Environment, number: int, actions: list[str]) -> list[tuple[Any, ...]]:
    first = env.reset(env.tasks("test")[number])[0]
    results = [env.step(action) for action in actions]
    return [(first,), *((r.observation, r.reward, r.terminated, r.truncated) for r in results)]


def test_textcraft_is_played_as_it_is(textcraft: str) -> None:
    local, remote = TextCraft(), make_env(f"openenv+{textcraft}")
    assert remote.instructions() == local.instructions()
    for split in SPLITS:
        assert [task.name for task in remote.tasks(split)] == [
            task.name for task in local.tasks(split)
        ]
        assert [task.goal for task in remote.tasks(split)] == [
            task.goal for task in local.tasks(split)
        ]
    for number in (0, 40, 80):
        actions = ["dance", *local.solve(local.tasks("test")[number])]
        assert play(remote, number, actions) == play(local, number, actions)
    remote.close()


def test_rewards_of_a_game_with_partial_success_add_up(game: str) -> None:
    with served(game, "openenv") as url:
        with connected(url) as socket:
            wire = Wire(socket)
            assert wire.ask("reset", {"split": "test", "index": 0})["data"]["reward"] is None
            rewards = [wire.ask("step", {"message": "go"})["data"]["reward"] for _ in range(3)]
            assert sum(rewards) == pytest.approx(1.0) and rewards[0] == pytest.approx(1 / 3)
        remote = make_env(f"openenv+{url}")
        assert [result[1] for result in play(remote, 0, ["go"] * 3)[1:]] == [
            pytest.approx(count / 3, abs=1e-8) for count in (1, 2, 3)
        ]
        remote.close()


def test_messages_are_those_of_the_protocol(textcraft: str) -> None:
    task = TextCraft().tasks("test")[3]
    with connected(textcraft) as socket:
        wire = Wire(socket)
        assert wire.ask("state") == {
            "type": "state",
            "data": {"episode_id": None, "step_count": 0, "split": None, "task": None},
        }
        begun = wire.ask("reset", {"split": "test", "index": 3, "episode_id": "mine"})
        assert begun["type"] == "observation"
        assert set(begun["data"]) == {"observation", "reward", "done", "metadata"}
        assert begun["data"]["observation"]["text"].startswith("Crafting commands:\n")
        assert begun["data"]["metadata"]["task"] == task.name
        step = wire.ask("step", {"message": "dance"})["data"]
        assert (step["reward"], step["done"], step["metadata"]["invalid"]) == (0.0, False, True)
        assert wire.ask("state")["data"] == {
            "episode_id": "mine",
            "step_count": 1,
            "split": "test",
            "task": task.name,
        }


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("{", "INVALID_JSON", "Invalid JSON"),
        ("[1]", "UNKNOWN_TYPE", "None"),
        ('{"type": "dance"}', "UNKNOWN_TYPE", "dance"),
        ('{"type": "step"}', "VALIDATION_ERROR", "Invalid message"),
        ('{"type": "step", "data": {"action": "x"}}', "VALIDATION_ERROR", "Invalid message"),
        ('{"type": "step", "data": {"message": 7}}', "VALIDATION_ERROR", "Invalid message"),
        ('{"type": "step", "data": {"message": "x"}}', "EXECUTION_ERROR", "reset comes before"),
        ('{"type": "reset", "data": []}', "VALIDATION_ERROR", "Invalid message"),
        ('{"type": "reset", "data": {"seed": "x"}}', "VALIDATION_ERROR", "Invalid message"),
        ('{"type": "reset", "data": {"split": "exam"}}', "EXECUTION_ERROR", "splits are train"),
        ('{"type": "reset", "data": {"index": 9999}}', "EXECUTION_ERROR", "0 to 341"),
        ('{"type": "reset", "data": {"task": "x"}}', "EXECUTION_ERROR", "no task 'x'"),
    ],
)
def test_a_wrong_message_is_an_error_and_the_session_goes_on(
    textcraft: str, text: str, code: str, said: str
) -> None:
    with connected(textcraft) as socket:
        wire = Wire(socket)
        answer = wire.say(text)
        assert answer["type"] == "error" and answer["data"]["code"] == code
        assert said in answer["data"]["message"]
        assert wire.ask("reset", {})["type"] == "observation"


def test_an_environment_that_fails_costs_the_step(game: str) -> None:
    with served(game, "openenv") as url, connected(url) as socket:
        wire = Wire(socket)
        wire.ask("reset", {})
        wire.ask("step", {"message": "go"})
        failed = wire.ask("step", {"message": "crash"})["data"]
        assert failed["code"] == "EXECUTION_ERROR" and "cannot divide a duck" in failed["message"]
        assert wire.ask("step", {"message": "go"})["data"]["observation"]["text"] == "Count 2."
        wire.ask("step", {"message": "go"})
        over = wire.ask("step", {"message": "go"})["data"]
        assert over["code"] == "EXECUTION_ERROR" and "reset begins another" in over["message"]


def test_a_seed_chooses_the_task_and_goes_to_the_environment(game: str, textcraft: str) -> None:
    with served(game, "openenv") as url, connected(url) as socket:
        text = Wire(socket).ask("reset", {"seed": 7})["data"]["observation"]["text"]
        assert text == "Count 0, seed 7."
    with connected(textcraft) as socket:
        wire = Wire(socket)
        names = [wire.ask("reset", data)["data"]["metadata"]["task"] for data in ({}, {})]
        assert len(set(names)) == 2
        drawn = [
            wire.ask("reset", {"seed": seed, "split": "validation"})["data"]["metadata"]["task"]
            for seed in (1, 1, 2)
        ]
        assert drawn[0] == drawn[1] != drawn[2]


def test_a_session_too_many_is_refused_and_a_closed_one_is_freed(textcraft: str) -> None:
    with connected(textcraft) as first, connected(textcraft) as second:
        Wire(first).ask("state")
        Wire(second).ask("state")
        with connected(textcraft) as third:
            # It comes unasked, and then the connection is closed.
            refused = json.loads(third.recv(timeout=120))["data"]
            assert refused["code"] == "CAPACITY_REACHED"
            assert (refused["active_sessions"], refused["max_sessions"]) == (2, 2)
            with pytest.raises(ConnectionClosed):
                third.recv(timeout=60)
        # Our client takes a second session only where there is one.
        first.send('{"type": "close"}')
        with pytest.raises(ConnectionClosed):
            first.recv(timeout=60)
        remote = make_env(f"openenv+{textcraft}")
        for task in remote.tasks("train")[:4]:
            remote.reset(task)
        remote.close()


@pytest.mark.parametrize("kind", ["textcraft", "game"])
def test_sessions_do_not_disturb_each_other(game: str, kind: str) -> None:
    """Both where sessions are snapshots of one environment, and where each has its own."""
    with served(game if kind == "game" else kind, "openenv", sessions=8) as url:
        seen: dict[int, list[str]] = {}

        def client(number: int) -> None:
            with connected(url) as socket:
                wire = Wire(socket)
                wire.ask("reset", {"index": 0})
                texts = [
                    wire.ask("step", {"message": f"get {number} coal"})["data"]
                    for _ in range(number % 3 + 1)
                ]
                texts.append(wire.ask("state")["data"])
                seen[number] = [json.dumps(text.get("observation", text)) for text in texts]

        threads = [threading.Thread(target=client, args=(number,)) for number in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 6
    for number, texts in seen.items():
        assert json.loads(texts[-1])["step_count"] == number % 3 + 1
        last = json.loads(texts[-2])["text"]
        assert last == (f"Count {number % 3 + 1}." if kind == "game" else f"Got {number} coal")


def test_pages_describe_the_server(textcraft: str) -> None:
    def get(path: str) -> Any:
        return httpx.get(textcraft + path, timeout=60).json()

    def post(path: str, body: Any) -> httpx.Response:
        return httpx.post(textcraft + path, json=body, timeout=60)

    assert get("/health") == {"status": "healthy"}
    assert get("/schema")["action"]["required"] == ["message"]
    assert get("/metadata")["name"] == "textcraft"
    assert {"/reset", "/step", "/state"} < set(get("/openapi.json")["paths"])
    assert get("/list_environments") == ["textcraft"]
    assert {"name": "dev", "type": "validation"} in get("/textcraft/splits")
    assert post("/TextCraft/num_tasks", {"split": "test"}).json() == {"num_tasks": 172}
    task = post("/textcraft/task", {"split": "test", "index": 1}).json()["task"]
    assert post("/textcraft/task_range", {"split": "test", "start": 1, "stop": 2}).json() == {
        "tasks": [task]
    }
    assert post("/textcraft/task", {"split": "test", "index": 172}).status_code == 400
    assert post("/textcraft/num_tasks", {"split": "exam"}).status_code == 422
    assert post("/other/num_tasks", {"split": "test"}).status_code == 404
    assert post("/mcp", {}).json()["jsonrpc"] == "2.0"
    first = post("/reset", {"split": "test", "index": 1}).json()
    assert first["metadata"]["task"] == task["id"]
    assert post("/step", {"action": {"message": "inventory"}}).status_code == 409
    # No session is left over by any of these.
    with connected(textcraft) as one, connected(textcraft) as two:
        assert Wire(one).ask("state")["type"] == Wire(two).ask("state")["type"] == "state"


def test_a_large_message_ends_the_connection_and_nothing_else(textcraft: str) -> None:
    with connected(textcraft) as socket:
        socket.send("x" * 2_000_000)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=60)
    with connected(textcraft) as socket:
        assert Wire(socket).ask("state")["type"] == "state"


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agentr_lite", "envs", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    with command("textcraft", "--port", "0", "--json") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        about = json.loads("".join(lines) + "}")
        assert (about["protocol"], about["environment"]) == ("openenv", "textcraft")
        env = make_env(f"openenv+{about['url']}")
        env.reset(env.tasks("train")[0])
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0 and "Stopped." in said
        # The server is gone in the middle of an episode.
        with pytest.raises(EnvironmentFault, match="no server answers"):
            env.step("inventory")
        env.close()


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["textwrld"], "did you mean", 2),
        (["textcraft", "-o", "nonsense=1"], "no option 'nonsense'", 2),
        (["textworld", "--protocol", "agentgym"], "no client that could play", 2),
        (["textcraft", "--host", "256.1.1.1"], "cannot listen", 2),
    ],
)
def test_what_cannot_be_served_is_said(arguments: list[str], said: str, status: int) -> None:
    process = command(*arguments)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == status
    assert re.search(said, " ".join(stderr.split()), re.IGNORECASE)
