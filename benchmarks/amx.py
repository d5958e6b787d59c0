"""llama.cpp with the kernels of repacked weights, AMX among them, and with the plain ones.

    python -m benchmarks.amx --model FILE.gguf [FILE.gguf ...]

Both load the same file into one process and take turns. Each width is so many conversations of 256
tokens with cells of their own (``StreamLane``), which get one token each in every step. The figures
are tokens per processor second on one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from agentr_lite.actors.llamacpp.amx import has_amx, repacks
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.model import Model
from benchmarks import tables

PROMPT, CELLS = 256, 512


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="GGUF files")
    parser.add_argument("--widths", type=int, nargs="*", default=[4, 12, 32])
    parser.add_argument("--steps", type=int, default=16, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="the best counts")
    options = parser.parse_args()
    tables.warn_if_busy()
    if not repacks():
        raise SystemExit("The kernels of this llama.cpp are wrong: `agentr-lite doctor`.")
    name = "AMX" if has_amx() else "repacked, without AMX"
    tables.begin("", ["model", "tokens", "plain", name, "ratio"])
    for path in options.model:
        ways = [Model(path, n_gpu_layers=0, repacked=way) for way in (False, True)]
        for width in options.widths:
            best = [(0.0, 0.0), (0.0, 0.0)]
            for _ in range(options.repeats):
                for way, model in enumerate(ways):
                    speeds = _speeds(model, width, options.steps)
                    best[way] = max(best[way][0], speeds[0]), max(best[way][1], speeds[1])
            for index, what in enumerate((f"prompts of {PROMPT}", f"answers, {width} at a time")):
                plain, faster = (figures[index] for figures in best)
                if index or width == options.widths[0]:
                    cells = [f"{plain:.0f}", f"{faster:.0f}", f"{faster / plain:.2f}"]
                    tables.row([path.stem, what, *cells])
        for model in ways:
            model.close()


def _speeds(model: Model, width: int, steps: int) -> tuple[float, float]:
    """Tokens per processor second of prompts, and of answers."""
    context = Context(
        model,
        n_cells=width * CELLS,
        n_batch=CELLS,
        n_threads=1,
        flash_attention=False,
        sequences=width,
        unified=False,
    )
    tokens = [(7 * i) % model.n_vocab for i in range(PROMPT + steps)]
    began = time.process_time()
    for sequence in range(width):
        context.decode(tokens[:PROMPT], range(PROMPT), [sequence] * PROMPT, outputs=1)
    middle = time.process_time()
    for step in range(PROMPT, PROMPT + steps):
        context.decode([tokens[step]] * width, [step] * width, range(width), outputs=width)
    end = time.process_time()
    context.close()
    return width * PROMPT / (middle - began), width * steps / (end - middle)


if __name__ == "__main__":
    main()
