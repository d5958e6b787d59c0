"""Does an answer depend on the other requests in a batch?

    python -m benchmarks.determinism [--model FILE]

The engine answers the same prompts of a recorded search three times: each alone in an empty cache,
all together, and together in another order with what is cached by then. This is done with caches
that conversations share, without and with flash attention; with streams; and in the deterministic
mode. The table shows the number of answers in which a token differs, and the largest difference of
a log-likelihood.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.llamacpp.isolated import IsolatedLane, plan_isolated
from agentr_lite.actors.llamacpp.lanes import Lane, Lanes
from agentr_lite.actors.llamacpp.library import uses_gpu
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.llamacpp.plan import LanePlan, plan_lanes
from agentr_lite.actors.llamacpp.sampler import Forced, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from agentr_lite.actors.registry import resolve_model
from benchmarks.workload import Call, Workload

RECORDED = Path(__file__).parent / "data" / "textcraft_wave.json.gz"
CONTEXT = 2048


@dataclass(frozen=True)
class Answers:
    """The answers to all prompts, asked in one way."""

    greedy: list[list[int]]
    sampled: list[list[int]]
    likelihoods: list[float]
    seconds: float


def answer(
    lanes: Lanes, calls: Sequence[Call], seeds: Sequence[int], *, length: int, alone: bool
) -> Answers:
    """Give two answers to each call's prompt, and the likelihood of the recorded answer."""
    followers = [Forced(tuple(call.samples[0][:length])) for call in calls]
    jobs = [
        Job(
            call.prompt,
            [
                Sample(make_chooser(Sampling(temperature=0.0), 1), length),
                Sample(make_chooser(Sampling(temperature=1.0), seed), length),
                Sample(follower, len(call.samples[0][:length])),
            ],
        )
        for call, follower, seed in zip(calls, followers, seeds, strict=True)
    ]
    started = time.perf_counter()
    if alone:
        for job in jobs:
            lanes.reset()
            lanes.run([job])
    else:
        lanes.run(jobs)
    return Answers(
        [job.samples[0].tokens for job in jobs],
        [job.samples[1].tokens for job in jobs],
        [follower.log_likelihood for follower in followers],
        time.perf_counter() - started,
    )


def compare(lanes: Lanes, calls: Sequence[Call], *, length: int) -> tuple[int, int, float, float]:
    """Compare the answers to prompts alone and together.

    Returns:
        (greedy answers that differ, sampled answers that differ, largest difference of a
        log-likelihood, seconds for all prompts together).
    """
    seeds = range(1, len(calls) + 1)
    alone = answer(lanes, calls, seeds, length=length, alone=True)
    lanes.reset()
    together = answer(lanes, calls, seeds, length=length, alone=False)
    order = random.Random(1).sample(range(len(calls)), len(calls))
    # The cache still has the prompts and answers from before.
    shuffled = answer(
        lanes, [calls[i] for i in order], [seeds[i] for i in order], length=length, alone=False
    )
    greedy = sampled = 0
    gap = 0.0
    for place, i in enumerate(order):
        greedy += not alone.greedy[i] == together.greedy[i] == shuffled.greedy[place]
        sampled += not alone.sampled[i] == together.sampled[i] == shuffled.sampled[place]
        for other in (together.likelihoods[i], shuffled.likelihoods[place]):
            gap = max(gap, abs(alone.likelihoods[i] - other))
    return greedy, sampled, gap, together.seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.determinism", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=resolve_model("starter").gguf)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--length", type=int, default=48, help="tokens per answer")
    parser.add_argument("--threads", type=int, default=physical_cores())
    options = parser.parse_args()

    calls = [call for call in Workload.load(RECORDED).calls if call.samples and call.samples[0]]
    calls = random.Random(7).sample(calls, min(options.prompts, len(calls)))
    model = Model(options.model)
    plans = {
        streams: plan_lanes(
            model,
            context_tokens=CONTEXT,
            n_cells=None,
            gpu=uses_gpu(),
            n_threads=options.threads,
            streams=streams,
            windowed=False,
        )
        for streams in (False, True)
    }
    plan = plans[False]
    isolated = plan_isolated(plan, context_tokens=CONTEXT, n_threads=options.threads)
    kinds: list[tuple[str, type[Lane] | None, LanePlan]] = [
        ("shared cells", None, plan),
        ("shared cells, flash attention", None, replace(plan, flash_attention=True)),
        ("streams", None, plans[True]),
        ("deterministic", IsolatedLane, isolated),
    ]
    print(
        f"model {options.model.name}: {len(calls)} prompts, alone, together and reordered;"
        f" answers of {options.length} tokens\n"
    )
    print("| engine | greedy answers that differ | sampled | largest gap of a log-likelihood | s |")
    print("|---|---|---|---|---|")
    for name, kind, chosen in kinds:
        lanes = Lanes(model, chosen, n_threads=options.threads, kind=kind)
        greedy, sampled, gap, seconds = compare(lanes, calls, length=options.length)
        lanes.close()
        print(f"| {name} | {greedy} | {sampled} | {gap:.2g} | {seconds:.2f} |", flush=True)
    model.close()


if __name__ == "__main__":
    main()
