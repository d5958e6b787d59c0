"""A Java process that holds ScienceWorld simulators.

The package starts a process for each simulator, with Java's default heap (a quarter of the
machine's memory). Here, one small process holds many simulators. They share Scala's random
generator, which moves the animals, and the counter of object ids. Both belong to an episode, so
``turn_to`` restores them before another simulator is used. Then an episode does not depend on what
is played in between, and is the same as with the package alone.
"""

from __future__ import annotations

import contextlib
import logging
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
"""Longest wait for a process to start; 2 to 3 s are usual on an idle machine."""
CALL_TIMEOUT_S = 120.0
"""Longest wait for one call; a process that takes longer counts as dead."""
_SCRAMBLE = 0x5DEECE66D
"""The number with which ``java.util.Random.setSeed`` scrambles its argument.

Source: its specification."""
_SAME_ORDER = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
"""The simulator lists the contents of rooms, and choices, in the order of identity hashes, which
differ each time a game is loaded. With equal hashes, the order is that of their insertion."""
_TYPE_IDS = "object_type_ids.tsv"
_STOP_TIMEOUT_S = 5.0
_KEPT_LINES = 20


class JvmLost(EnvironmentFault):
    """The process has died, hangs or is out of memory. Its games can be replayed elsewhere."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("sciworld", message, hint=hint)


class SimulatorFailed(EnvironmentFault):
    """The simulator raised an error; its state can no longer be trusted."""

    def __init__(self, message: str) -> None:
        super().__init__("sciworld", message)


class Globals(NamedTuple):
    """The state that all simulators of a process share and on which an episode depends."""

    seed: int
    """The 48 bits of ``scala.util.Random``."""
    objects: int
    """Number of assigned object ids."""


class Turn(Protocol):
    """A user of a process, which takes turns with others."""

    saved: Globals | None
    """The global state at the end of its last turn; None before its first turn."""


class Jvm:
    """One Java process.

    All methods but ``close`` may be called only by the holder of ``lock``: the simulators of a
    process give wrong answers if they run at the same time.

    Args:
        heap_mb: the heap, in MiB.

    Raises:
        JavaError: there is no working Java.
        EnvironmentFault: the process does not start with these settings.
    """

    def __init__(self, heap_mb: int) -> None:
        self.lock = threading.RLock()
        self.heap_mb = heap_mb
        self._current: Turn | None = None
        self._last_words: deque[str] = deque(maxlen=_KEPT_LINES)
        self._gateway: Any = None
        logging.getLogger().addFilter(_no_interruption)
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
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def new_simulator(self) -> Any:
        """Another object of the package's ``PythonInterface``."""
        return self.call(self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface)

    def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call Java code in the process.

        Raises:
            JvmLost: the process does not answer, or has too little memory.
            SimulatorFailed: the Java code raised an error.
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
            hint="Increase env_options.heap_mb, or hold fewer games: env_options.worlds.",
        )

    def turn_to(self, owner: Turn) -> None:
        """Restore the global state of a user's last turn, if another user had a turn since.

        Args:
            owner: the user whose turn starts.
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
        """The strings of a Java list, in one call instead of two for each string.

        The strings must not contain line breaks. The list itself is released.
        """
        text = self.call(self._gateway.jvm.java.lang.String.join, "\n", strings)
        self.call(self._gateway.detach, strings)
        return text.split("\n") if text else []

    def globals(self) -> Globals:
        """The global state now."""
        seed = self.call(self._seed_field.get, self._java_random)
        return Globals(int(seed), int(self.call(self._objects)))

    def close(self) -> None:
        """End the process; it may have ended already."""
        if self._gateway is not None:
            with contextlib.suppress(Exception):
                # Errors of connections to a dead process do not matter.
                self._gateway.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                # The process ends when its input ends.
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
            # The simulator prints pages at every step. This must come before Scala uses stdout.
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
        """Read the output of the process to its end, so that it never waits for a reader."""
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
    # The simulator reads the numbers of object types from its working directory, and writes there.
    directory.joinpath(_TYPE_IDS).write_bytes(package.joinpath(_TYPE_IDS).read_bytes())
    jar = package / "scienceworld.jar"
    environment = dict(os.environ)
    # Java 8 does not know this option and does not need it; it does not read this variable.
    opens = "--add-opens=java.base/java.util=ALL-UNNAMED"
    options = environment.get("JDK_JAVA_OPTIONS", "")
    environment["JDK_JAVA_OPTIONS"] = f"{options} {opens}".strip()
    return subprocess.Popen(
        [
            str(java),
            f"-Xmx{heap_mb}m",
            # Loading a game makes 10 MB of garbage. A heap that starts small would be collected
            # completely at every load, which takes a quarter of its time.
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
        # Only this program handles Ctrl-C; the end of stdin always stops the process.
        start_new_session=True,
    )


def _connect(port: int, token: str) -> Any:
    from py4j.java_gateway import GatewayParameters, JavaGateway

    # On the loopback address and with a token, so that other users have no access.
    return JavaGateway(
        gateway_parameters=GatewayParameters(
            address="127.0.0.1",
            port=port,
            auth_token=token,
            read_timeout=CALL_TIMEOUT_S,
            # Otherwise Python's garbage collector calls the process at any time.
            enable_memory_management=False,
        )
    )


def _no_interruption(record: logging.LogRecord) -> bool:
    """Whether the root logger may log a record: py4j logs a traceback there at Ctrl-C."""
    return not record.getMessage().startswith("KeyboardInterrupt while sending")
