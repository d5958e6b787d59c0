"""One stream of random numbers for each purpose."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.core.seeds import stream_seed

paths = st.lists(st.integers(0, 2**31) | st.text(max_size=20), max_size=5)


@given(st.integers(0, 2**31 - 1), paths)
def test_in_range_and_repeatable(run_seed: int, path: list[int | str]) -> None:
    seed = stream_seed(run_seed, *path)
    assert 1 <= seed <= 2**31 - 1
    assert seed == stream_seed(run_seed, *path)


def test_each_part_counts() -> None:
    seeds = {
        stream_seed(1, "search", "stick", 0),
        stream_seed(1, "search", "stick", 1),
        stream_seed(1, "search", "torch", 0),
        stream_seed(1, "eval", "stick", 0),
        stream_seed(2, "search", "stick", 0),
        stream_seed(1, "stick", "search", 0),
    }
    assert len(seeds) == 6


def test_few_collisions() -> None:
    seeds = {stream_seed(1, "search", "stick", node, k) for node in range(100) for k in range(20)}
    assert len(seeds) == 2000


def test_the_same_in_every_process_and_version() -> None:
    """A stored run is continued by another process: the numbers are part of the format."""
    expected = [174087838, 821328064]
    program = (
        "from agentr_lite.core.seeds import stream_seed\n"
        "print(stream_seed(1, 'search', 'stick', 0), stream_seed(0))"
    )
    for hash_seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        )
        assert [int(word) for word in done.stdout.split()] == expected
