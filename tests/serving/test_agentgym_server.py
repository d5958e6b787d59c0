"""AgentGym's protocol: what its servers answer, and our client, which must notice no difference."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any

import httpx2 as httpx
import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.agentgym import AgentGym
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.serving.agentgym import numbered_tasks
from tests.support.served import served

needs_sciworld = pytest.mark.skipif(
    importlib.util.find_spec("scienceworld") is None or shutil.which("java") is None,
    reason="needs Java and pip install 'agentr-lite[sciworld]'",
)


class Client:
    """Requests as AgentGym's own clients send them, with the keys of their Python dictionaries."""

    def __init__(self, url: str, handle: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120)
        self._handle = handle
        self.id: Any = None

    def create(self, body: Any = None) -> Any:
        reply = self._http.post("/create", json=body) if body is not None else self.bare("/create")
        assert reply.status_code == 200
        created = reply.json()
        self.id = created if self._handle == "env_idx" else created["id"]
        return created

    def bare(self, path: str) -> httpx.Response:
        """A POST without a body."""
        return self._http.post(path)

    def post(self, path: str, **fields: Any) -> httpx.Response:
        return self._http.post(path, json={self._handle: self.id, **fields})

    def get(self, path: str) -> Any:
        return self._http.get(path, params={self._handle: self.id}).json()

    def root(self) -> Any:
        return self._http.get("/").json()


def moves(env: Environment, task: Task) -> list[str]:
    """What is not understood, then what wins."""
    return ["dance", *env.solve(task)]


def differences(remote: AgentGym, local: Environment, pairs: Sequence[tuple[Task, Task]]) -> int:
    """Play the same in both; returns how many steps were compared."""
    steps = 0
    for there, here in pairs:
        remote.reset(there)
        first = local.reset(here)[0]
        actions = moves(local, here)
        assert remote.reset(there)[0] == first == local.reset(here)[0]
        for action in actions:
            far, near = remote.step(action), local.step(action)
            assert far.observation == near.observation
            assert far.reward == pytest.approx(near.reward)
            assert far.terminated == (near.terminated or near.truncated)
            steps += 1
        assert far.reward == 1.0
    return steps


def test_textcraft_is_played_as_it_is() -> None:
    local = TextCraft()
    numbered = numbered_tasks(local, "textcraft")
    with served("textcraft", "agentgym") as url:
        remote = make_env(f"agentgym+{url}", {"test": "0-99", "max_steps": 200})
        assert isinstance(remote, AgentGym) and remote.kind == "textcraft"
        chosen = remote.tasks("test")[::14]
        pairs = [(task, numbered[task.payload["number"]]) for task in chosen]
        assert differences(remote, local, pairs) > 15
        remote.close()


def test_webshop_is_played_as_it_is() -> None:
    local = make_env("webshop")
    numbered = numbered_tasks(local, "webshop")
    with served("webshop", "agentgym") as url:
        # The server does not say what it is; its description of a reset does.
        remote = make_env(f"agentgym+{url}", {"test": "0-9", "max_steps": 200})
        assert isinstance(remote, AgentGym) and remote.kind == "webshop"
        pairs = [(task, numbered[task.payload["number"]]) for task in remote.tasks("test")[:4]]
        assert differences(remote, local, pairs) > 10
        remote.close()


@needs_sciworld
def test_sciworld_is_played_as_it_is() -> None:
    local = make_env("sciworld", {"games": "agentgym"})
    with served("sciworld", "agentgym") as url:
        remote = make_env(f"agentgym+{url}", {"max_steps": 200})
        assert isinstance(remote, AgentGym) and remote.kind == "sciworld"
        find = next(task for task in local.tasks("test") if task.payload["task"] == "find-plant")
        there = next(
            task
            for task in remote.tasks("test")
            if task.payload["number"] == find.payload["number"]
        )
        assert differences(remote, local, [(there, find)]) > 3
        remote.close()
    local.close()


def test_numbers_are_places_in_the_whole_list() -> None:
    env = TextCraft()
    tasks = numbered_tasks(env, "textcraft")
    assert len(tasks) == sum(len(env.tasks(split)) for split in SPLITS)
    assert [task.level for task in tasks] == sorted(task.level for task in tasks)
    shop = make_env("webshop")
    # The original's order of goals: its test set comes first.
    assert list(numbered_tasks(shop, "webshop")[:252]) == list(shop.tasks("test"))


def test_textcraft_speaks_as_the_original() -> None:
    with served("textcraft", "agentgym") as url:
        client = Client(url, "id")
        assert client.root() == "This is environment TextCraft."
        # The original's create needs a body, and begins a game.
        assert client.bare("/create").status_code == 422
        created = client.create({"minecraft_dir": "agentenv_textcraft/", "goal": None})
        assert set(created) == {"id", "observation", "done", "reward"}
        assert created["observation"].startswith("Crafting commands:\n")
        begun = client.post("/reset", data_idx=5).json()
        assert begun == {**created, "observation": begun["observation"]}
        # A number beyond the last one begins at the first again.
        count = len(numbered_tasks(TextCraft(), "textcraft"))
        assert client.post("/reset", data_idx=5 + count).json() == begun
        reply = client.post("/step", action="inventory").json()
        assert reply == {
            "observation": "Inventory: You are not carrying anything.",
            "reward": 0,
            "done": False,
        }
        assert client.get("/observation") == "Inventory: You are not carrying anything."
        assert client.post("/close").json() == {"closed": True}
        # Errors come with status 200.
        gone = client.post("/step", action="inventory")
        assert (gone.status_code, gone.json()) == (200, {"error": "The id 0 is not valid."})


def test_webshop_speaks_as_the_original() -> None:
    with served("webshop", "agentgym") as url:
        client = Client(url, "env_idx")
        assert client.root() == "ok"
        assert client.create() == 0
        first, nothing = client.post("/reset", session_id=3).json()
        assert first.startswith("WebShop [SEP] Instruction: [SEP] ") and nothing is None
        assert client.get("/observation") == first
        assert client.get("/available_actions")["has_search_bar"] is True
        reply = client.post("/step", action="search[lamp]").json()
        assert set(reply) == {"state", "reward", "done", "info"}
        assert reply["state"] == client.get("/observation") and reply["info"] is None
        assert "back to search" in client.get("/available_actions")["clickables"]
        client.id = 77
        assert client.post("/step", action="search[lamp]").status_code == 500


@needs_sciworld
def test_sciworld_speaks_as_the_original() -> None:
    with served("sciworld", "agentgym") as url:
        client = Client(url, "id")
        assert client.create() == {"id": 0}
        begun = client.post("/reset", data_idx=0).json()
        assert begun["task_name"] == "boil" and begun["var_num"] == 0
        assert begun["task_description"].startswith("Your task is to boil")
        assert begun["observation"].startswith("This room is called")
        assert (begun["score"], begun["reward"], begun["done"]) == (0, 0, False)
        assert (begun["deleted"], client.get("/observation")) != (True, begun["observation"])
        reply = client.post("/step", action="focus on agent").json()
        # A fatal mistake: the score is negative, and only a reset is accepted from then on.
        assert (reply["score"], reply["reward"], reply["done"]) == (-100, -100, True)
        said = client.post("/step", action="look around").json()
        assert said == {"error": "The task with environment 0 has finished."}
        assert client.post("/reset", data_idx=9999).json() == {"error": "list index out of range"}
        assert client.post("/reset", data_idx=1).json()["var_num"] == 1


def test_sessions_take_turns_and_the_oldest_is_forgotten() -> None:
    with served("textcraft", "agentgym", sessions=2) as url:
        first, second, third = (Client(url, "id") for _ in range(3))
        for client in (first, second):
            client.create({})
        first.post("/reset", data_idx=0)
        second.post("/reset", data_idx=1)
        first.post("/step", action="get 1 coal")
        second.post("/step", action="get 2 coal")
        assert (
            first.post("/step", action="inventory").json()["observation"]
            != (second.post("/step", action="inventory").json()["observation"])
        )
        third.create({})
        assert third.id == 2
        assert "error" in first.post("/step", action="inventory").json()
        assert "error" not in second.post("/step", action="inventory").json()


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["body", "id"]),
        ({"id": "0", "action": "inventory"}, ["body", "id"]),
        ({"id": 0}, ["body", "action"]),
        ({"id": 0, "action": 7}, ["body", "action"]),
        ([], ["body"]),
    ],
)
def test_a_wrong_body_is_422(body: Any, where: list[str]) -> None:
    with served("textcraft", "agentgym") as url:
        reply = httpx.post(f"{url}/step", json=body)
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"] == where


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 422), (b"[" * 500, 422), (b" " * 2_000_000, 413)],
    ids=["cut", "deep", "large"],
)
def test_what_is_no_json_costs_one_request(content: bytes, status: int) -> None:
    with served("textcraft", "agentgym") as url:
        assert httpx.post(f"{url}/create", content=content).status_code == status
        assert httpx.get(f"{url}/").json() == "This is environment TextCraft."
        assert httpx.get(f"{url}/nothing").status_code == 404


def test_what_agentgym_has_no_client_for_is_refused() -> None:
    with (
        pytest.raises(UsageError, match="no client that could play 'textworld'") as caught,
        served("textworld", "agentgym"),
    ):
        raise AssertionError("served")
    assert "openenv" in caught.value.hint


@needs_sciworld
def test_games_cannot_be_left_out_of_a_numbered_list() -> None:
    with (
        pytest.raises(UsageError, match="leave out games"),
        served("sciworld", "agentgym", kinds="4"),
    ):
        raise AssertionError("served")


def test_a_port_in_use_is_an_error() -> None:
    with served("textcraft", "agentgym") as url:
        port = int(url.rpartition(":")[2])
        with (
            pytest.raises(UsageError, match=f"port {port}") as caught,
            served("textcraft", "agentgym", port=port),
        ):
            raise AssertionError("served")
        assert "--port" in caught.value.hint
