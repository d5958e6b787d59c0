"""Write the bundled catalogue as files in WebShop's own format: ``python -m ... DIRECTORY``."""

import sys
from pathlib import Path

from agentr_lite.envs.webshop.original import write_original
from agentr_lite.envs.webshop.stock import bundled_rows

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m agentr_lite.envs.webshop DIRECTORY")
    write_original(Path(sys.argv[1]), *bundled_rows())
