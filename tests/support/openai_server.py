"""A server that speaks OpenAI's protocol, well or badly, for tests."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.openai.actor import OpenAIActor
from agentr_lite.core.messages import Message
from tests.support.quiet_server import QuietServer

KEY = "sk-very-secret-0123456789"
ASK: list[Message] = [{"role": "user", "content": "Go"}]

Open = Callable[..., OpenAIActor]
"""Connects an actor to the server; see the fixture ``connect``."""

Reply = tuple[int, Any, dict[str, str]]
"""Status, JSON body (bytes are sent as they are) and headers."""

CUT = "cut"
"""In ``faults``: the connection is closed without an answer."""
HANG = "hang"
"""In ``faults``: no answer until the server stops."""


def log_probability(text: str) -> float:
    """What the server says of one token (a character)."""
    return -1.0 - ord(text) % 7


def _one_token(values: list[float | None], tokens: list[str], prompt: int) -> dict[str, Any]:
    """A completion of one token, with log-probabilities of ``tokens``."""
    logprobs = {"token_logprobs": values, "tokens": tokens}
    return {
        "choices": [{"index": 0, "text": "!", "logprobs": logprobs}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": 1},
    }


class FakeServer:
    """A model whose tokens are characters.

    Attributes:
        requests: (path, body, headers) of each request, in order of arrival.
        faults: what to do wrong with the next ``POST``: a ``Reply``, ``CUT`` or ``HANG``.
        most: the most requests that were in flight at once.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.faults: deque[Reply | str] = deque()
        self.models: list[dict[str, Any]] = [{"id": "toy", "owned_by": "someone"}]
        self.models_status = 200
        self.several = True
        self.echoes = False
        self.left_out = ""
        """A token that an echo leaves out, as llama_cpp.server does with begin-of-text."""
        self.shifts = False
        """Each echoed value is that of the next token."""
        self.tokenizes = False
        self.context = 10_000
        self.reply: Callable[[dict[str, Any], int], str] = lambda body, seed: f"answer {seed}"
        self.finish_reason = "stop"
        self.most = 0
        self.meet: threading.Barrier | None = None
        self._flying = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Bodies of the chat requests after the actor's own greeting."""
        bodies = [body for path, body, _ in self.requests if path.endswith("/chat/completions")]
        return bodies[1:]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | str:
        """The reply to one request."""
        if method == "GET" and path.endswith("/models"):
            return self.models_status, {"object": "list", "data": self.models}, {}
        with self._lock:
            if self.faults:
                return self.faults.popleft()
        if path.endswith("/chat/completions"):
            prompt = "".join(message["content"] for message in body["messages"])
            return self._generate(body, prompt, chat=True)
        if path.endswith("/completions"):
            if body.get("echo"):
                return self._echo(body)
            if body.get("logprobs"):
                return 200, _one_token([log_probability("!")], ["!"], len(body["prompt"])), {}
            return self._generate(body, body["prompt"], chat=False)
        if path == "/tokenize" and self.tokenizes:
            text = body.get("prompt") or "".join(m["content"] for m in body["messages"]) + ">"
            return 200, {"tokens": [ord(one) for one in text]}, {}
        return 404, {"error": {"message": "no such page", "type": "not_found"}}, {}

    def _generate(self, body: dict[str, Any], prompt: str, *, chat: bool) -> Reply:
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
        if len(prompt) + limit > self.context:
            return self._too_long()
        count = body.get("n", 1) if self.several else 1
        texts = [self.reply(body, body["seed"] + index) for index in range(count)]
        choices = [
            {
                "index": index,
                "finish_reason": self.finish_reason,
                **({"message": {"role": "assistant", "content": text}} if chat else {"text": text}),
            }
            for index, text in enumerate(texts)
        ]
        usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": sum(map(len, texts)),
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        # In no order in particular.
        return 200, {"choices": choices[::-1], "usage": usage}, {}

    def _echo(self, body: dict[str, Any]) -> Reply:
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else "".join(map(chr, prompt))
        if len(text) > self.context:
            return self._too_long()
        shown = text[1:] if text.startswith(self.left_out or "\0") else text
        values: list[float | None] = [log_probability(one) for one in shown]
        if self.shifts:
            values = [*values[1:], -9.5]
        values[0] = None
        kept = [(v, one) for v, one in zip(values, shown, strict=True) if one != self.left_out]
        if not self.echoes:
            kept = []
        values, tokens = [value for value, _ in kept], [one for _, one in kept]
        return 200, _one_token([*values, -0.5], [*tokens, "!"], len(text)), {}

    def _too_long(self) -> Reply:
        said = f"This model's maximum context length is {self.context} tokens"
        return 400, {"object": "error", "message": said, "code": 400}, {}

    def _serve(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        length = int(handler.headers.get("content-length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else {}
        with self._lock:
            self.requests.append((handler.path, body, dict(handler.headers.items())))
            self._flying += 1
            self.most = max(self.most, self._flying)
        try:
            if self.meet is not None and method == "POST":
                self.meet.wait(timeout=20)
            reply = self.answer(method, handler.path, body)
        finally:
            with self._lock:
                self._flying -= 1
        if isinstance(reply, str):
            if reply == HANG:
                self._stopped.wait(timeout=30)
            handler.close_connection = True
            return
        status, content, headers = reply
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name, value)
        # A client that gave up has gone.
        with suppress(ConnectionError):
            handler.end_headers()
            handler.wfile.write(data)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port; gives the base address."""
        serve = self._serve

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                serve(self, "GET")

            def do_POST(self) -> None:
                serve(self, "POST")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = QuietServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            self._stopped.set()
            server.shutdown()
            server.server_close()


def texts(actor: OpenAIActor, *requests: GenerateRequest) -> list[list[str]]:
    """The texts of each request's completions."""
    return [
        [completion.text for completion in result.completions]
        for result in actor.generate(requests)
    ]


def ask(*seeds: int, messages: list[Message] | None = None, **sampling: Any) -> GenerateRequest:
    """A request with a short conversation."""
    return GenerateRequest(messages or ASK, seeds, Sampling(**sampling))
