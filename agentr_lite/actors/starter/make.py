"""Remake the bundled starter model: ``python -m agentr_lite.actors.starter.make``.

Data, tokenizer, training, conversion and the bundled sample of demonstrations, from seeds alone.
Needs the extra ``agentr-lite[starter]`` (PyTorch).
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save_file

from agentr_lite.actors.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.actors.starter.corpus import Corpus, Mixture
from agentr_lite.actors.starter.network import Network, NetworkSize
from agentr_lite.actors.starter.pretrain import Encoder, Schedule, train
from agentr_lite.actors.starter.tokenizer import END_TOKEN, save_tokenizer, train_tokenizer
from agentr_lite.actors.starter.worlds import Vocabulary
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.book import bundled_table

VOCAB = 2048
GENERAL_EXAMPLES = 1200
"""Demonstrations in the bundled sample that training mixes in."""


def build_corpus(mixture: Mixture | None = None) -> Corpus:
    """The corpus of the bundled book: training goals are played, dev and test goals never."""
    env = TextCraft()
    held_out = frozenset(
        env.world(task).goal for split in ("dev", "test") for task in env.tasks(split)
    )
    table = bundled_table()
    names = [*table.by_output, *table.gettable, *table.tags]
    return Corpus(
        [env.world(task) for task in env.tasks("train")],
        Vocabulary.of(names, dict(table.tags), held_out),
        held_out,
        env.instructions(brief=True),
        mixture,
    )


def build_tokenizer(corpus: Corpus, seed: int) -> Any:
    """Trained on the corpus's own words; every item word of the book is one token."""
    table = bundled_table()
    words = {word for name in (*table.by_output, *table.gettable) for word in name.split("_")}
    sample = [m["content"] for d in islice(corpus.stream(seed), 3000) for m in d.messages]
    words |= {word for text in sample for word in re.findall(r"[A-Za-z]+", text)}
    words |= {str(number) for number in range(100)}
    return train_tokenizer(words, sample[:2000], VOCAB)


def export(network: Network, tokenizer: Any, directory: Path) -> None:
    """Write ``mlx/`` (Hugging Face layout, float16) and ``starter.gguf`` (float16)."""
    hf_dir = directory / "mlx"
    hf_dir.mkdir(parents=True, exist_ok=True)
    size = network.size
    config = size.to_hf_config(end_token=tokenizer.token_to_id(END_TOKEN))
    (hf_dir / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {
        name.replace("._orig_mod", ""): value.detach().to(torch.float16).contiguous().numpy()
        for name, value in network.state_dict().items()
    }
    save_file(tensors, hf_dir / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, hf_dir, size.context)
    convert_to_gguf(hf_dir, directory / "starter.gguf", dtype="f16")


def main() -> None:
    """Command line of the remake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--tokens", type=float, default=Schedule.tokens, help="training tokens")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=Schedule.seed)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    schedule = Schedule(tokens=int(arguments.tokens), seed=arguments.seed)
    corpus = build_corpus()
    tokenizer = build_tokenizer(corpus, arguments.seed)
    general = list(islice(corpus.stream(arguments.seed + 999_983), GENERAL_EXAMPLES))
    with (arguments.out / "general.jsonl").open("w", encoding="utf-8") as file:
        for one in general:
            file.write(json.dumps({"messages": one.messages, "loss": one.loss}) + "\n")
    network = Network(NetworkSize(vocab=tokenizer.get_vocab_size()))
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{parameters:,} parameters, {tokenizer.get_vocab_size()} tokens in the vocabulary")
    began = time.monotonic()
    log: list[dict[str, float]] = []

    def report(row: dict[str, float]) -> None:
        log.append(row)
        print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)

    def checkpoint(trained: Network, tokens: int) -> None:
        export(trained, tokenizer, arguments.out)

    seen = train(
        network,
        corpus,
        Encoder(tokenizer, schedule.observation_weight),
        schedule,
        report=report,
        checkpoint=checkpoint,
    )
    card = {
        "parameters": parameters,
        "size": asdict(network.size),
        "schedule": asdict(schedule),
        "mixture": asdict(corpus.mixture),
        "tokens_seen": seen,
        "wall_s": round(time.monotonic() - began),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "log": log[:: max(1, len(log) // 60)],
    }
    (arguments.out / "training.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
