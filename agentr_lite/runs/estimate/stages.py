"""How long each stage of a run would take, as a range, from what a probe has measured.

The upper ends are bad cases: every episode is as long as it may be, answers are on average twice
as long as those that were seen (or as long as they may be, if many of these were cut), and every
task gives all the data that it can. The lower ends take the oracle's number of steps, or a quarter
of the most steps, and the mean length of the answers that were seen. How fast a model is on a
machine with other work varies, so both ends have a margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentr_lite.core.rounds import BEFORE_IMITATION, START
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.environments import TaskCounts
from agentr_lite.runs.estimate.speeds import Game, PlaySpeed, Speeds
from agentr_lite.train.hosts import training_hosts

MARGIN = 1.25
"""Factor by which the machine may be faster or slower than in the probe."""
_UNKNOWN_SHARE = 0.25
"""Least share of the most steps, where no oracle says how many are needed."""
_LEAST_SEARCH = 1 / 3
"""Least share of a search's worst case: simulations share the beginnings of their episodes."""
_LEAST_TASKS = 0.25
"""Least share of the searched tasks that give an example."""
_LONGER = 2.0
"""How much longer the answers of a stage are at most, on average, than those that were seen: the
longest that is allowed is seldom reached, and never by all."""
_CUT = 0.1
"""Share of answers that were cut, from which on the longest that is allowed counts."""
_FORWARD = 1 / 3
"""A validation has no backward pass."""
_QUESTION_TOKENS = 40
"""The critic's question with the tokens around it."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """A range of time."""

    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.low + other.low, self.high + other.high)


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """How long one stage would take, in one environment or, in training, in all of them."""

    round: int
    """``core.rounds``: -1 is the base before imitation, 0 the model that round 1 begins with."""
    stage: str
    env: str
    """Empty: all environments together."""
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a run would take on this machine."""

    speeds: Speeds
    stages: tuple[StageEstimate, ...]
    """Without the trainings where their speed is not known."""
    lacks_training: bool = False
    """Whether the run trains, and how fast is not known."""

    @property
    def total(self) -> Seconds:
        """All stages, and loading the model."""
        loading = self.speeds.load_s
        return sum((stage.seconds for stage in self.stages), Seconds(loading, loading))

    def to_json(self) -> dict[str, Any]:
        """Stages and total in seconds, and what was measured."""
        speeds = self.speeds
        return {
            "low_s": round(self.total.low, 1),
            "high_s": round(self.total.high, 1),
            "stages": [
                {
                    "round": stage.round,
                    "stage": stage.stage,
                    "env": stage.env,
                    "low_s": round(stage.seconds.low, 1),
                    "high_s": round(stage.seconds.high, 1),
                }
                for stage in self.stages
            ],
            "probe": speeds,
        }


def estimate_run(recipe: Recipe, counts: Mapping[str, TaskCounts], speeds: Speeds) -> Estimate:
    """The stages of a run in the order of the work.

    Args:
        recipe: permitted by the checks.
        counts: numbers of tasks by the environment's name in the recipe.
        speeds: from the probe.
    """
    trains = recipe.rounds > 0 or recipe.imitates
    stages = tuple(_Stages(recipe, counts, speeds).all())
    return Estimate(speeds, stages, trains and speeds.training is None)


class _Stages:
    def __init__(self, recipe: Recipe, counts: Mapping[str, TaskCounts], speeds: Speeds) -> None:
        self._recipe = recipe
        self._speeds = speeds
        self._own = [
            (own, counts[own.environment.name], speeds.games[own.environment.name])
            for own in recipe.by_environment()
        ]

    def all(self) -> Iterator[StageEstimate]:
        imitates, rounds = self._recipe.imitates, self._recipe.rounds
        if imitates:
            yield from self._eval(BEFORE_IMITATION)
            yield from self._imitation()
        yield from self._eval(START)
        for number in range(1, rounds + 1):
            for own, counts, game in self._own if self._recipe.searches else ():
                name = own.environment.name
                yield StageEstimate(number, "search", name, _search(own, counts, game))
                yield StageEstimate(number, "splice", name, _splice(own, counts, game))
            yield from self._training(number)
            yield from self._eval(number)

    def _eval(self, number: int) -> Iterator[StageEstimate]:
        for own, counts, game in self._own:
            recovers = own.eval.recovery and number >= START
            seconds = _evaluation(own, counts.eval or 0, game, recovers=recovers)
            yield StageEstimate(number, "eval", own.environment.name, seconds)

    def _imitation(self) -> Iterator[StageEstimate]:
        settings = self._recipe.imitation
        low, high = 0.0, 0.0
        for own, counts, game in self._own:
            examples = min(own.imitation.tasks, counts.available or 0)
            low += examples * _example_tokens(own, game).low
            high += examples * _example_tokens(own, game).high
        epochs = settings.epochs or self._recipe.train.epochs
        yield from self._trained(START, "imitate", Seconds(low, high), epochs)

    def _training(self, number: int) -> Iterator[StageEstimate]:
        train, splice = self._recipe.train, self._recipe.splice
        if not self._recipe.searches:
            yield from self._further(number)
            return
        rounds = number if train.accumulate else 1
        low, high, most = 0.0, 0.0, 0.0
        for own, counts, game in self._own:
            tasks = rounds * (counts.search or 0)
            per_task = own.splice.pairs_per_task if splice.data != "good" else 0
            if splice.data != "revision":
                # 0 = all: there are at most as many as simulations.
                per_task += splice.good_per_task or own.search.simulations
            per_task = min(per_task, 2 * own.search.simulations)
            tokens = _example_tokens(own, game)
            low += _LEAST_TASKS * tasks * tokens.low
            high += tasks * per_task * tokens.high
            most = max(most, tokens.high)
        if train.max_examples:
            low = min(low, train.max_examples * most)
            high = min(high, train.max_examples * most)
        yield from self._trained(number, "train", Seconds(low, high), train.epochs)

    def _further(self, number: int) -> Iterator[StageEstimate]:
        """The training of a round that takes further demonstrations."""
        train = self._recipe.train
        low, high = 0.0, 0.0
        for own, _, game in self._own:
            first = 0 if train.accumulate else number - 1
            examples = sum(own.imitation.further[first:number])
            low += examples * _example_tokens(own, game).low
            high += examples * _example_tokens(own, game).high
        yield from self._trained(number, "train", Seconds(low, high), train.epochs)

    def _trained(
        self, number: int, stage: str, tokens: Seconds, epochs: float
    ) -> Iterator[StageEstimate]:
        """Training on so many tokens of the agent's own examples, general data added."""
        training, train = self._speeds.training, self._recipe.train
        if training is None:
            return
        mixed = 1 / train.eta if train.general else 1.0
        # Only a fraction of the passes where training stops early.
        least = epochs * (min(1.0, train.patience / train.validations) if train.patience else 1.0)
        held_out = train.validation * (train.validations + 1) * _FORWARD
        # Imitation takes all of its demonstrations.
        most = float(train.max_tokens) if train.max_tokens and stage != "imitate" else math.inf
        seen = Seconds(
            min(most, tokens.low * mixed * (1 - train.validation) * least),
            min(most, tokens.high * mixed * epochs),
        )
        hosts = training_hosts(train)
        # At best, other machines are as fast as this one; at worst, they cost what they do.
        machines = min(hosts.machines, train.batch_size)
        trained = Seconds(
            seen.low / (training.tokens_s * machines),
            (seen.high + tokens.high * mixed * held_out) / training.tokens_s,
        )
        # Loading the weights at least; writing and converting the adapter takes about as long.
        # Processes on one machine load them side by side, on the same cores.
        around = Seconds(training.setup_s, (1 + hosts.here) * training.setup_s)
        yield StageEstimate(number, stage, "", _with_margin(trained + around))


def _evaluation(recipe: Recipe, tasks: int, game: Game, *, recovers: bool) -> Seconds:
    settings = recipe.eval
    episodes = tasks * (1 + settings.samples)
    steps = _steps(game, settings.max_steps)
    opening = game.new_tokens / game.eval.prompt_tokens_s
    seconds = Seconds(
        episodes * (opening + steps.low * _answer(recipe, game.eval).low),
        episodes * (opening + steps.high * _answer(recipe, game.eval).high),
    )
    if recovers:
        # From none to all of them; the prefix is read like an answer.
        longest = settings.recovery_steps + settings.recovery_prefix * settings.max_steps
        again = tasks * (opening + longest * _answer(recipe, game.eval).high)
        seconds += Seconds(0.0, again)
    return _with_margin(seconds)


def _search(recipe: Recipe, counts: TaskCounts, game: Game) -> Seconds:
    settings, tasks = recipe.search, counts.search or 0
    worst = tasks * settings.simulations * settings.depth * settings.width
    least = worst * _LEAST_SEARCH
    if game.solution_steps is not None:
        steps = min(game.solution_steps, settings.depth)
        # The first simulation is a whole episode; the others at least branch off from it.
        once = tasks * settings.width * (steps + settings.simulations - 1)
        least = min(least, once)
    answer = _answer(recipe, game.search)
    opening = tasks * game.new_tokens / game.search.prompt_tokens_s
    return _with_margin(Seconds(opening + least * answer.low, opening + worst * answer.high))


def _splice(recipe: Recipe, counts: TaskCounts, game: Game) -> Seconds:
    """From nothing, where there is no pair, to all pairs judged to their ends and recovered."""
    settings, speed, depth = recipe.splice, game.search, recipe.search.depth
    pairs = (counts.search or 0) * min(settings.pairs_per_task, 2 * recipe.search.simulations)
    answer = _answer(recipe, speed).high
    judged = 0.0
    if settings.critic != "none":
        asked = (game.opening_tokens + depth * _QUESTION_TOKENS) / speed.prompt_tokens_s
        judged = asked + depth * speed.seconds(1)
    if settings.critic == "reason":
        judged += depth * settings.critic_tokens / speed.answer_tokens_s
    recovered = settings.recovery_attempts * depth * answer if settings.verify != "off" else 0.0
    return _with_margin(Seconds(0.0, pairs * (judged + recovered)))


def _steps(game: Game, most: int) -> Seconds:
    """Steps of an episode; a range of numbers, not of seconds."""
    known = game.solution_steps
    least = _UNKNOWN_SHARE * most if known is None else min(known, most)
    return Seconds(least, most)


def _answer(recipe: Recipe, speed: PlaySpeed) -> Seconds:
    """One answer on average: as long as those that were seen, and twice as long.

    Where many were cut, it is not known how long they would have been.
    """
    most = float(recipe.agent.max_tokens + recipe.agent.thinking)
    if speed.cut_share <= _CUT:
        most = min(most, _LONGER * speed.answer_tokens)
    return Seconds(speed.seconds(speed.answer_tokens), speed.seconds(most))


def _example_tokens(recipe: Recipe, game: Game) -> Seconds:
    """Tokens of a training example; a range of numbers, not of seconds."""
    per_step = game.eval.prompt_tokens + game.eval.answer_tokens
    steps = _steps(game, recipe.search.depth)
    longest = float(recipe.train.max_length)
    low = min(longest, game.opening_tokens + steps.low * per_step)
    return Seconds(low, min(longest, game.opening_tokens + steps.high * per_step))


def _with_margin(seconds: Seconds) -> Seconds:
    return Seconds(seconds.low / MARGIN, seconds.high * MARGIN)
