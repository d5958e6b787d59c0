"""Write the bundled catalogue as files in WebShop's own format.

python -m agentr_lite.envs.webshop DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.envs.webshop.original import write_original
from agentr_lite.envs.webshop.stock import bundled_rows


def main(arguments: Sequence[str]) -> None:
    """Write into the given directory, or print how to use this program."""
    if len(arguments) != 1:
        sys.exit("usage: python -m agentr_lite.envs.webshop DIRECTORY")
    write_original(Path(arguments[0]), *bundled_rows())


if __name__ == "__main__":
    main(sys.argv[1:])
