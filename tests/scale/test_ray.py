"""Ray itself: a cluster on this machine, the bundled model, and workers that are killed.

``RAY_KILLS=20`` kills that many workers instead of 3.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.scale.pool import Pool
from tests.support import loop_case
from tests.support.command_line import Call

pytest.importorskip("ray", reason="Ray is not installed; pip install 'agentr-lite[ray]' brings it")

KILLS = int(os.environ.get("RAY_KILLS", "3"))
SMALL = [
    # Enough waves that the kills fall among them.
    *("--set", f"search.tasks={9 * KILLS}", "--set", "search.wave=1"),
    *("--set", "search.simulations=2"),
    *("--set", "search.depth=5", "--set", "agent.max_tokens=40"),
]
RAY = ("--executor", "ray", "--workers", "2")


class Killer(threading.Thread):
    """Kills random workers at random moments.

    Attributes:
        kills: how many it has killed.
    """

    def __init__(self, pools: list[Pool], seed: int) -> None:
        super().__init__(daemon=True)
        self.kills = 0
        self.over = threading.Event()
        self._pools = pools
        self._random = random.Random(seed)

    def run(self) -> None:
        while self.kills < KILLS and not self.over.wait(self._random.uniform(0.05, 0.6)):
            workers = [ready.pid for pool in self._pools for ready in pool.ready.values()]
            if workers:
                # A worker that was killed before may not have been missed yet.
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice(workers), signal.SIGKILL)
                    self.kills += 1


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_search_on_ray_is_that_of_one_process(
    cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here.db", tmp_path / "there.db"
    assert cli("search", "textcraft", "-d", here, *SMALL)[0] == 0
    pools: list[Pool] = []
    opened = Pool.open

    def seen(pool: Pool, *arguments: Any) -> None:
        pools.append(pool)
        opened(pool, *arguments)

    monkeypatch.setattr(Pool, "open", seen)
    killer = Killer(pools, seed=7)
    killer.start()
    code, _, err = cli("search", "textcraft", "-d", there, *SMALL, *RAY)
    killer.over.set()
    killer.join()
    assert code == 0, err
    assert "2 workers are ready" in err
    assert killer.kills == KILLS
    # Two groups of episodes, by other workers.
    few = ("--tasks", "6", "--no-recovery", "--samples", "0", "--set", "eval.batch=1")
    assert cli("eval", "latest", "-d", here, *few)[0] == 0
    code, _, err = cli("eval", "latest", "-d", there, *few, *RAY)
    assert code == 0, err
    assert loop_case.contents(there) == loop_case.contents(here)
