"""Trees grown by walking an environment, and an actor that judges and recovers by rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from agentr_lite.actors.base import (
    Actor,
    Capabilities,
    Completion,
    GenerateRequest,
    GenerateResult,
    ScoreRequest,
    ScoreResult,
)
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import parse_action
from agentr_lite.core.messages import Message
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import Usage
from agentr_lite.envs.base import Environment
from agentr_lite.splice.critic import CRITIC_ANSWERS
from agentr_lite.store import Store, trees
from agentr_lite.store.records import NodeRow


def turn(action: str) -> str:
    return f"Thought: on.\nAction: {action}"


def walk(env: Environment, task: Task, paths: Sequence[str | Sequence[str]]) -> list[NodeRow]:
    """A tree whose leaves end ``paths``, really executed.

    A path is a list of actions, or a text with commas between them. One that the environment does
    not end is truncated at its last step.
    """
    first, _ = env.reset(task)
    rows = [NodeRow.root(first, visits=1)]
    known: dict[tuple[str, ...], int] = {(): 0}
    for path in paths:
        env.reset(task)
        words = tuple(path.split(", ")) if isinstance(path, str) else tuple(path)
        for depth in range(1, len(words) + 1):
            step = take_step(env, turn(words[depth - 1]))
            if words[:depth] in known:
                continue
            known[words[:depth]] = len(rows)
            cut = depth == len(words) and not step.terminated
            step = dataclasses.replace(step, truncated=cut)
            parent = known[words[: depth - 1]]
            rows.append(NodeRow.from_step(step, len(rows), parent, depth, visits=1))
    return rows


def plant(
    store: Store,
    run_id: str,
    env: Environment,
    task: Task,
    paths: Sequence[str],
    *,
    wave: int = 0,
    round_index: int = 1,
) -> int:
    """Store the tree of ``walk``; returns its id."""
    return trees.save_tree(
        store,
        run_id=run_id,
        round_index=round_index,
        wave=wave,
        env=env.name,
        task=task,
        instructions=env.instructions(),
        nodes=walk(env, task, paths),
        calls=[],
        simulations=len(paths),
    )


def actions(messages: Sequence[Message]) -> list[str]:
    """What the agent did so far."""
    return [parse_action(m["content"]) or "" for m in messages if m["role"] == "assistant"]


class RuleActor(Actor):
    """Judges actions in ``wrong`` bad; continues with ``policy``; counts what it is asked."""

    def __init__(
        self,
        wrong: Sequence[str] = (),
        policy: Callable[[Sequence[Message], int], str] | None = None,
        *,
        stop_after: int = -1,
    ) -> None:
        self.capabilities = Capabilities(scoring=True)
        self.usage = Usage()
        self.wrong = wrong
        self.policy = policy
        self.stop_after = stop_after
        """Batches after which the user presses Ctrl-C; -1: never."""
        self.judged: list[tuple[str, ...]] = []
        self.batches: list[int] = []

    @property
    def description(self) -> dict[str, Any]:
        return {"backend": "rules"}

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        self._count(requests)
        results = []
        for request in requests:
            assert self.policy is not None, "nobody should have asked for a continuation"
            texts = [turn(self.policy(request.messages, seed)) for seed in request.seeds]
            results.append(GenerateResult(tuple(Completion(t, 5, "stop") for t in texts), 20, 10))
        return results

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self._count(requests)
        results = []
        for request in requests:
            assert request.continuations == CRITIC_ANSWERS
            done = actions(request.messages)
            self.judged.append(tuple(done))
            bad = done[-1] in self.wrong
            results.append(ScoreResult((-2.0, -0.1, -3.0) if bad else (-0.1, -2.0, -3.0), 20, 10))
        return results

    def _count(self, requests: Sequence[Any]) -> None:
        if self.stop_after == len(self.batches):
            raise KeyboardInterrupt
        self.batches.append(len(requests))
        self.usage.calls += len(requests)
        self.usage.prompt_tokens += 20 * len(requests)
