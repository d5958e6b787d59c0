"""A staircase to climb and an actor that follows a script: for tests of evaluation and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.actors.base import Actor, Completion, GenerateRequest, GenerateResult
from agentr_lite.core.messages import Message
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import Usage
from agentr_lite.envs.base import Environment, StepResult


class Stairs(Environment):
    """Climb ``level`` stairs with ``up``; ``jump`` ends the episode in a fall, ``dive`` in a
    disaster; ``break`` raises.

    ``graded``: the share of the stairs that was climbed is the reward.
    """

    name = "stairs"

    def __init__(self, per_split: int = 6, graded: bool = False) -> None:
        self.per_split = per_split
        self.graded = graded
        self.state: tuple[Task, int] | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        if split != "test":
            return []
        return [
            Task(f"task{i}", split, f"climb {i % 3 + 1}", level=i % 3 + 1)
            for i in range(self.per_split)
        ]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        self.state = (task, 0)
        return f"{task.name}: {task.goal}", {}

    def step(self, action: str) -> StepResult:
        assert self.state is not None
        task, at = self.state
        if action == "break":
            raise ZeroDivisionError("plank")
        if action == "jump":
            return StepResult("You fall.", 0.0, True, False, {})
        if action == "dive":
            return StepResult("You are gone.", 0.0, True, False, {"disaster": True})
        if action == "rest":
            return StepResult("You rest.", self._share(at, task), False, False, {})
        if action != "up":
            return StepResult("What?", 0.0, False, False, {"invalid": True})
        self.state = (task, at + 1)
        top = at + 1 == task.level
        reward = self._share(at + 1, task) if self.graded else float(top)
        return StepResult(f"Stair {at + 1}.", reward, top, False, {})

    def _share(self, stairs: int, task: Task) -> float:
        return stairs / task.level if self.graded else 0.0

    def instructions(self, *, brief: bool = False) -> str:
        return "Climb." if brief else "Climb the stairs."

    def snapshot(self) -> Any:
        return self.state

    def restore(self, snapshot: Any) -> None:
        self.state = snapshot


Policy = Callable[[Sequence[Message], int], str]


@dataclass
class Scripted(Actor):
    """An actor whose answer is a function of the conversation and the seed."""

    policy: Policy
    fail_after: int = -1

    def __post_init__(self) -> None:
        self.usage = Usage()
        self.batches: list[int] = []
        self.requests: list[GenerateRequest] = []

    @property
    def description(self) -> dict[str, Any]:
        return {"backend": "scripted"}

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        if len(self.batches) == self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(len(requests))
        self.requests += requests
        self.usage.calls += 1
        self.usage.output_tokens += len(requests)
        results = []
        for request in requests:
            text = self.policy(request.messages, request.seeds[0])
            reason: Any = "overflow" if text == "overflow" else "stop"
            results.append(GenerateResult((Completion(text, 1, reason),), 5, 0))
        return results


def act(action: str) -> str:
    return f"Thought: so.\nAction: {action}"


def always(action: str) -> Policy:
    return lambda messages, seed: act(action)


def noisy(messages: Sequence[Message], seed: int) -> str:
    """A policy that often goes wrong, differently for each draw."""
    return act(["up", "rest", "up", "jump", "?"][seed % 5])
