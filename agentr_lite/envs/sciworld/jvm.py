"""A Java process that holds ScienceWorld simulators.

The package starts a process for each simulator, with Java's default heap (a quarter of the
machine's memory). Here one small process holds many. They share Scala's random generator (animals
wander by it) and the counter of object ids; both belong to an episode, so ``turn_to`` puts them
back whenever another simulator's turn comes. An episode is then the same whatever is played in
between, and the same as with the package alone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.sciworld.java import find_java

START_TIMEOUT_S = 240.0
"""Longest wait for a process to say hello; 2 to 3 s are usual on an idle machine."""
CALL_TIMEOUT_S = 120.0
"""Longest wait for one call; a process that takes longer is taken for dead."""
_SCRAMBLE = 0x5DEECE66D
"""What ``java.util.Random.setSeed`` mixes into its argument. Source: its specification."""
_SAME_ORDER = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
"""The simulator lists contents of rooms, and choices, in the order of identity hashes, which differ
from one load of a game to the next. With equal hashes the order is that in which things came."""
_TYPE_IDS = "object_type_ids.tsv"
_STOP_TIMEOUT_S = 5.0
_KEPT_LINES = 20


class JvmLost(EnvironmentFault):
    """The process has died, hangs or is out of memory. Its games can be replayed elsewhere."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("sciworld", message, hint=hint)


class SimulatorFailed(EnvironmentFault):
    """The simulator raised; its state can no longer be trusted."""

    def __init__(self, message: str) -> None:
        super().__init__("sciworld", message)


class Globals(NamedTuple):
    """What the simulators of a process share and an episode depends on."""

    seed: int
    """Of ``scala.util.Random``: 48 bits."""
    objects: int
    """How many object ids have been given out."""


class Turn(Protocol):
    """Whoever takes turns at a process."""

    saved: Globals | None
    """The global state at the end of its last turn; None before its first."""


class Jvm:
    """One Java process.

    Whoever calls anything but ``close`` holds ``lock``: the simulators of a process give wrong
    answers if they run at the same time.

    Args:
        heap_mb: the heap, in MiB.

    Raises:
        JavaError: there is no Java that works.
        EnvironmentFault: it does not start with these settings.
    """

    def __init__(self, heap_mb: int) -> None:
        self.lock = threading.RLock()
        self.heap_mb = heap_mb
        self._current: Turn | None = None
        self._last_words: deque[str] = deque(maxlen=_KEPT_LINES)
        self._gateway: Any = None
        java = find_java()
        self._directory = tempfile.TemporaryDirectory(prefix="agentr-lite-sciworld-")
        self._process = _start(java, heap_mb, Path(self._directory.name))
        try:
            self._gateway = _connect(*self._greeting())
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def new_simulator(self) -> Any:
        """One more of the package's ``PythonInterface``."""
        return self.call(self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface)

    def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call into the process.

        Raises:
            JvmLost: no answer, or not enough memory for one.
            SimulatorFailed: Java code raised.
        """
        from py4j.protocol import Py4JError, Py4JJavaError

        try:
            return work(*arguments)
        except Py4JJavaError as error:
            raised = str(error.java_exception)
            if "OutOfMemoryError" in raised:
                raise self.out_of_memory() from error
            raise SimulatorFailed(f"the simulator raised {' '.join(raised.split())}") from error
        except (Py4JError, OSError) as error:
            raise JvmLost(self._obituary(error)) from error

    def out_of_memory(self) -> JvmLost:
        """The error for a heap that is too small."""
        return JvmLost(
            f"the Java process ran out of its {self.heap_mb} MiB of heap",
            hint="Give it more (env_options.heap_mb), or fewer games at once (env_options.worlds).",
        )

    def turn_to(self, owner: Turn) -> None:
        """Put an episode's share of the global state in place, if another one's is there.

        Args:
            owner: whose turn it is, until someone else's.
        """
        if self._current is owner:
            return
        if self._current is not None:
            self._current.saved = self.globals()
        self._current = owner
        if owner.saved is not None:
            self.call(self._random.setSeed, owner.saved.seed ^ _SCRAMBLE)
            self.call(self._set_objects, owner.saved.objects)

    def joined(self, strings: Any) -> list[str]:
        """A Java list of strings without line breaks, in one call rather than two for each of them.

        The list itself is let go of.
        """
        text = self.call(self._gateway.jvm.java.lang.String.join, "\n", strings)
        self.call(self._gateway.detach, strings)
        return text.split("\n") if text else []

    def globals(self) -> Globals:
        """The global state now."""
        seed = self.call(self._seed_field.get, self._java_random)
        return Globals(int(seed), int(self.call(self._objects)))

    def close(self) -> None:
        """End the process. Harmless if it has ended."""
        if self._gateway is not None:
            with contextlib.suppress(Exception):
                # Connections to a dead process: there is nobody left to tell.
                self._gateway.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                # The end of its input is what the process ends at.
                self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()

    def _prepare(self) -> None:
        java, util = self._gateway.jvm.java, self._gateway.jvm.util

        def silence() -> None:
            # The simulator prints pages at every step. To be done before Scala looks at stdout.
            stream = java.io.BufferedOutputStream(java.io.FileOutputStream(os.devnull), 1 << 16)
            java.lang.System.setOut(java.io.PrintStream(stream, False))

        def generator() -> tuple[Any, Any, Any]:
            scala = getattr(getattr(self._gateway.jvm.scala.util, "Random$"), "MODULE$")
            field = java.lang.Class.forName("java.util.Random").getDeclaredField("seed")
            field.setAccessible(True)
            return scala, field, scala.self()

        self.call(silence)
        self._random, self._seed_field, self._java_random = self.call(generator)
        self._objects = util.UniqueIdentifier.count
        self._set_objects = getattr(util.UniqueIdentifier, "count_$eq")

    def _greeting(self) -> tuple[int, str]:
        """Port and token of the new process."""
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()
        end = time.monotonic() + START_TIMEOUT_S
        port: int | None = None
        while True:
            try:
                line = lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty as error:
                raise JvmLost(f"Java said nothing for {START_TIMEOUT_S:g} s") from error
            if line is None:
                raise EnvironmentFault(
                    "sciworld",
                    f"Java does not start with a heap of {self.heap_mb} MiB;"
                    f" it said: {' '.join(self._last_words) or 'nothing'}",
                )
            if port is not None:
                return port, line
            # Warnings may come first.
            port = int(line) if line.isdigit() else None

    def _listen(self, lines: queue.SimpleQueue[str | None]) -> None:
        """Read what the process prints, to its end, so that it never waits for a reader."""
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").strip()
            self._last_words.append(line)
            lines.put(line)
        lines.put(None)

    def _obituary(self, error: Exception) -> str:
        status = self._process.poll()
        if status is None:
            cause = error.__cause__ or error
            return f"the Java process does not answer ({type(cause).__name__}: {cause})"
        words = " ".join(self._last_words)
        return f"the Java process ended with {status}" + (
            f" and said: {words[-300:]}" if words else ""
        )


def _start(java: Path, heap_mb: int, directory: Path) -> subprocess.Popen[bytes]:
    from py4j.java_gateway import find_jar_path

    package = resources.files("scienceworld")
    # The simulator numbers kinds of objects by a file in its working directory, and writes there.
    directory.joinpath(_TYPE_IDS).write_bytes(package.joinpath(_TYPE_IDS).read_bytes())
    jar = package / "scienceworld.jar"
    environment = dict(os.environ)
    # Java 8, which knows no such option and needs none, does not read this variable either.
    opens = "--add-opens=java.base/java.util=ALL-UNNAMED"
    options = environment.get("JDK_JAVA_OPTIONS", "")
    environment["JDK_JAVA_OPTIONS"] = f"{options} {opens}".strip()
    return subprocess.Popen(
        [
            str(java),
            f"-Xmx{heap_mb}m",
            # A load makes 10 MB that it lets go of: a heap that begins small is collected as a
            # whole at every load, a quarter of its time.
            f"-Xms{heap_mb}m",
            "-XX:+UseSerialGC",
            "-Xss4m",
            *_SAME_ORDER,
            "-classpath",
            os.pathsep.join((find_jar_path(), str(jar))),
            "py4j.GatewayServer",
            "--die-on-broken-pipe",
            "--enable-auth",
            "0",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=environment,
        # Ctrl-C is this program's to answer; the end of stdin stops the process, whatever happens.
        start_new_session=True,
    )


def _connect(port: int, token: str) -> Any:
    from py4j.java_gateway import GatewayParameters, JavaGateway

    # On the loopback address, and with a token: other users of the machine are kept out.
    return JavaGateway(
        gateway_parameters=GatewayParameters(
            address="127.0.0.1",
            port=port,
            auth_token=token,
            read_timeout=CALL_TIMEOUT_S,
            # Else Python's garbage collector talks to the process, whenever it likes.
            enable_memory_management=False,
        )
    )
