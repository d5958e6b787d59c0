"""Episodes are played in lockstep, so that the actor gets wide batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from agentr_lite.actors.base import Actor, Completion, GenerateRequest, Sampling
from agentr_lite.agent.boundary import guarded_reset
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.state import State, enter_state, take_state
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import AnswerFormat
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.openings import Example, Opening
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.metrics.episodes import (
    OVERFLOW,
    SUCCESS_REWARD,
    final_reward,
    is_faulty,
    repeated_actions,
    revision_lengths,
)


@dataclass(frozen=True, slots=True)
class Episode:
    """One played episode."""

    task: Task
    sample: int
    """0, 1, … where a task is played several times."""
    steps: tuple[Step, ...]
    """All steps from reset, a given prefix included."""
    prefix_steps: int = 0
    """How many of them were given rather than played."""
    output_tokens: int = 0
    error: str | None = None
    """Why the episode could not go on: a broken environment, or the context's end."""
    instructions: str = ""
    """The system prompt."""
    observation: str = ""
    """The first observation; empty where the environment could not be reset."""

    @property
    def played(self) -> tuple[Step, ...]:
        """The steps that the actor chose."""
        return self.steps[self.prefix_steps :]

    @property
    def reward(self) -> float:
        """What the episode earned, in [0, 1]."""
        return final_reward(self.steps)

    @property
    def success(self) -> bool:
        """Whether the full reward was earned."""
        return self.reward >= SUCCESS_REWARD

    @property
    def faulty(self) -> bool:
        """Whether the environment broke, which says nothing about the actor."""
        return is_faulty(self)

    @property
    def invalid_actions(self) -> int:
        """Played turns without an action or with one that was not understood or possible."""
        return sum(step.invalid for step in self.played)

    @property
    def repeated_actions(self) -> int:
        """Played steps that repeat the run just before them; see ``metrics.episodes``."""
        return repeated_actions(self.played)

    @property
    def reflections(self) -> int:
        """Played revision turns."""
        return sum(step.kind == "reflect" for step in self.played)

    @property
    def revision_lengths(self) -> list[int]:
        """Bad steps before each reflection; see ``metrics.episodes``."""
        return revision_lengths(self.played)


@dataclass(slots=True)
class _Live:
    """An episode that is being played."""

    index: int
    task: Task
    sample: int
    seed: int
    observation: str
    state: State | None
    """From which it goes on; None once it cannot."""
    steps: list[Step]
    prefix_steps: int
    output_tokens: int = 0
    error: str | None = None

    @property
    def ended(self) -> bool:
        if self.error is not None:
            return True
        return bool(self.steps) and (self.steps[-1].terminated or self.steps[-1].truncated)

    def cut(self) -> None:
        """Mark the last step as the one where the step limit ended the episode."""
        if self.steps:
            self.steps[-1] = replace(self.steps[-1], truncated=True)

    def finish(self, instructions: str) -> Episode:
        return Episode(
            self.task,
            self.sample,
            tuple(self.steps),
            self.prefix_steps,
            self.output_tokens,
            self.error,
            instructions,
            self.observation,
        )


@dataclass(frozen=True, slots=True)
class Start:
    """Where an episode begins."""

    task: Task
    seed: int
    """Seeds the model's draws in this episode; in [1, 2**31 - 1]."""
    sample: int = 0
    prefix: Sequence[str] = field(default_factory=tuple)
    """Assistant turns that are carried out before the actor takes over. The environment answers
    them anew."""


def run_episodes(
    env: Environment,
    actor: Actor,
    starts: Sequence[Start],
    *,
    instructions: str,
    examples: tuple[Example, ...] = (),
    form: AnswerFormat,
    max_steps: int,
    sampling: Sampling,
    batch: int,
    grammar: TurnGrammar | None = None,
    on_finish: Callable[[Episode], None] | None = None,
    on_turn: Callable[[Task, int], None] | None = None,
) -> list[Episode]:
    """Play every episode to its end, ``batch`` of them at a time.

    All unfinished episodes ask the actor in one call; a finished one's place goes to the next
    start. The order of requests follows from the starts alone, so the same starts give the same
    batches and, with a deterministic actor, the same episodes.

    Args:
        env: one instance; its snapshots let it serve all episodes in turn.
        actor: who plays.
        starts: what to play.
        instructions: the system prompt.
        examples: shown before every task.
        form: how actions are read from answers.
        max_steps: the most steps that the actor takes in an episode; a given prefix does not count.
        sampling: how to draw; temperature 0 is greedy. Its grammar does not count.
        batch: the most episodes that are played at a time.
        grammar: of the agent's turns in ``env``; None: any turn is allowed.
        on_finish: called with each episode as it ends, in the order of ending.
        on_turn: called before each turn with a task that is played, and the number of its step.

    Returns:
        The episodes in the order of ``starts``. The last step of an episode that reached
        ``max_steps`` is marked as truncated. A broken environment costs only its own episode: what
        was played is kept, and ``error`` says why it ended.
    """
    grammar = grammar or TurnGrammar("", env)
    finished: dict[int, Episode] = {}
    waiting = iter(enumerate(starts))
    live: list[_Live] = []

    def retire() -> None:
        for episode in live:
            at_limit = len(episode.steps) - episode.prefix_steps >= max_steps
            if at_limit and not episode.ended:
                episode.cut()
            if episode.ended or at_limit:
                finished[episode.index] = episode.finish(instructions)
                if on_finish:
                    on_finish(finished[episode.index])
        live[:] = [episode for episode in live if episode.index not in finished]

    while True:
        while len(live) < batch and (item := next(waiting, None)) is not None:
            live.append(_reset(env, *item, form, grammar))
            if live[-1].ended:
                retire()
        if not live:
            return [finished[index] for index in range(len(starts))]
        if on_turn:
            on_turn(live[0].task, len(live[0].steps) + 1)
        requests = [
            _request(e, Opening(instructions, e.observation, examples), sampling) for e in live
        ]
        results = actor.generate(requests)
        for episode, result in zip(live, results, strict=True):
            _advance(env, episode, result.completions[0], form, grammar)
        retire()


def _reset(
    env: Environment, index: int, start: Start, form: AnswerFormat, grammar: TurnGrammar
) -> _Live:
    episode = _Live(index, start.task, start.sample, start.seed, "", None, [], 0)
    try:
        episode.observation = guarded_reset(env, start.task)
        for text in start.prefix:
            episode.steps.append(take_step(env, text, form=form))
            episode.prefix_steps += 1
            if episode.ended:
                break
        if not episode.ended:
            episode.state = take_state(env, grammar)
    except EnvironmentFault as fault:
        episode.error = fault.message
    return episode


def _request(episode: _Live, opening: Opening, sampling: Sampling) -> GenerateRequest:
    grammar = episode.state.grammar if episode.state else ""
    return GenerateRequest(
        conversation(opening, episode.steps),
        (stream_seed(episode.seed, len(episode.steps)),),
        replace(sampling, grammar=grammar),
    )


def _advance(
    env: Environment,
    episode: _Live,
    completion: Completion,
    form: AnswerFormat,
    grammar: TurnGrammar,
) -> None:
    episode.output_tokens += completion.output_tokens
    if completion.finish_reason == "overflow":
        episode.error = OVERFLOW
        return
    try:
        if episode.state is not None:
            enter_state(env, episode.state)
        episode.steps.append(
            take_step(env, completion.text, completion.drawn_ids, completion.thinking, form=form)
        )
        if not episode.ended:
            episode.state = take_state(env, grammar)
    except EnvironmentFault as fault:
        episode.error = fault.message
