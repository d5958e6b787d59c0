"""Plays a run's own prompts for some seconds, to see how fast the model is on this machine.

The batches grow to the recipe's width as long as the next one is expected to fit the time that is
left. A batch that has begun is not cut, so a slow model may take longer than its share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from agentr_lite.actors.base import Actor, GenerateRequest, GenerateResult, Sampling
from agentr_lite.actors.openai.spec import is_server
from agentr_lite.actors.registry import expand
from agentr_lite.agent.boundary import environment_boundary, guarded_instructions, guarded_reset
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import answer_format
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Example, Opening
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Start, run_episodes
from agentr_lite.evaluate.starts import eval_tasks
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs import actors
from agentr_lite.runs.environments import RunEnvironment, open_environments
from agentr_lite.runs.estimate.speeds import Game, PlaySpeed, Speeds, TrainingSpeed
from agentr_lite.runs.stages.tasks import round_tasks, train_tasks
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave

PLAY_S = 6.0
"""Seconds of play in all environments together."""
TRAIN_S = 2.0
"""Seconds for the speed of training, loading the weights included, as far as that can be known."""
SERVER_WIDTH = 4
"""Requests that a server is asked at a time: it may have other users."""
_SOLUTIONS = 15
_SOLUTIONS_S = 2.0
_SHORT = 8
"""Tokens of a first answer, from which it is seen how many the next ones may have."""
_LEAST = 1e-6


class _TimeUp(Exception):
    """The next batch would take too long."""


@dataclass(frozen=True, slots=True)
class _Timing:
    """One request."""

    read: int
    """Prompt tokens."""
    written: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Limits:
    """What fits the time of a probe."""

    episodes: int
    """Played at a time."""
    answers: int
    """In a batch of search."""
    max_tokens: int


@dataclass(slots=True)
class _Sums:
    """What some batches took."""

    answers: int = 0
    widest: int = 0
    answer_tokens: int = 0
    cut: int = 0
    """Answers that the limit of tokens ended."""
    first_requests: int = 0
    """Requests of the first batch: each begins a conversation."""
    first_prompts: int = 0
    """Tokens of their prompts."""
    first_read: int = 0
    """How many of them were read."""
    later_answers: int = 0
    later_read: int = 0
    model_s: float = 0.0
    wall_s: float = 0.0


class _Timed(Actor):
    """An actor that measures its batches, and stops where the next one would take too long."""

    def __init__(self, inner: Actor, deadline: float) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities
        self.usage = inner.usage
        self.deadline = deadline
        self.sums = _Sums()
        self._answer_s = 0.0
        """Seconds for an answer in the last batch."""

    @property
    def description(self) -> dict[str, Any]:
        """See ``Actor.description``."""
        return self._inner.description

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """
        Raises:
            _TimeUp: the batch is expected to end after the deadline.
        """
        answers = sum(len(request.seeds) for request in requests)
        now = time.perf_counter()
        if now + self._answer_s * answers > self.deadline and self.sums.answers:
            raise _TimeUp
        decoded = self.usage.decoded_prompt_tokens
        results = self._inner.generate(requests)
        took = time.perf_counter() - now
        sums = self.sums
        read = self.usage.decoded_prompt_tokens - decoded
        if sums.answers:
            sums.later_answers += answers
            sums.later_read += read
        else:
            sums.first_requests = len(requests)
            sums.first_prompts = sum(result.prompt_tokens for result in results)
            sums.first_read = read
        sums.answers += answers
        sums.widest = max(sums.widest, answers)
        sums.answer_tokens += sum(c.output_tokens for r in results for c in r.completions)
        sums.cut += sum(c.finish_reason == "length" for r in results for c in r.completions)
        sums.model_s += took
        self._answer_s = took / max(1, answers)
        return results

    def reset_cache(self) -> None:
        """See ``Actor.reset_cache``."""
        self._inner.reset_cache()


def measure(recipe: Recipe, *, trains: bool) -> Speeds:
    """Load a recipe's model and games, and measure how fast they are.

    Args:
        recipe: permitted by the checks.
        trains: whether the run trains.

    Raises:
        ModelError: the model cannot be loaded, or fails.
        EnvironmentFault: an environment cannot be played.
    """
    began = time.perf_counter()
    with closing(actors.open_actor(recipe)) as actor, open_environments(recipe) as environments:
        load_s = time.perf_counter() - began
        began = time.perf_counter()
        share = PLAY_S / len(environments)
        games = {
            each.recipe.environment.name: _Probe(actor, each, share, searches=trains).measure()
            for each in environments
        }
        play_s = time.perf_counter() - began
    training: TrainingSpeed | None = None
    if trains and not is_server(expand(recipe.model)):
        from agentr_lite.runs.estimate.training import training_speed

        longest = max(game.opening_tokens for game in games.values())
        training = training_speed(recipe, round(longest) + 128, TRAIN_S)
    return Speeds(load_s, play_s, games, training)


class _Probe:
    """The probe of one environment."""

    def __init__(
        self, actor: Actor, environment: RunEnvironment, seconds: float, *, searches: bool
    ) -> None:
        self._actor = actor
        self._env = environment.env
        self._recipe = environment.recipe
        self._end = time.perf_counter() + seconds
        self._seconds = seconds
        self._searches = searches
        self._instructions = guarded_instructions(self._env, brief=self._recipe.agent.brief)
        self._examples = _examples(environment)
        self._widest = SERVER_WIDTH if is_server(expand(self._recipe.model)) else 10**9

    def measure(self) -> Game:
        """Play, as in evaluation and as in search."""
        recipe = self._recipe
        tasks = eval_tasks(self._env, recipe.eval)
        prompt_s, took = self._first_speeds(tasks[len(tasks) // 2])
        width = min(recipe.eval.batch, len(tasks), self._widest)
        # Splits are often sorted by difficulty.
        spread = [tasks[index * len(tasks) // width] for index in range(width)]
        limits = self._grow(spread, took)
        middle = time.perf_counter() + (self._end - time.perf_counter()) / (1 + self._searches)
        episodes = self._play(middle, lambda actor: self._episodes(actor, spread, limits))
        trees = episodes
        if self._searches:
            trees = self._play(self._end, lambda actor: self._trees(actor, limits))
        begun = max(1, episodes.first_requests)
        return Game(
            _speed(episodes, prompt_s),
            _speed(trees, prompt_s),
            episodes.first_prompts / begun,
            episodes.first_read / begun,
            self._solution_steps(tasks),
        )

    def _first_speeds(self, task: Task) -> tuple[float, float]:
        """How fast a first prompt is read, and how long a short answer takes.

        Returns:
            Prompt tokens in a second, and seconds for ``_SHORT`` tokens.
        """
        longest = min(_SHORT, self._recipe.agent.max_tokens)
        speed = took = _LEAST
        # The first reading may also bring the weights into memory.
        for _ in range(2):
            self._actor.reset_cache()
            one = self._timed_request(task, 1)
            some = self._timed_request(task, longest)
            # A server reads from its own cache the second time.
            speed = max(speed, _reading_speed(one, some))
            took = some.seconds
            if one.seconds + some.seconds > self._seconds / 8:
                break
        return speed, took

    def _timed_request(self, task: Task, max_tokens: int) -> _Timing:
        request = self._first_request(task, max_tokens)
        began, before = time.perf_counter(), self._actor.usage.decoded_prompt_tokens
        [result] = self._actor.generate([request])
        took = max(time.perf_counter() - began, _LEAST)
        read = self._actor.usage.decoded_prompt_tokens - before
        return _Timing(read, sum(c.output_tokens for c in result.completions), took)

    def _grow(self, tasks: Sequence[Task], took: float) -> _Limits:
        """Find the widest batch, and the longest answers, that fit the time.

        Args:
            tasks: as many as the widest batch has answers.
            took: seconds for one short answer.
        """
        longest = self._recipe.agent.max_tokens
        timed = _Timed(self._actor, self._end)
        share = self._seconds / 6
        fitting = max(_SHORT, int(_SHORT * share / took))
        longest = min(longest, fitting)
        width, last = 1, took
        while width < len(tasks):
            wider = min(4 * width, len(tasks))
            requests = [self._first_request(task, longest) for task in tasks[:wider]]
            expected = last * wider / width
            if expected > share:
                break
            began = time.perf_counter()
            try:
                timed.generate(requests)
            except _TimeUp:
                break
            last, width = time.perf_counter() - began, wider
        at_once = max(width, int(share * width / last))
        return _Limits(width, min(at_once, self._widest), longest)

    def _play(self, deadline: float, play: Callable[[_Timed], object]) -> _Sums:
        timed = _Timed(self._actor, deadline)
        self._actor.reset_cache()
        began = time.perf_counter()
        with suppress(_TimeUp):
            play(timed)
        timed.sums.wall_s = time.perf_counter() - began
        return timed.sums

    def _episodes(self, actor: Actor, tasks: Sequence[Task], limits: _Limits) -> None:
        run_episodes(
            self._env,
            actor,
            [Start(task, seed) for seed, task in enumerate(tasks, 1)],
            instructions=self._instructions,
            examples=self._examples,
            form=answer_format(self._recipe.agent.action, self._env),
            max_steps=self._recipe.eval.max_steps,
            sampling=Sampling(temperature=0.0, max_tokens=limits.max_tokens),
            grammar=TurnGrammar(self._recipe.agent.grammar, self._env),
            batch=limits.episodes,
        )

    def _trees(self, actor: Actor, limits: _Limits) -> None:
        settings = self._recipe.search
        context = search_context(self._recipe, self._env, 1, self._examples)
        sampling = replace(context.sampling, max_tokens=limits.max_tokens)
        context = replace(context, sampling=sampling)
        tasks = round_tasks(train_tasks(self._env), self._recipe, 1)
        wave = max(1, min(settings.wave, limits.answers // settings.width))
        run_wave([TreeSearch(task, context) for task in tasks[:wave]], actor)

    def _first_request(self, task: Task, max_tokens: int) -> GenerateRequest:
        sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
        return GenerateRequest(self._first_messages(task), (1,), sampling)

    def _first_messages(self, task: Task) -> list[Message]:
        observation = guarded_reset(self._env, task)
        return conversation(Opening(self._instructions, observation, self._examples))

    def _solution_steps(self, tasks: Sequence[Task]) -> float | None:
        """Median length of some solutions; None: there is no oracle."""
        lengths: list[int] = []
        end = time.perf_counter() + _SOLUTIONS_S
        for task in tasks[:: max(1, len(tasks) // _SOLUTIONS)]:
            if lengths and time.perf_counter() > end:
                break
            with environment_boundary(self._env, f"solve({task.name!r})"):
                try:
                    lengths.append(len(self._env.solve(task)))
                except NotImplementedError:
                    return None
        return median(lengths)


def _reading_speed(one: _Timing, some: _Timing) -> float:
    """Prompt tokens in a second, from two requests that differ in the length of the answer.

    The seconds of each are ``read / reading speed + written / writing speed``.
    """
    determinant = one.read * some.written - some.read * one.written
    if determinant:
        token_s = (one.seconds * some.written - some.seconds * one.written) / determinant
        if token_s > 0:
            return 1 / token_s
    # Noise, or both are alike: what was read took all of the time, at most.
    return max(1, one.read) / one.seconds


def _speed(sums: _Sums, prompt_s: float) -> PlaySpeed:
    answers, tokens = max(1, sums.answers), max(1, sums.answer_tokens)
    read = sums.first_read + sums.later_read
    # What the prompts leave; never less than a tenth, as both are computed in one batch.
    answering = max(sums.model_s - read / prompt_s, sums.model_s / 10, _LEAST)
    later = sums.later_read / sums.later_answers if sums.later_answers else None
    return PlaySpeed(
        width=sums.widest,
        answers=sums.answers,
        prompt_tokens_s=max(1, read) / max(sums.model_s - answering, _LEAST),
        answer_tokens_s=tokens / answering,
        # Of a single batch it is not known. An answer and its observation are read about once.
        prompt_tokens=tokens / answers if later is None else later,
        answer_tokens=tokens / answers,
        cut_share=sums.cut / answers,
        env_s=max(0.0, sums.wall_s - sums.model_s) / answers,
    )


def _examples(environment: RunEnvironment) -> tuple[Example, ...]:
    """Examples as a run would show them; none where no demonstration can be made here."""
    if not environment.recipe.agent.examples:
        return ()
    from agentr_lite.imitate.examples import choose_examples
    from agentr_lite.store import Store

    with TemporaryDirectory() as folder, Store.open(Path(folder) / "probe.db") as store:
        try:
            chosen = choose_examples(
                store, environment.env, environment.recipe, save=lambda made: None
            )
        except AgentrError:
            # Stored demonstrations are not looked at; the run says what is missing.
            return ()
    return tuple(example for _, example in chosen)
