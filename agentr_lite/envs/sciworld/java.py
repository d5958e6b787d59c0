"""Finds Java, and says what to do if there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from agentr_lite.core.errors import EXIT_USAGE, EnvironmentFault

INSTALL_HINT = (
    "ScienceWorld's simulator runs on Java 8 or newer: `apt install default-jre-headless` (Debian,"
    " Ubuntu), `brew install openjdk` (macOS), or https://adoptium.net. JAVA_HOME is used before"
    " PATH."
)
_OLDEST = 8
_CHECK_TIMEOUT_S = 120.0
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


class JavaError(EnvironmentFault):
    """There is no working Java, so no game can be played, whatever the task."""

    # As for a package that is not installed: the program is used where it cannot work.
    exit_code = EXIT_USAGE

    def __init__(self, message: str) -> None:
        super().__init__("sciworld", message, hint=INSTALL_HINT)


def find_java() -> Path:
    """The Java to use; it is tested once in a process.

    Raises:
        JavaError: there is none, it does not start, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    return _find_java(home, os.environ.get("PATH", os.defpath))


@lru_cache(maxsize=8)
def _find_java(home: str | None, path: str) -> Path:
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java", path=path)
    if java is None:
        where = f"neither in JAVA_HOME ({home}) nor on the PATH" if home else "not on the PATH"
        raise JavaError(f"Java is needed and is {where}")
    _check(Path(java))
    return Path(java)


def _check(java: Path) -> None:
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise JavaError(f"{java} cannot be started: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise JavaError(f"`{java} -version` gave no answer in {_CHECK_TIMEOUT_S:g} s") from error
    # Java prints its version on stderr; macOS' placeholder prints there that it is no Java.
    said = " ".join((done.stderr + done.stdout).split())
    version = _VERSION.search(said)
    if done.returncode or version is None:
        raise JavaError(
            f"{java} does not work: `java -version` ended with {done.returncode}"
            + (f" and said: {said[:300]}" if said else "")
        )
    if int(version.group(1)) < _OLDEST:
        raise JavaError(f"{java} is Java {version.group(1)}; {_OLDEST} or newer is needed")
