"""Training the starter from scratch on the CPU (PyTorch).

bfloat16 where the CPU has it (AMX, AVX-512-BF16), compiled layers, batches of similar length and
Muon for the matrices: 15 thousand tokens a second on two cores instead of five.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agentr_lite.actors.starter.corpus import Corpus, Demonstration
from agentr_lite.actors.starter.network import Network


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    tokens: int = 10_000_000
    """Tokens in all, prompts and observations included."""
    batch_tokens: int = 8192
    muon_rate: float = 0.02
    adam_rate: float = 0.004
    warmup: float = 0.02
    decay: float = 0.4
    """Share of training, at its end, over which the rates fall to zero."""
    ease_until: float = 0.15
    """Share of training over which worlds grow from shallow to the full mixture."""
    observation_weight: float = 0.05
    """Weight of observation tokens as targets; assistant tokens weigh 1."""
    max_length: int = 1152
    """Longer demonstrations are left out and counted."""
    seed: int = 20_260_101


@dataclass(slots=True)
class Encoded:
    """Token ids and target weights of one demonstration."""

    tokens: list[int]
    weights: list[float]


class Encoder:
    """Chat messages to tokens, with the starter's chat template."""

    def __init__(self, tokenizer: Any, observation_weight: float) -> None:
        self.tokenizer = tokenizer
        self.observation_weight = observation_weight
        self.end = tokenizer.token_to_id("<|end|>")
        self.roles = {
            role: tokenizer.token_to_id(f"<|{role}|>") for role in ("system", "user", "assistant")
        }
        # Names of procedural worlds never end: the cache has a limit.
        self.cache: dict[str, list[int]] = {}

    def __call__(self, demonstration: Demonstration) -> Encoded:
        tokens: list[int] = []
        weights: list[float] = []
        pairs = zip(demonstration.messages, demonstration.loss, strict=True)
        for index, (message, is_target) in enumerate(pairs):
            content = message["content"]
            ids = self.cache.get(content)
            if ids is None:
                ids = self.tokenizer.encode(content, add_special_tokens=False).ids
                if len(content) < 40 and len(self.cache) < 100_000:
                    self.cache[content] = ids
            # The first two turns (system, task) are given, never predicted.
            weight = 1.0 if is_target else self.observation_weight if index > 1 else 0.0
            tokens += [self.roles[message["role"]], *ids, self.end]
            weights += [0.0, *([weight] * (len(ids) + 1))]
        return Encoded(tokens, weights)


def batches(
    corpus: Corpus, encoder: Encoder, schedule: Schedule, progress: Callable[[], float]
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Endless (tokens, weights, real tokens); shapes (batch, length), padded on the right.

    Args:
        corpus: where demonstrations come from.
        encoder: messages to tokens.
        schedule: lengths and seed.
        progress: share of the training that is done, for the curriculum.
    """
    rng = random.Random(schedule.seed)
    pool_tokens = 24 * schedule.batch_tokens
    chunk = 0
    while True:
        ease = max(0.0, 1.0 - progress() / schedule.ease_until) if schedule.ease_until else 0.0
        stream = corpus.stream(schedule.seed + chunk, ease=ease)
        chunk += 1
        pool: list[Encoded] = []
        size = 0
        while size < pool_tokens:
            encoded = encoder(next(stream))
            if len(encoded.tokens) <= schedule.max_length:
                pool.append(encoded)
                size += len(encoded.tokens)
        pool.sort(key=lambda one: len(one.tokens))
        groups: list[list[Encoded]] = [[]]
        for one in pool:
            # Rounded up: few distinct shapes, little recompilation.
            if (len(groups[-1]) + 1) * _padded(len(one.tokens)) > schedule.batch_tokens:
                groups.append([])
            groups[-1].append(one)
        rng.shuffle(groups)
        for group in groups:
            yield _stack(group)


def _padded(length: int) -> int:
    return -(-length // 64) * 64


def _stack(group: Sequence[Encoded]) -> tuple[Tensor, Tensor, int]:
    length = _padded(max(len(one.tokens) for one in group))
    tokens = torch.zeros(len(group), length, dtype=torch.long)
    weights = torch.zeros(len(group), length)
    for row, one in enumerate(group):
        tokens[row, : len(one.tokens)] = torch.tensor(one.tokens)
        weights[row, : len(one.weights)] = torch.tensor(one.weights)
    return tokens, weights, sum(len(one.tokens) for one in group)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by five Newton-Schulz steps; for hidden matrices.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024),
    with its quintic coefficients.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                buffer = self.state[parameter].setdefault("buffer", torch.zeros_like(gradient))
                buffer.lerp_(gradient, 1 - group["momentum"])
                update = orthogonalise(gradient.lerp(buffer, group["momentum"]))
                rows, columns = parameter.shape
                parameter.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Replace the singular values of ``matrix`` (rows, columns) by about one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def train(
    network: Network,
    corpus: Corpus,
    encoder: Encoder,
    schedule: Schedule,
    *,
    report: Callable[[dict[str, float]], None],
    checkpoint: Callable[[Network, int], None],
    checkpoint_every: int = 2_000_000,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train to the end of the schedule.

    Args:
        network: trained in place.
        corpus: demonstrations.
        encoder: messages to tokens.
        schedule: see there.
        report: called every 25 steps with tokens, loss, share of right target tokens, rates.
        checkpoint: called with the network and the tokens seen.
        checkpoint_every: tokens between checkpoints.
        stop: polled each step; true ends training early.

    Returns:
        Tokens seen.
    """
    matrices = [p for n, p in network.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in network.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices, lr=schedule.muon_rate)
    adam = torch.optim.AdamW(others, lr=schedule.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)
    for block in network.model.layers:
        block.compile(dynamic=True)
    seen, saved, running = 0, 0, 0.0
    began = time.monotonic()

    def done() -> float:
        return seen / schedule.tokens

    for step, (tokens, weights, count) in enumerate(
        batches(corpus, encoder, schedule, done), start=1
    ):
        share = done()
        if share >= 1 or stop():
            break
        rate = min(1.0, share / schedule.warmup, (1 - share) / schedule.decay)
        muon.param_groups[0]["lr"] = schedule.muon_rate * max(rate, 0.002)
        adam.param_groups[0]["lr"] = schedule.adam_rate * max(rate, 0.002)
        with torch.autocast("cpu", torch.bfloat16):
            loss = network.loss(tokens, weights)
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        muon.zero_grad(set_to_none=True)
        adam.zero_grad(set_to_none=True)
        seen += count
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 25 == 0:
            report(
                {
                    "step": step,
                    "tokens": seen,
                    "loss": running,
                    "rate": rate,
                    "tokens_per_s": seen / (time.monotonic() - began),
                }
            )
        if seen - saved >= checkpoint_every:
            saved = seen
            checkpoint(network, seen)
    checkpoint(network, seen)
    return seen
