"""The clients that ask a hostile server, and what may become of it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from urllib.parse import quote

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.download import hub, hub_session
from agentr_lite.actors.openai.actor import OpenAIActor
from agentr_lite.actors.openai.client import Client
from agentr_lite.actors.openai.spec import ServerSpec
from agentr_lite.core.config import ServerSettings
from agentr_lite.core.errors import AgentrError
from agentr_lite.envs.agentgym import AgentGym
from tests.support.hostile_models import mutated_json
from tests.support.hostile_server import (
    KEY,
    Behaviour,
    HostileServer,
    Outcomes,
    _answer,
    behaviours,
    shown_key,
)

TIMEOUT_S = 0.5
_TOO_LONG_S = 15.0
_ASK = [{"role": "user", "content": "Go"}]
FILE = b"GGUF" + bytes(5000)
_COMMIT = "c" * 40

Client_ = Callable[[str], str]
"""Asks at an address; returns everything that it got, as it would be stored or printed."""


def ask_openai(address: str) -> str:
    """The model of a server: found, sampled and scored."""

    async def sleep(seconds: float) -> None:
        return None

    settings = ServerSettings(timeout_s=TIMEOUT_S, retries=1, key=KEY)
    client = Client(ServerSpec(f"{address}/v1", "toy"), settings, sleep=sleep)
    with closing(OpenAIActor(client)) as actor:
        request = GenerateRequest(_ASK, (1, 2), Sampling(1.0, max_tokens=8))  # type: ignore[arg-type]
        results = actor.generate([request])
        told = [results, actor.description, actor.usage, actor.why_no_scoring]
        if actor.capabilities.scoring:
            told.append(actor.score([ScoreRequest(_ASK, ("Yes", "No"))]))  # type: ignore[arg-type]
        return json.dumps(str(told))


def ask_agentgym(address: str) -> str:
    """A game of an AgentGym server, of which two steps are played."""
    named = address.replace("://", f"://user:{quote(KEY, safe='')}@")
    env = AgentGym(f"{named}/textcraft", timeout_s=TIMEOUT_S)
    with closing(env):
        told = [env.name, env.reset(env.tasks("train")[0])]
        told += [env.step("look"), env.step("get 1 stick"), env.valid_actions()]
        return json.dumps(str(told))


def ask_hub(address: str) -> str:
    """A file of a hub, after the list of the repository's files."""
    settings = {"HF_ENDPOINT": address, "HF_TOKEN": KEY}
    changes = {"_ANSWER_S": TIMEOUT_S, "WINDOW_S": TIMEOUT_S}
    with (
        mock.patch.dict(os.environ, settings),
        mock.patch.multiple(hub_session, **changes),
        mock.patch("huggingface_hub.constants.HF_HUB_OFFLINE", False),
        # Not the module's own function, which the server needs.
        mock.patch("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda s: None)),
        mock.patch("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda s: None)),
        tempfile.TemporaryDirectory() as folder,
    ):
        told = [hub.list_files("some/Tiny")]
        got = hub.fetch("some/Tiny", "tiny.gguf", Path(folder))
        assert got.path.read_bytes() == FILE
        return json.dumps([*told, got.revision, got.checksum])


CLIENTS: dict[str, tuple[Client_, dict[tuple[str, str], object], tuple[str, ...]]] = {
    "openai": (
        ask_openai,
        {
            ("GET", "/models"): {
                "data": [
                    {
                        "id": "toy",
                        "owned_by": "vllm",
                        "max_model_len": 4096,
                        "root": "/models/toy",
                        "meta": {"n_params": 10**6, "n_ctx": 4096},
                    }
                ]
            },
            ("POST", "/chat/completions"): {
                "choices": [
                    {"index": n, "message": {"content": "hello"}, "finish_reason": "stop"}
                    for n in range(2)
                ],
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 1},
                },
            },
            ("POST", "/tokenize"): {"tokens": [1, 2], "count": 2},
            ("POST", "/v1/completions"): {
                "choices": [{"logprobs": {"token_logprobs": [None, -1.0, -2.0, -0.5, -0.5]}}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 1},
            },
        },
        ("/models", "/chat/completions", "/tokenize"),
    ),
    "agentgym": (
        ask_agentgym,
        {
            ("POST", "/create"): {"id": 0},
            ("POST", "/reset"): {"observation": "Goal: stick.", "done": False, "reward": 0},
            ("POST", "/step"): {"observation": "Got 1 stick", "done": False, "reward": 0.5},
            ("POST", "/close"): {"closed": True},
        },
        ("/create", "/reset", "/step", "/close"),
    ),
    "hub": (
        ask_hub,
        {
            ("GET", "/tree/main"): [
                {"type": "file", "path": "tiny.gguf", "size": len(FILE), "oid": "0" * 40}
            ],
            ("HEAD", "tiny.gguf"): b"",
            ("GET", "tiny.gguf"): FILE,
        },
        ("/tree/main", "HEAD", "tiny.gguf"),
    ),
}
"""Name to: how it asks, the right answers, and where the server may misbehave."""


@contextmanager
def prepared(name: str) -> Iterator[tuple[HostileServer, str, HostileServer, str]]:
    """A server that answers a client rightly, and another one that nobody should ask."""
    server, other = HostileServer(), HostileServer()
    server.right = dict(CLIENTS[name][1])
    server.wrong_at = "nowhere"
    with server.running() as address, other.running() as elsewhere:
        yield server, address, other, elsewhere


def head_of_the_file(send: Callable[[bytes], None]) -> None:
    """What a hub says of the file."""
    digest = hashlib.sha256(FILE).hexdigest()
    send(_answer(b"", f'ETag: "{digest}"', f"X-Repo-Commit: {_COMMIT}", length=len(FILE)))


def outcome(name: str, address: str) -> tuple[str, str]:
    """Let a client ask; what became of it, and what it says."""
    began = time.monotonic()
    try:
        told = CLIENTS[name][0](address)
        what = "answered"
    except AgentrError as error:
        told, what = f"{error.message} / {error.hint}", f"exit {error.exit_code}"
        if "127.0.0.1" not in told:
            return "no server named", told
        if not error.hint and error.exit_code != 3:
            return "no hint", told
    except Exception:
        return "raised", traceback.format_exc()
    if shown_key(told):
        return "key shown", told
    if time.monotonic() - began > _TOO_LONG_S:
        return "took too long", told
    return what, told


def ask_one(name: str, place: str, behave: str) -> tuple[str, str]:
    """Let a client ask a server that misbehaves at one place in one way."""
    with prepared(name) as (server, address, other, elsewhere):
        server.wrong_at, server.behave = place, behaviours(elsewhere)[behave]
        if name == "hub" and place != "HEAD":
            # The answer to HEAD has headers only, so it is no entry of the table.
            server = _with_head(server)
        what, told = outcome(name, address)
        if any(shown_key(key) or "Basic" in key or "Bearer" in key for key in other.keys):
            return "key sent elsewhere", told
        return what, told


def _with_head(server: HostileServer) -> HostileServer:
    behave, place = server.behave, server.wrong_at
    asked = {"head": False}

    def one_of_two(send: Callable[[bytes], None]) -> None:
        if place == "tiny.gguf" and not asked["head"]:
            asked["head"] = True
            head_of_the_file(send)
            return
        behave(send)

    server.behave = one_of_two
    if place != "tiny.gguf":
        server.behave = behave
    return server


SOUND = ("answered", "exit 1", "exit 3")
"""What may become of a question."""


def ask_all(name: str, *, step: int = 1) -> Outcomes:
    """Every behaviour at every place, or every ``step``-th of these."""
    counts: Counter[str] = Counter()
    faults = []
    table = [(place, behave) for behave in behaviours("") for place in CLIENTS[name][2]]
    for place, behave in table[::step]:
        what, told = ask_one(name, place, behave)
        counts[what] += 1
        if what not in SOUND:
            faults.append(f"{place}, {behave}: {what}: {told[-1500:]}")
    return counts, faults


def ask_mutants(name: str, count: int, draw: random.Random) -> Outcomes:
    """Right answers with one value changed."""
    counts: Counter[str] = Counter()
    faults = []
    with prepared(name) as (server, address, _, _):
        sound = dict(server.right)
        if name == "hub":
            server.wrong_at, server.behave = "HEAD", head_of_the_file
        for number in range(count):
            key = draw.choice([key for key, value in sound.items() if not isinstance(value, bytes)])
            changed: bytes = mutated_json(json.dumps(sound[key]), draw)
            server.right = {**sound, key: changed}
            what, told = outcome(name, address)
            counts[what] += 1
            if what not in SOUND:
                faults.append(f"mutant {number}, {key}, {changed[:200]!r}: {what}: {told[-1500:]}")
    return counts, faults


__all__ = ["CLIENTS", "SOUND", "Behaviour", "ask_all", "ask_mutants", "ask_one"]
