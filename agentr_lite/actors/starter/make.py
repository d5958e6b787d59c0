"""Remake the bundled starter model: ``python -m agentr_lite.actors.starter.make``.

Data, tokenizer, training, conversion and the bundled sample of demonstrations, from seeds alone.
Needs the extra ``agentr-lite[starter]`` (PyTorch).
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file, save_file

from agentr_lite.actors.convert.hf_to_gguf import convert_to_gguf
from agentr_lite.actors.starter.copying import write_induction_heads
from agentr_lite.actors.starter.corpus import Corpus, Mixture
from agentr_lite.actors.starter.network import Network, NetworkSize
from agentr_lite.actors.starter.pretrain import Encoder, Schedule, train
from agentr_lite.actors.starter.tokenizer import END_TOKEN, save_tokenizer, train_tokenizer
from agentr_lite.actors.starter.worlds import Vocabulary
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.book import bundled_table

SEED = 20_260_101
VOCAB = 2048
GENERAL_EXAMPLES = 800
"""Demonstrations in the bundled sample that training mixes in."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training; each begins with the weights that the one before exported."""

    schedule: Schedule
    mixture: Mixture
    every_word: bool
    """See ``Vocabulary.of``."""


PHASES = (
    Phase(Schedule(tokens=10_000_000, seed=SEED), Mixture(), every_word=False),
    # The book's own recipes are remembered by now; made-up ones teach to read the commands.
    Phase(
        Schedule(
            tokens=7_000_000,
            muon_rate=0.015,
            adam_rate=0.003,
            decay=0.6,
            ease_until=0.0,
            seed=SEED + 1,
        ),
        Mixture(real=0.2),
        every_word=False,
    ),
    # Words that only held-out goals have cannot be copied until they were seen somewhere.
    Phase(
        Schedule(
            tokens=6_000_000,
            muon_rate=0.012,
            adam_rate=0.003,
            decay=0.7,
            ease_until=0.0,
            seed=SEED + 2,
        ),
        Mixture(real=0.35),
        every_word=True,
    ),
)


def build_corpus(mixture: Mixture | None = None, *, every_word: bool = True) -> Corpus:
    """The corpus of the bundled book: training goals are played, dev and test goals never."""
    env = TextCraft()
    held_out = frozenset(
        env.world(task).goal for split in ("dev", "test") for task in env.tasks(split)
    )
    table = bundled_table()
    names = [*table.by_output, *table.gettable, *table.tags]
    return Corpus(
        [env.world(task) for task in env.tasks("train")],
        Vocabulary.of(names, dict(table.tags), held_out, every_word=every_word),
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


def load(network: Network, directory: Path) -> None:
    """Read back what ``export`` wrote."""
    tensors = load_file(directory / "mlx" / "model.safetensors")
    state = {name: torch.from_numpy(value).float() for name, value in tensors.items()}
    network.load_state_dict(state)


def train_phase(
    number: int, phase: Phase, tokenizer: Any, source: Path | None, out: Path
) -> dict[str, Any]:
    """Train one phase and export it; returns what the model card says of it.

    Args:
        number: of the phase, from 1.
        phase: its schedule and mixture.
        tokenizer: see ``build_tokenizer``.
        source: export of the phase before; None = begin with hand-written induction heads.
        out: where checkpoints and the result go.
    """
    schedule = phase.schedule
    torch.manual_seed(schedule.seed)
    corpus = build_corpus(phase.mixture, every_word=phase.every_word)
    network = Network(NetworkSize(vocab=tokenizer.get_vocab_size()))
    if source is None:
        write_induction_heads(network, torch.Generator().manual_seed(schedule.seed))
    else:
        load(network, source)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"phase {number}: {parameters:,} parameters, {schedule.tokens:,} tokens", flush=True)
    began = time.monotonic()
    log: list[dict[str, float]] = []

    def report(row: dict[str, float]) -> None:
        log.append(row)
        print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)

    seen = train(
        network,
        corpus,
        Encoder(tokenizer, schedule.observation_weight),
        schedule,
        report=report,
        checkpoint=lambda trained, _: export(trained, tokenizer, out),
    )
    return {
        "phase": number,
        "parameters": parameters,
        "size": asdict(network.size),
        "schedule": asdict(schedule),
        "mixture": asdict(phase.mixture),
        "tokens_seen": seen,
        "wall_s": round(time.monotonic() - began),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "log": log[:: max(1, len(log) // 40)],
    }


def main() -> None:
    """Command line of the remake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--work", type=Path, default=Path(".work/starter"), help="for phases")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--from-phase", type=int, default=1, help="go on after a finished phase")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    # Sharp attention underflows; denormal numbers cost many times the time.
    torch.set_flush_denormal(True)
    corpus = build_corpus(every_word=False)
    tokenizer = build_tokenizer(corpus, SEED)
    card: list[dict[str, Any]] = []
    source: Path | None = None
    for number, phase in enumerate(PHASES, start=1):
        out = arguments.work / f"phase-{number}"
        if number >= arguments.from_phase:
            out.mkdir(parents=True, exist_ok=True)
            row = train_phase(number, phase, tokenizer, source, out)
            (out / "training.json").write_text(json.dumps(row, indent=1) + "\n", "utf-8")
        card.append(json.loads((out / "training.json").read_text("utf-8")))
        source = out
    assert source is not None
    shutil.copytree(source / "mlx", arguments.out / "mlx", dirs_exist_ok=True)
    shutil.copyfile(source / "starter.gguf", arguments.out / "starter.gguf")
    with (arguments.out / "general.jsonl").open("w", encoding="utf-8") as file:
        for one in islice(corpus.stream(SEED + 999_983), GENERAL_EXAMPLES):
            file.write(json.dumps({"messages": one.messages, "loss": one.loss}) + "\n")
    (arguments.out / "training.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
