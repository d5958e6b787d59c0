"""Caches that conversations share, compared with streams of their own, on the same conversations.

    python -m benchmarks.streams --model FILE                 # greedy answers, as in evaluation
    python -m benchmarks.streams --model FILE --samples 3     # siblings, as in search

Both kinds of lanes take turns in one process, so other work on the machine disturbs both. Each
plays the same tasks of TextCraft: every conversation gets its answers in one call, goes on with one
of them, and gets the same observation. The figures are processor seconds in the calls, prefills and
the drawing of tokens included. The answers agree except where a near tie is rounded differently.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from agentr_lite.actors.base import GenerateRequest, Sampling
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.scheduler import Counters
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.messages import Message
from agentr_lite.envs.textcraft import TextCraft
from benchmarks import tables
from benchmarks.attention import attention_by

OBSERVATION = (
    "Observation: Could not find enough items to craft {count} oak planks. You have {count} oak"
    " logs, 1 stick and 4 cobblestones."
)


@dataclass
class Player:
    """One kind of lanes, with its conversations and what they took."""

    name: str
    actor: LlamaCppActor
    talks: list[list[Message]]
    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answers: list[str] = field(default_factory=list)

    def play(self, turn: int, options: argparse.Namespace) -> None:
        """Answer every conversation once, and go on."""
        sampling = Sampling(
            temperature=0.0 if options.samples == 1 else 1.0, max_tokens=options.tokens
        )
        first = 1 + turn * options.samples
        seeds = tuple(range(first, first + options.samples))
        asked = [GenerateRequest(talk, seeds, sampling) for talk in self.talks]
        started, cpu_started = time.perf_counter(), time.process_time()
        results = self.actor.generate(asked)
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.process_time() - cpu_started
        rng = random.Random(turn)
        for talk, result in zip(self.talks, results, strict=True):
            self.tokens += sum(answer.output_tokens for answer in result.completions)
            self.answers += [answer.text for answer in result.completions]
            chosen = rng.choice(range(options.samples))
            talk += [
                {"role": "assistant", "content": result.completions[chosen].text},
                {"role": "user", "content": OBSERVATION.format(count=rng.randint(2, 9))},
            ]

    def counters(self) -> Counters:
        """What its lanes have done."""
        return self.actor._lanes.counters()


def tasks_begun(count: int) -> list[list[Message]]:
    """Conversations that begin with the rules and with one of TextCraft's tasks, evenly spaced."""
    env = TextCraft()
    tasks = env.tasks("test")
    tasks = tasks[:: max(1, len(tasks) // count)][:count]
    rules = env.instructions()
    return [
        [{"role": "user", "content": f"{rules}\n{env.reset(task, seed=0)[0]}"}] for task in tasks
    ]


def main() -> None:
    """Play and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the starter")
    parser.add_argument("--conversations", type=int, default=16)
    parser.add_argument("--samples", type=int, default=1, help="answers to each turn; 1: greedy")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32, help="longest answer")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=physical_cores())
    options = parser.parse_args()
    openings = tasks_begun(options.conversations)
    # A search's nodes stay in play, so the caches are planned for more than its conversations.
    live = len(openings) * options.context * (1 if options.samples == 1 else options.turns * 3)
    players = []
    for kernel in (False, True):
        with attention_by(kernel):
            for name, streams in (("shared caches", False), ("streams", True)):
                actor = LlamaCppActor(
                    options.model or resolve_model("starter").gguf,
                    context_tokens=options.context,
                    live_tokens=live,
                    n_threads=options.threads,
                    tuned=False,
                    streams=streams,
                )
                talks = [list(opening) for opening in openings]
                players.append(Player(name + ", our attention" * kernel, actor, talks))
    for turn in range(options.turns):
        for player in players:
            player.play(turn, options)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    tables.begin(
        f"{len(openings)} conversations of {options.turns} turns, {options.samples} answers to each"
        f" turn, {options.threads} threads; the machine's load: {load}",
        [
            "",
            "lanes x cells",
            "answer tokens",
            "processor s",
            "s",
            "answer tokens / processor s",
            "prompt tokens decoded",
            "from RAM",
            "mean width",
            "times the first",
        ],
    )
    base = players[0].tokens / players[0].cpu_seconds
    for player in players:
        counters = player.counters()
        rows = sum(width * count for width, count in counters.widths.items())
        rate = player.tokens / player.cpu_seconds
        lanes = player.actor._lanes.lanes
        tables.row(
            [
                player.name,
                f"{len(lanes)} x {lanes[0].context.n_cells:,}",
                f"{player.tokens:,}",
                f"{player.cpu_seconds:.1f}",
                f"{player.seconds:.1f}",
                f"{rate:.1f}",
                f"{counters.prefilled_tokens + counters.replayed_tokens:,}",
                f"{counters.restored_tokens:,}",
                f"{rows / max(1, sum(counters.widths.values())):.1f}",
                f"{rate / base:.2f}",
            ]
        )
    for player in players[1:]:
        same = sum(a == b for a, b in zip(players[0].answers, player.answers, strict=True))
        tables.note(f"{player.name}: {same} of {len(player.answers)} answers are the first's.")
    for player in players:
        player.actor.close()


if __name__ == "__main__":
    main()
