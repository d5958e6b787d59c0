"""The costs and the benefits of a grammar.

    python -m benchmarks.grammar                       # the bundled starter, TextCraft's dev tasks
    python -m benchmarks.grammar --env webshop --model m.gguf --tasks 16

The same tasks are played twice with sampled turns, without and with ``agent.grammar=env``. The
first table shows the share of turns that the environment could execute, the share of turns with an
action, and tokens per second of model time. The second part measures only the matcher, in
microseconds of processor time: per token that it keeps, per draw that it refuses, and for preparing
the vocabulary and the grammar.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.grammar.matcher import Grammars
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.grammar import Constrained
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.sampler import Row, make_chooser
from agentr_lite.actors.registry import resolve_model
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import answer_format
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env
from agentr_lite.evaluate.episodes import Start, run_episodes

TURN = "Thought: I need planks first.\nAction: craft 4 oak planks using 1 oak logs"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grammar", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="starter", help="starter, or a GGUF file")
    parser.add_argument("--env", default="textcraft", choices=["textcraft", "webshop"])
    parser.add_argument(
        "--tasks", type=int, default=24, help="evenly spaced tasks of the dev split"
    )
    parser.add_argument("--steps", type=int, default=15, help="maximum steps of an episode")
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0, 1.0, 1.5])
    parser.add_argument("--full-prompt", action="store_true", help="for models that need the rules")
    parser.add_argument("--threads", type=int, default=physical_cores())
    options = parser.parse_args()
    env = make_env(options.env)
    path = resolve_model(options.model).gguf
    actor = LlamaCppActor(path, context_tokens=2048, n_threads=options.threads)
    own = TurnGrammar("env", env)
    print("| temperature | grammar | valid turns | with an action | solved | tokens/s |")
    print("|---|---|---|---|---|---|")
    for temperature in options.temperature:
        for grammar in (TurnGrammar("", env), own):
            sampling = Sampling(temperature=temperature, max_tokens=128)
            print(_played(env, actor, sampling, grammar, options))
    actor.close()
    _matcher(path, own.text)


def _played(
    env: Environment,
    actor: LlamaCppActor,
    sampling: Sampling,
    grammar: TurnGrammar,
    options: argparse.Namespace,
) -> str:
    tasks = env.tasks("dev")
    count = min(options.tasks, len(tasks))
    starts = [Start(tasks[i * len(tasks) // count], seed=i + 1) for i in range(count)]
    actor.reset_cache()
    tokens, model_ms = actor.usage.output_tokens, actor.usage.model_ms
    episodes = run_episodes(
        env,
        actor,
        starts,
        instructions=env.instructions(brief=not options.full_prompt),
        max_steps=options.steps,
        form=answer_format("first", env),
        sampling=sampling,
        grammar=grammar,
        batch=32,
    )
    rate = (actor.usage.output_tokens - tokens) / (actor.usage.model_ms - model_ms) * 1000
    turns = [step for episode in episodes for step in episode.steps]
    valid = sum(not step.invalid for step in turns) / len(turns)
    acted = sum(step.action is not None for step in turns) / len(turns)
    solved = sum(episode.success for episode in episodes)
    return (
        f"| {sampling.temperature:g} | {'env' if grammar.text else '–'} | {valid:.1%} |"
        f" {acted:.1%} | {solved} of {len(episodes)} | {rate:,.0f} |"
    )


def _matcher(path: Path, text: str) -> None:
    model = Model(path)
    grammar = Grammars(model, model.n_vocab).compiled(text)
    tokens = model.tokenize(TURN)

    def keep() -> None:
        matcher = grammar.begin()
        for token in tokens:
            matcher.allows(token)
            matcher.accept(token)

    logits = np.random.default_rng(0).normal(0, 2, model.n_vocab).astype(np.float32)
    sampling = Sampling()
    # At the start of a turn, the grammar requires a fixed word.
    held = Constrained(make_chooser(sampling, 1), grammar.begin(), sampling, 1)
    row = Row(None, 0, logits)

    def refuse() -> None:
        held._draw.choose(row.logits, grammar.begin().mask())

    def prepare() -> None:
        Grammars(model, model.n_vocab).compiled(text)

    print(f"\nvocabulary of {model.n_vocab:,} tokens:")
    print(f"- a token that is kept: {_microseconds(keep, 200) / len(tokens):,.1f} µs")
    print(f"- a draw that is refused: {_microseconds(refuse, 20):,.0f} µs")
    print(f"- the vocabulary and the grammar, once a run: {_microseconds(prepare, 1):,.0f} µs")
    held.close()
    model.close()


def _microseconds(work: Callable[[], object], times: int) -> float:
    """Processor time: the least of several runs, since other programs only add time."""
    work()
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, time.thread_time() - started)
    return best / times * 1e6


if __name__ == "__main__":
    main()
