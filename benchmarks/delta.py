"""Linear attention of Qwen3.5-0.8B's shape: mlx-lm's own computation and ours in blocks.

    python -m benchmarks.delta
    python -m benchmarks.delta --tokens 512

One layer, one row, 16 heads of 128 x 128, random numbers, on MLX. Each way runs in a process of its
own, whose peak memory is shown. Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

WAYS = ("mlx-lm", "blocks")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delta", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--way", choices=WAYS, help="measure this one in this process")
    options = parser.parse_args()
    if options.way:
        print(measured(options.way, options.tokens))
        return
    print("| way | forward, s | forward and backward, s | peak memory, GB |")
    print("|---|---|---|---|")
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.delta", "--way", way]
        command += ["--tokens", str(options.tokens)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def measured(way: str, tokens: int) -> str:
    """One row of the table."""
    from agentr_lite.actors.mlx.blas import use_fast_blas

    use_fast_blas()
    import mlx.core as mx
    from mlx_lm.models.gated_delta import gated_delta_ops

    from agentr_lite.actors.mlx.delta import gated_delta_blocks

    compute = gated_delta_ops if way == "mlx-lm" else gated_delta_blocks
    rng = np.random.default_rng(0)
    shape = (1, tokens, 16, 128)
    inputs = [mx.array(rng.standard_normal(shape) / by, mx.float32) for by in (11, 11, 1)]
    inputs += [mx.array(rng.uniform(low, 1.0, shape[:3]), mx.float32) for low in (0.8, 0.0)]
    mx.eval(inputs)
    began = time.process_time()
    mx.eval(compute(*inputs)[0])
    forward = time.process_time()
    slope = mx.grad(lambda *each: compute(*each)[0].square().sum(), argnums=tuple(range(5)))
    mx.eval(slope(*inputs))
    both = time.process_time()
    scale = 1e9 if sys.platform == "darwin" else 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    return f"| {way} | {forward - began:.2f} | {both - forward:.2f} | {peak:.2f} |"


if __name__ == "__main__":
    main()
