"""Base and adapter side by side, compared with loading the model twice and with swapping.

    python -m benchmarks.beside                          # the bundled starter
    python -m benchmarks.beside --shape qwen2-0.5b --quantization q8_0

Each way runs in its own process: one actor; one actor with a second one beside it; two actors that
each load the model; one actor that swaps the adapter. Resident memory is measured after all have
answered. The time covers several rounds in which base and adapter take turns to answer the same
conversations, which grow by one turn in each round. Side by side, each actor finds its prefix in
its cache; an actor that swaps the adapter computes the prefix again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np

from agentr_lite.actors.base import Actor, GenerateRequest, Sampling
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.gguf_header import check_model_file
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.messages import Message
from benchmarks.synthetic import QUANTIZATIONS, QWEN2_0_5B, quantize, write_f16

WAYS = ("one actor", "side by side", "two loads", "one actor, swapping")
CHATS = 4
RANK = 16
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


def main() -> None:
    """Measure every way in its own process and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the starter")
    parser.add_argument("--shape", choices=["qwen2-0.5b"], help="random weights of that shape")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="q8_0")
    parser.add_argument("--cells", type=int, default=4096, help="cells of each actor's cache")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each conversation")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--adapter", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--template", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(_measure(options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = options.model or resolve_model("starter").gguf
        if options.shape:
            write_f16(Path(scratch) / "f16.gguf", QWEN2_0_5B, resolve_model("starter").gguf)
            path = Path(scratch) / "model.gguf"
            f16 = Path(scratch) / "f16.gguf"
            quantize(f16, path, options.quantization, n_threads=options.threads)
        adapter = _write_adapter(Path(scratch) / "adapter.gguf", path)
        # Models of random weights have no chat template.
        adapter.with_name("plain.jinja").write_text(TEMPLATE, "utf-8")
        print(f"{path.name}, {path.stat().st_size / 2**20:,.0f} MiB\n")
        print("| | resident MiB | seconds for both, by turns |\n|---|---|---|")
        for way in WAYS:
            figures = _in_a_process(way, path, adapter, options)
            seconds = f"{figures['seconds']:.2f}" if figures["seconds"] else "–"
            print(f"| {way} | {figures['resident_bytes'] / 2**20:,.0f} | {seconds} |")


def _in_a_process(
    way: str, model: Path, adapter: Path, options: argparse.Namespace
) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.beside", "--way", way, "--model", str(model)]
    command += ["--adapter", str(adapter), "--cells", str(options.cells)]
    command += ["--threads", str(options.threads), "--rounds", str(options.rounds)]
    command += ["--template", str(adapter.with_name("plain.jinja"))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _measure(options: argparse.Namespace) -> dict[str, float]:
    def load() -> LlamaCppActor:
        return LlamaCppActor(
            options.model,
            context_tokens=2048,
            n_cells=options.cells,
            n_threads=options.threads,
            chat_template=options.template,
            tuned=False,
        )

    base = load()
    actors: list[tuple[Actor, Path | None]] = [(base, None)]
    if options.way == "side by side":
        actors.append((base.beside(options.adapter), options.adapter))
    elif options.way == "two loads":
        other = load()
        other.use_adapter(options.adapter)
        actors.append((other, options.adapter))
    elif options.way == "one actor, swapping":
        actors.append((base, options.adapter))
    seconds = _by_turns(actors, options.rounds)
    return {"resident_bytes": _resident(), "seconds": seconds if len(actors) > 1 else 0.0}


def _by_turns(actors: list[tuple[Actor, Path | None]], rounds: int) -> float:
    chats: list[list[Message]] = [
        [
            {"role": "system", "content": "You play a crafting game. " * 12},
            {"role": "user", "content": f"Goal: craft {index} stone pickaxe. " * 8},
        ]
        for index in range(CHATS)
    ]
    sampling = Sampling(temperature=0.0, max_tokens=12)
    started = time.perf_counter()
    for turn in range(rounds):
        for actor, adapter in actors:
            actor.use_adapter(adapter)
            actor.generate([GenerateRequest(chat, (1,), sampling) for chat in chats])
        for chat in chats:
            chat.append({"role": "assistant", "content": f"Action: get {turn} stick"})
            chat.append({"role": "user", "content": f"Got {turn} stick"})
    return time.perf_counter() - started


def _resident() -> int:
    """Bytes of this process in memory, with pages of mapped files."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("resident memory is read from /proc, which only Linux has")


def _write_adapter(path: Path, model: Path) -> Path:
    """Write a small random LoRA adapter for the attention's q and v."""
    header = check_model_file(model)
    writer = gguf.GGUFWriter(path, header.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    rng = np.random.default_rng(0)
    for tensor in header.tensors:
        if tensor.name.endswith(("attn_q.weight", "attn_v.weight")):
            columns, rows = tensor.shape
            a = rng.normal(0, 0.02, (RANK, columns)).astype(np.float32)
            b = rng.normal(0, 0.02, (rows, RANK)).astype(np.float32)
            writer.add_tensor(f"{tensor.name}.lora_a", a)
            writer.add_tensor(f"{tensor.name}.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


if __name__ == "__main__":
    main()
