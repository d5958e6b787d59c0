"""The OpenAI-compatible back end against llama.cpp's own server, where there is one."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.openai.actor import OpenAIActor
from agentr_lite.actors.openai.client import Client
from agentr_lite.actors.openai.spec import ServerSpec
from agentr_lite.core.config import ServerSettings
from agentr_lite.core.messages import Message
from benchmarks.llama_tools import find_server
from tests.support.tiny_gguf import write_tiny_model

BINARY = find_server()

pytestmark = pytest.mark.skipif(
    BINARY is None,
    reason="no llama-server: run `make llama-tools`, or name one in AGENTR_LITE_LLAMA_SERVER",
)

ASK: list[Message] = [{"role": "user", "content": "Goal: craft stick."}]


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIActor]:
    folder = tmp_path_factory.mktemp("server")
    model = write_tiny_model(folder / "tiny.gguf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BINARY), "-m", str(model), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--parallel", "4", "-c", "2048", "--threads", "1"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(port, process, folder / "log")
            client = Client(ServerSpec(f"http://127.0.0.1:{port}/v1", ""), ServerSettings())
            actor = OpenAIActor(client)
            yield actor
            actor.close()
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the model is loaded."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"llama-server did not start: {log.read_text(errors='replace')[-2000:]}")


def test_it_is_recognised(actor: OpenAIActor) -> None:
    description = actor.description
    assert description["server"] == "llama-server"
    assert description["identity"]["n_params"] > 0
    assert description["context_tokens"]
    assert not actor.capabilities.scoring


def test_greedy_answers_repeat(actor: OpenAIActor) -> None:
    request = GenerateRequest(ASK, (1, 2), Sampling(temperature=0.0, max_tokens=12))
    first, second = actor.generate([request])[0], actor.generate([request])[0]
    assert [one.text for one in first.completions] == [one.text for one in second.completions]
    assert first.completions[0].output_tokens > 0
    assert first.prompt_tokens > 0


def test_samples_of_one_request_differ(actor: OpenAIActor) -> None:
    request = GenerateRequest(ASK, (11, 22, 33), Sampling(max_tokens=16))
    result = actor.generate([request])[0]
    assert len(result.completions) == 3
    # A random model: equal samples would mean equal seeds.
    assert len({one.text for one in result.completions}) > 1


def test_more_samples_than_slots_are_made_all_the_same(actor: OpenAIActor) -> None:
    request = GenerateRequest(ASK, tuple(range(1, 9)), Sampling(max_tokens=4))
    assert len(actor.generate([request])[0].completions) == 8


def test_a_long_conversation_loses_its_oldest_turns(actor: OpenAIActor) -> None:
    chat = list(ASK)
    for _ in range(20):
        chat += [
            {"role": "assistant", "content": "Action: get 2 stick. " * 4},
            {"role": "user", "content": "Got 2 stick. " * 8},
        ]
    result = actor.generate([GenerateRequest(chat, (1,), Sampling(max_tokens=8))])[0]
    assert result.dropped_turns > 0
    assert result.completions[0].finish_reason != "overflow"


def test_answers_follow_a_grammar(actor: OpenAIActor) -> None:
    sampling = Sampling(max_tokens=16, grammar='root ::= "craft " [0-9]{3}')
    result = actor.generate([GenerateRequest(ASK, (1, 2, 3), sampling)])[0]
    assert all(re.fullmatch("craft [0-9]{3}", one.text) for one in result.completions)
