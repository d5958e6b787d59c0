"""Remake the bundled starter model: ``python -m agentr_lite.starter.maker.make``.

This makes the recordings, the tokenizer, the trained model, its conversions and the bundled sample
of demonstrations, from seeds and from the first starter's weights. It needs a checkout of the
repository and the extras ``agentr-lite[starter,sciworld]`` (PyTorch; Java). After an interruption,
the same command continues from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from agentr_lite.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.starter.maker.copying import write_induction_heads
from agentr_lite.starter.maker.corpus import Corpus, build_corpus
from agentr_lite.starter.maker.growing import grow_from
from agentr_lite.starter.maker.network import Network, NetworkSize
from agentr_lite.starter.maker.pretrain import Encoder, Schedule, Training
from agentr_lite.starter.maker.tokenizer import END_TOKEN, save_tokenizer, train_tokenizer

SEED = 20_260_101
VOCAB = 5632
PLAYS = 2000
"""Number of recorded episodes of ScienceWorld."""
ANCESTOR = Path(__file__).parent / "ancestor"
"""The first starter, which knew only TextCraft; it is in the repository, not in the package."""
GENERAL_EXAMPLES = 900
"""Number of demonstrations in the bundled sample that training mixes in."""
SCHEDULE = Schedule(seed=SEED)
_BARE = re.compile(r"(?:^|[\[\n\t(])([A-Za-z]+)(?![A-Za-z0-9])")
"""Words without a space before them: at the start of a text or line, or after a bracket."""


def build_tokenizer(corpus: Corpus) -> Tokenizer:
    """A tokenizer for the corpus; every word of the three environments is one token."""
    table = bundled_table()
    words = {word for name in (*table.by_output, *table.gettable) for word in name.split("_")}
    words |= set(corpus.words)
    words |= {str(number) for number in range(100)}
    texts = [m["content"] for d in islice(corpus.stream(SEED), 3000) for m in d.messages]
    bare = {word for text in texts for word in _BARE.findall(text)}
    return train_tokenizer(words, bare, texts, VOCAB)


def export(network: Network, tokenizer: Tokenizer, directory: Path) -> None:
    """Write ``mlx/`` (Hugging Face layout, float16) and ``starter.gguf`` (float16)."""
    hf_dir = directory / "mlx"
    hf_dir.mkdir(parents=True, exist_ok=True)
    size = network.size
    end_token = tokenizer.token_to_id(END_TOKEN)
    assert end_token is not None
    config = size.to_hf_config(end_token=end_token)
    (hf_dir / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {
        name.replace("._orig_mod", ""): value.detach().to(torch.float16).contiguous().numpy()
        for name, value in network.state_dict().items()
    }
    save_file(tensors, hf_dir / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, hf_dir, size.context)
    convert_to_gguf(hf_dir, directory / "starter.gguf", dtype="f16")


def write_general(corpus: Corpus, file: Path) -> None:
    """Write the sample of demonstrations that ``train.general: starter`` mixes in."""
    with file.open("w", encoding="utf-8") as out:
        for example in islice(corpus.stream(SEED + 999_983), GENERAL_EXAMPLES):
            row = {"messages": example.messages, "loss": example.loss}
            out.write(json.dumps(row) + "\n")


def make(
    work: Path, recordings: Path, schedule: Schedule, ancestor: Path | None = None
) -> dict[str, Any]:
    """Train and export into ``work``.

    Args:
        work: folder for checkpoints, log and result; an interrupted training continues from it.
        recordings: recorded episodes of ScienceWorld.
        schedule: of the training.
        ancestor: start from this export's weights; None: from hand-written induction heads.

    Returns:
        The figures for the model card.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(schedule.seed)
    corpus = build_corpus(recordings)
    saved = work / "tokenizer.json"
    if not saved.exists():
        build_tokenizer(corpus).save(str(saved))
    tokenizer = Tokenizer.from_file(str(saved))
    network = Network(NetworkSize(vocab=tokenizer.get_vocab_size()))
    if ancestor is None:
        write_induction_heads(network, torch.Generator().manual_seed(schedule.seed))
    else:
        known = grow_from(network, tokenizer, ancestor)
        print(f"grown from {ancestor}, which knew {known} of the words", flush=True)
    training = Training(network, corpus, Encoder(tokenizer, schedule), schedule)
    state, log_file = work / "state.pt", work / "log.jsonl"
    if state.exists():
        training.load(state)
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{parameters:,} parameters, {tokenizer.get_vocab_size()} words,"
        f" {training.progress.tokens:,} of {schedule.tokens:,} tokens",
        flush=True,
    )

    def report(row: dict[str, float]) -> None:
        with log_file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)

    def checkpoint() -> None:
        training.save(state)
        export(network, tokenizer, work)

    training.run(report=report, checkpoint=checkpoint)
    write_general(corpus, work / "general.jsonl")
    log = [json.loads(line) for line in log_file.read_text("utf-8").splitlines()]
    card = {
        "parameters": parameters,
        "size": asdict(network.size),
        "schedule": asdict(schedule),
        "grown": ancestor is not None,
        "mixture": asdict(corpus.mixture),
        "tokens_seen": training.progress.tokens,
        "steps": training.progress.step,
        "wall_s": round(training.progress.wall_s),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "log": log[:: max(1, len(log) // 60)],
    }
    (work / "training.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    return card


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "model")
    parser.add_argument("--work", type=Path, default=Path(".work/starter"), help="checkpoints")
    parser.add_argument("--recordings", type=Path, help="ScienceWorld episodes; made if missing")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--grow-from", type=Path, default=ANCESTOR, help="start from this export")
    start.add_argument("--from-scratch", action="store_true", help="start from induction heads")
    parser.add_argument("--tokens", type=int, default=SCHEDULE.tokens)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pid-file", type=Path, help="file for this process's id")
    parser.add_argument("--keep", action="store_true", help="only write the result to --work")
    arguments = parser.parse_args()

    if arguments.pid_file:
        arguments.pid_file.write_text(f"{os.getpid()}\n", "utf-8")
    torch.set_num_threads(arguments.threads)
    # Sharp attention underflows, and denormal numbers are many times slower.
    torch.set_flush_denormal(True)
    recordings = arguments.recordings
    if recordings is None:
        from agentr_lite.starter.maker.recordings import record_all

        recordings = arguments.work / "sciworld.jsonl"
        record_all(recordings, PLAYS)
    schedule = replace(SCHEDULE, tokens=arguments.tokens)
    ancestor = None if arguments.from_scratch else arguments.grow_from
    make(arguments.work, recordings, schedule, ancestor)
    if arguments.keep:
        return
    shutil.copytree(arguments.work / "mlx", arguments.out / "mlx", dirs_exist_ok=True)
    for name in ("starter.gguf", "general.jsonl", "training.json"):
        shutil.copyfile(arguments.work / name, arguments.out / name)


if __name__ == "__main__":
    main()
