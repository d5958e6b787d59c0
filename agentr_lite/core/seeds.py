"""Seeds: one independent stream for each purpose, so that one more draw shifts no other stream."""

from __future__ import annotations

import zlib

_MAX_SEED = 2**31 - 1


def stream_seed(run_seed: int, *path: int | str) -> int:
    """A seed in [1, 2**31 - 1] that depends on ``run_seed`` and every element of ``path``.

    llama-cpp-python turns seed 0 into its default, hence the lower bound.

    Args:
        run_seed: the recipe's seed, >= 0.
        path: names and indices, e.g. ``("search", task_name, node, sample)``. All paths of one
            purpose need one length: zeros at the end do not count.
    """
    import numpy as np

    entropy = [run_seed, *(_as_int(part) for part in path)]
    state = np.random.SeedSequence(entropy).generate_state(1, dtype=np.uint32)[0]
    return int(state) % _MAX_SEED + 1


def _as_int(part: int | str) -> int:
    # crc32, not hash(): Python's string hash changes from process to process.
    return zlib.crc32(part.encode()) if isinstance(part, str) else part
