"""The command: ``python -m tests.soak --minutes 60 --seed 17``."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.soak.driver import Soak
from tests.soak.kinds import KINDS


def main(words: list[str] | None = None) -> int:
    """Run a soak; gives the exit code: 1 where a trial went wrong."""
    names = [kind.name for kind in KINDS]
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, help="of the first trial (default: a new one)")
    parser.add_argument("--only", action="append", choices=names, help="only this kind; repeatable")
    parser.add_argument("--count", type=int, default=0, help="trials of each kind, not minutes")
    parser.add_argument("--work", type=Path, help="folder to work in; it stays afterwards")
    chosen = parser.parse_args(words)
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**6)
    # A shell that starts this in the background makes it, and so every trial, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work = (chosen.work or Path(tempfile.mkdtemp(prefix="agentr-lite-soak-"))).absolute()
    os.environ["AGENTR_LITE_HOME"] = str(work / "home")
    kinds = [kind for kind in KINDS if chosen.only is None or kind.name in chosen.only]
    soak = Soak(kinds, seed, work)
    print(f"soak: seed {seed}, {', '.join(kind.name for kind in kinds)}; in {work}", flush=True)
    try:
        soak.run(minutes=chosen.minutes, count=chosen.count)
    finally:
        print(soak.summary(), flush=True)
        if not soak.failures and chosen.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
