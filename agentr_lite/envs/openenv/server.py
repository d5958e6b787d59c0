"""What an OpenEnv server says about itself over HTTP: schemas, a description, and its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx2 as httpx

from agentr_lite.core import http
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.json_values import JsonError
from agentr_lite.core.secrets import Secrets
from agentr_lite.core.tasks import SPLITS

MOST_TASKS = 100_000
"""Of one split."""
_MOST_BYTES = 32_000_000
_QUOTED = 200
_CHECK_ADDRESS = "Check that this is the address of an OpenEnv server."
_KINDS = {"train": "train", "validation": "dev", "test": "test"}
"""OpenEnv's kinds of splits and ours."""


class About(NamedTuple):
    """A server's description of itself."""

    name: str
    description: str
    action: Mapping[str, Any]
    observation: Mapping[str, Any]
    """JSON schemas."""
    tasks: Mapping[str, list[Row]]
    """The tasks of our splits; empty: the server has no list of tasks."""


class Row(NamedTuple):
    """A task in a server's list."""

    split: str
    """The server's name of its split."""
    place: int
    """Its index in the split."""
    name: str
    goal: str


def parse_address(address: str) -> str:
    """Check ``http://host:port`` and take off a slash at the end.

    Raises:
        UsageError: the text is not the address of a server.
    """
    if not http.is_base_address(address):
        raise UsageError(
            f"'{Secrets([]).in_message(address)}' is not the address of an OpenEnv server",
            hint="It has the form openenv+http://HOST:PORT.",
        )
    if urlsplit(address).username is not None:
        raise UsageError(
            "the address of an OpenEnv server must not hold a user name or a password",
            hint="It is stored with the run.",
        )
    return address.rstrip("/")


def ask_about(env: str, url: str, *, timeout_s: float) -> About:
    """Read what a server says about itself.

    Args:
        env: the environment's name, for messages.
        url: the server's address.
        timeout_s: longest wait for an answer.

    Raises:
        EnvironmentFault: no server answers, or it is no OpenEnv server.
    """
    pages = _Pages(env, url, timeout_s)
    try:
        schema = pages.get("/schema")
        action, observation = (
            schema.get(part) if isinstance(schema, dict) else None
            for part in ("action", "observation")
        )
        if not isinstance(action, dict) or not isinstance(observation, dict):
            greeting = pages.get("/")
            agentgym = isinstance(greeting, str) and "environment" in greeting
            raise EnvironmentFault(
                env,
                f"the server at {url} has no schema of actions and observations",
                hint=f"It may be an AgentGym server: agentgym+{url}."
                if agentgym
                else _CHECK_ADDRESS,
            )
        metadata = pages.get("/metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name, description = metadata.get("name"), metadata.get("description")
        return About(
            name if isinstance(name, str) else "this environment",
            description if isinstance(description, str) else "",
            action,
            observation,
            _tasks(pages),
        )
    finally:
        pages.close()


def _tasks(pages: _Pages) -> dict[str, list[Row]]:
    """The tasks by our splits; empty if the server has no list of them."""
    names = pages.get("/list_environments")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        return {}
    prefix = f"/{quote(names[0], safe='')}"
    listed = pages.get(f"{prefix}/splits")
    if not isinstance(listed, list):
        return {}
    tasks: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in listed:
        split = row.get("name") if isinstance(row, dict) else None
        ours = _KINDS.get(str(row.get("type"))) if isinstance(row, dict) else None
        # The first split of a kind is taken.
        if isinstance(split, str) and ours is not None and not tasks[ours]:
            tasks[ours] = _rows(pages, prefix, split)
    return tasks if any(tasks.values()) else {}


def _rows(pages: _Pages, prefix: str, split: str) -> list[Row]:
    counted = pages.post(f"{prefix}/num_tasks", {"split": split})
    count = counted.get("num_tasks") if isinstance(counted, dict) else None
    if type(count) is not int or count < 0:
        return []
    count = min(count, MOST_TASKS)
    answer = pages.post(f"{prefix}/tasks", {"split": split})
    listed = answer.get("tasks") if isinstance(answer, dict) else None
    # A server may list only some of many tasks.
    known = listed if isinstance(listed, list) and len(listed) >= count else [{}] * count
    rows = [row if isinstance(row, dict) else {} for row in known[:count]]
    ids = [row.get("id") for row in rows]
    texts = [text for text in ids if isinstance(text, str) and text.strip()]
    if len(texts) != len(rows) or len(set(texts)) != len(rows):
        texts = [f"{split}-{index}" for index in range(count)]
    goals = [row.get("goal") for row in rows]
    return [
        Row(split, index, name, goal if isinstance(goal, str) else f"{split}, task {index}")
        for index, (name, goal) in enumerate(zip(texts, goals, strict=True))
    ]


class _Pages:
    """JSON pages of one server."""

    def __init__(self, env: str, url: str, timeout_s: float) -> None:
        self._env, self._url = env, url
        self._limits = http.Limits(timeout_s, _MOST_BYTES)
        self._http = http.open_client(
            urlsplit(url).hostname or "",
            timeout=httpx.Timeout(timeout_s, connect=http.CONNECT_S),
        )

    def get(self, path: str) -> Any:
        """The JSON value of a page; None if the server has no such page."""
        return self._ask(self._http.build_request("GET", self._url + path))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a question; None if the server does not answer it."""
        return self._ask(self._http.build_request("POST", self._url + path, json=dict(body)))

    def _ask(self, request: httpx.Request) -> Any:
        what = f"{request.method} {request.url.path}"
        try:
            reply = http.run(http.exchange(self._http, request, self._limits))
        except httpx.ConnectError as error:
            raise EnvironmentFault(
                self._env,
                f"no server answers at {self._url} ({str(error)[:_QUOTED]})",
                hint="Start the OpenEnv server, or correct the host and the port.",
            ) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise EnvironmentFault(
                self._env,
                f"{what}: no answer in {self._limits.total_s:g} s",
                hint="Increase env_options.timeout_s.",
            ) from error
        except httpx.RequestError as error:
            raise EnvironmentFault(
                self._env, f"{what}: {str(error)[:_QUOTED]}", hint=_CHECK_ADDRESS
            ) from error
        if reply.status in (401, 403):
            raise EnvironmentFault(
                self._env,
                f"{what}: the server wants a key or a password (HTTP {reply.status})",
                hint="Private servers are not supported; serve it on this machine instead.",
            )
        if reply.status != httpx.codes.OK:
            return None
        try:
            return reply.json(Secrets([]))
        except JsonError:
            # Another program's page; the caller says what is missing.
            return None

    def close(self) -> None:
        """Close the connection."""
        http.run(self._http.aclose())
