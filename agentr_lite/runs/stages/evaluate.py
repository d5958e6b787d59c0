"""The evaluation stage: greedy, sampled and recovery episodes of one round's actor or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import Environments, parts_of
from agentr_lite.runs.sitting import Sitting
from agentr_lite.runs.stages.evaluation import Evaluation, Turns
from agentr_lite.store.database import Store
from agentr_lite.store.records import EvalMode
from agentr_lite.store.runs import stage_status


def eval_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environments,
    actor: Actor,
    *,
    progress: Progress | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Evaluate an actor on held-out tasks, going on where an earlier sitting was cut.

    Args:
        store: where episodes and figures go.
        run_id: the run.
        round_index: whose actor this is; 0 = the base. The caller has set its adapter.
        recipe: ``eval`` says what to play; the seed fixes the sampled episodes.
        env: the environment, or several (``parts.open_environments``).
        actor: who plays.
        progress: narration; none by default.
        replace: throw away finished episodes that were played with other settings.

    Returns:
        mode to figures (``metrics.evaluation.EvalFigures`` as JSON); each has ``versus_base``,
        the paired difference from round 0 (None in round 0). ``recovery`` continues the prefixes
        of the base's failed greedy episodes, the same ones in every round. With several
        environments the figures are means over them, and ``by_env`` has each one's own.

    Raises:
        UsageError: the environment has no tasks in the split, or the round was evaluated with
            other settings and ``replace`` is off.
    """
    actors = {round_index: actor}
    found = eval_by_turns(store, run_id, actors, recipe, env, progress=progress, replace=replace)
    return found[round_index]


def eval_by_turns(
    store: Store,
    run_id: str,
    actors: Mapping[int, Actor],
    recipe: Recipe,
    env: Environments,
    *,
    progress: Progress | None = None,
    replace: bool = False,
) -> dict[int, dict[str, Any]]:
    """Evaluate several rounds' actors on the same tasks, in turn on each group of episodes.

    Where it is cut, all of them have played nearly the same tasks: what is there can be paired.
    The figures are those of evaluating one after the other.

    Args:
        store: as for ``eval_stage``.
        run_id: the run.
        actors: by round; 0 = the base. Each has its adapter on (``Actor.beside``).
        recipe: as for ``eval_stage``.
        env: the environment, or several.
        progress: narration; none by default.
        replace: as for ``eval_stage``.

    Returns:
        For each round, what ``eval_stage`` gives.

    Raises:
        UsageError: see ``eval_stage``.
    """
    progress = progress or silent_progress()
    modes: list[EvalMode] = ["greedy"]
    modes += ["sampled"] if recipe.eval.samples else []
    modes += ["recovery"] if recipe.eval.recovery else []
    parts = parts_of(recipe, env)
    found: dict[int, dict[str, Any]] = {}
    open_ones: list[Evaluation] = []
    # The base first: the others' figures are differences from it.
    for number in sorted(actors):
        stage = stage_status(store, run_id, number, "eval")
        through = stage is not None and stage.finished
        # Another evaluation of a round that is through (another split, more samples) is no part
        # of the round's cost.
        sitting = Sitting(store, run_id, number, "eval", actors[number], books=not through)
        evaluation = Evaluation(sitting, recipe, parts, actors[number])
        finished = evaluation.finished(modes) if through else None
        if finished is None:
            if not replace:
                evaluation.refuse_other_settings(modes)
            open_ones.append(evaluation)
        found[number] = finished or {}
    for evaluation in open_ones:
        evaluation.sitting.begin()
    for mode in modes:
        turns: dict[int, Turns] = {}
        for evaluation in open_ones:
            starts = evaluation.starts(mode)
            if any(starts) or mode != "recovery":
                turns[evaluation.round] = evaluation.begin(mode, starts)
        if not turns:
            continue
        _play(turns, mode, progress)
        for number, one in turns.items():
            found[number][mode] = one.finish()
        progress.finish(_outcome([found[number][mode] for number in turns]))
    for evaluation in open_ones:
        if len(open_ones) > 1:
            evaluation.sitting.resume()
        evaluation.sitting.finish(found[evaluation.round])
    return found


def _play(turns: Mapping[int, Turns], mode: EvalMode, progress: Progress) -> None:
    """Play what is missing of one mode, group by group, each round in its turn."""
    rounds = " and ".join(map(str, turns))
    progress.start(
        f"round{'s' if len(turns) > 1 else ''} {rounds}: {mode} episodes",
        sum(one.total for one in turns.values()),
        initial=sum(one.present for one in turns.values()),
    )

    def advance(where: str) -> None:
        solved = " and ".join(str(one.solved) for one in turns.values())
        progress.advance(1, f"{solved} solved{where}")

    for groups in zip_longest(*(one.owed for one in turns.values())):
        for one, group in zip(turns.values(), groups, strict=True):
            if group is not None:
                if len(turns) > 1:
                    one.resume()
                where = f", now {group.part.name}" if one.several else ""
                one.play(group, partial(advance, where))


def _outcome(figures: Sequence[Mapping[str, Any]]) -> str:
    """``success 3/12``; of several rounds ``success 3/12 and 5/12``."""
    shares = [f"{one['successes']}/{one['episodes']}" for one in figures]
    return f"success {' and '.join(shares)}"
