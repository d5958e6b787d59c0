"""Replays a recorded tree search on llama-server; a part of ``python -m benchmarks.engine``.

A client cannot choose the tokens that a server draws. So every answer is forced to its recorded
length (``n_predict`` with ``ignore_eos``), and later prompts have the server's own tokens. The
server decodes as many tokens at the same places of an equal tree, and its caches find its own
answers, as in a search. Prompts are sent as token ids, so nothing is tokenized. The server's
siblings agree less often than the recorded ones. This costs nothing, because the server decodes
every answer in a separate slot, even if two are equal.

All samples of one ``n_cmpl`` request have the same length: the mean of the recorded ones. So the
server does not wait for the longest.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.replay import Measured
from benchmarks.workload import Call, Workload

_START_SECONDS = 120.0
_REQUEST_SECONDS = 3600.0
_IDLE_SECONDS = 2.0
"""A connection that was unused for longer is opened again; the server closes it after 5 seconds."""


@dataclass(frozen=True)
class SetUp:
    """How the server is started, and how its clients send requests."""

    slots: int
    """Slots of the server, and maximum number of samples requested at a time."""
    together: bool = True
    """Send one request per node with ``n_cmpl`` samples; otherwise, one request per sample."""
    lockstep: bool = True
    """Trees wait for each other after every call, as in search; otherwise, each continues alone."""
    options: tuple[str, ...] = ()
    """Further options for the server."""

    @property
    def label(self) -> str:
        """Its name in a table."""
        parts = [f"{self.slots} slots", "n_cmpl" if self.together else "a request a sample"]
        parts += [] if self.lockstep else ["trees on their own"]
        return ", ".join([*parts, " ".join(self.options)] if self.options else parts)


class Server:
    """A running llama-server."""

    def __init__(self, binary: Path, options: Sequence[str], log: Path) -> None:
        """Start the server and wait until the model is loaded.

        Args:
            binary: ``llama-server``.
            options: for its command line, without the address.
            log: file for its messages.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._log = log
        self._local = threading.local()
        command = [str(binary), "--host", "127.0.0.1", "--port", str(self._port), *options]
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def complete(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers to one request, in the order of their indices."""
        status, reply = self._ask("POST", "/completion", json.dumps(body).encode())
        if status != 200:
            raise SystemExit(f"llama-server answered {status}: {reply.decode(errors='replace')}")
        data = json.loads(reply)
        rows = data if isinstance(data, list) else [data]
        return sorted(rows, key=lambda row: row["index"])

    def kernels(self) -> str:
        """llama.cpp's description of its kernels; empty: the log has none."""
        match = re.search(r"system_info:.*?\| *(CPU :.*)", self._log.read_text(errors="replace"))
        return match.group(1).strip() if match else ""

    def cpu_seconds(self) -> float | None:
        """The server's processor time so far; None if the operating system does not report it."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return None
        # utime and stime: fields 14 and 15 of proc(5), of which two come before the ")".
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Stop the server."""
        self._process.terminate()
        self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if self._ask("GET", "/health", None)[0] == 200:
                    return
            except ConnectionError:
                pass
            time.sleep(0.05)
        tail = self._log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"llama-server did not start:\n{tail}")

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Send one request over this thread's connection, which stays open."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used > _IDLE_SECONDS:
            connection.close()
            connection = None
        if connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=_REQUEST_SECONDS
            )
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            content = reply.read()
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
        self._local.connection, self._local.used = connection, time.monotonic()
        return reply.status, content


class _Replay:
    """Replays a workload with concurrent clients."""

    def __init__(self, server: Server, load: Workload, set_up: SetUp) -> None:
        self._server = server
        self._calls = load.calls
        self._set_up = set_up
        self._prompts: dict[int, list[int]] = {}
        self._answers: dict[tuple[int, int], list[int]] = {}
        self.answer_tokens = 0
        self.decoded_tokens = 0
        self._count = threading.Lock()

    def run(self, load: Workload) -> None:
        """Send all requests, tick by tick or, for each tree, call by call."""
        with ThreadPoolExecutor(self._set_up.slots) as samples:
            if self._set_up.lockstep:
                number = 0
                for tick in load.ticks:
                    numbers = range(number, number + len(tick))
                    number += len(tick)
                    self._expand(numbers, samples)
                return
            trees: dict[int, list[int]] = {}
            for number, call in enumerate(self._calls):
                trees.setdefault(call.tree, []).append(number)
            with ThreadPoolExecutor(len(trees)) as walkers:
                walks = [walkers.submit(self._walk, tree, samples) for tree in trees.values()]
                for walk in walks:
                    walk.result()

    def _walk(self, numbers: Sequence[int], samples: ThreadPoolExecutor) -> None:
        for number in numbers:
            self._expand([number], samples)

    def _expand(self, numbers: Sequence[int], samples: ThreadPoolExecutor) -> None:
        """Request all samples of some calls and wait for them."""
        asked = []
        for number in numbers:
            call = self._calls[number]
            prompt = self._prompts[number] = self._prompt(call)
            lengths = [len(tokens) for tokens in call.samples]
            if self._set_up.together:
                mean = round(sum(lengths) / len(lengths))
                body = _request(prompt, mean, seed=number * 64 + 1) | {"n_cmpl": len(lengths)}
                asked.append((number, 0, samples.submit(self._server.complete, body)))
                continue
            for index, length in enumerate(lengths):
                body = _request(prompt, length, seed=number * 64 + index + 1)
                asked.append((number, index, samples.submit(self._server.complete, body)))
        for number, first, future in asked:
            replies = future.result()
            with self._count:
                # The samples of an `n_cmpl` request repeat the first one's number of prompt tokens.
                self.decoded_tokens += replies[0]["timings"]["prompt_n"]
                for index, reply in enumerate(replies, first):
                    self._answers[number, index] = reply["tokens"]
                    self.answer_tokens += len(reply["tokens"])
                    # The first token of an answer needs no decoding: the prompt's logits give it.
                    self.decoded_tokens += len(reply["tokens"]) - 1

    def _prompt(self, call: Call) -> list[int]:
        """The recorded prompt with the server's own answers instead of the recorded ones."""
        if call.parent is None:
            return call.prompt
        parent, sample = call.parent
        recorded = self._calls[parent]
        known = len(recorded.prompt) + len(recorded.samples[sample])
        return [
            *self._prompts[parent],
            *self._answers[parent, sample],
            *call.prompt[known:],
        ]


def replay_on_server(
    binary: Path,
    path: Path,
    load: Workload,
    set_up: SetUp,
    *,
    context: int,
    n_threads: int,
    repack: bool,
) -> tuple[Measured, str]:
    """Replay a load on llama-server with unified cache, prompt cache and concurrent clients.

    Args:
        binary: ``llama-server``.
        path: GGUF file.
        load: the load.
        set_up: the server's slots and the clients' requests.
        context: maximum tokens of a conversation.
        n_threads: threads for decoding and prefill.
        repack: whether weights may be rearranged for faster kernels.

    Returns:
        (what the replay cost, the server's description of its kernels).
    """
    options = ["-m", str(path), "-c", str(context * set_up.slots), "--kv-unified"]
    options += ["--parallel", str(set_up.slots), "--threads-http", str(set_up.slots + 1)]
    options += ["-t", str(n_threads), "--no-ui", "--no-slots", "-lv", "4"]
    options += [] if repack else ["--no-repack"]
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(binary, [*options, *set_up.options], Path(scratch) / "log")
        try:
            replay = _Replay(server, load, set_up)
            started, cpu_started = time.perf_counter(), server.cpu_seconds()
            replay.run(load)
            seconds, cpu_seconds = time.perf_counter() - started, server.cpu_seconds()
            if cpu_seconds is not None and cpu_started is not None:
                cpu_seconds -= cpu_started
            kernels = server.kernels()
        finally:
            server.close()
    measured = Measured(
        f"llama-server: {set_up.label}",
        seconds,
        cpu_seconds,
        replay.answer_tokens,
        replay.decoded_tokens,
    )
    return measured, kernels


def _request(prompt: list[int], length: int, seed: int) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "n_predict": length,
        "ignore_eos": True,
        "cache_prompt": True,
        "return_tokens": True,
        "temperature": 1.0,
        "samplers": ["temperature"],
        "seed": seed,
        "response_fields": ["index", "tokens", "timings"],
    }
