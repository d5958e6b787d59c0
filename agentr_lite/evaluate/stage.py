"""The evaluation stage: greedy, sampled and recovery episodes of one round's actor.

Episodes are played in groups of fixed make-up; a group is committed whole and one that was cut is
played again whole. The batches are then the same with and without an interruption, and so are the
results (a model's logits depend, in the last digits, on what else is in the batch).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.actors.base import Actor, Sampling
from agentr_lite.agent import environment_boundary, guarded_tasks, turn_grammar
from agentr_lite.envs.base import Environment, Task
from agentr_lite.errors import UsageError
from agentr_lite.evaluate.episodes import Episode, Start, run_episodes
from agentr_lite.evaluate.several import figures_by_env
from agentr_lite.evaluate.summary import figures_of, is_faulty, step_to_json
from agentr_lite.output import Progress, silent_progress
from agentr_lite.parts import Environments, Part, parts_of
from agentr_lite.recipe import EvalSettings, Recipe
from agentr_lite.seeds import stream_seed
from agentr_lite.sitting import Sitting
from agentr_lite.store.database import Store
from agentr_lite.store.evals import (
    list_eval_items,
    list_evals,
    open_eval,
    save_eval_items,
    set_eval_summary,
)
from agentr_lite.store.records import EvalItemRow, EvalMode, EvalRow, TaskRow
from agentr_lite.store.runs import stage_status, task_ids

GROUP_BATCHES = 4
"""A group is this many batches: wide enough that its slow last episodes cost little."""


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
        mode to figures (see ``summary.summarise``); each has ``versus_base``, the paired
        difference from round 0 (None in round 0). ``recovery`` continues the prefixes of the
        base's failed greedy episodes, the same ones in every round. With several environments
        the figures are means over them, and ``by_env`` has each one's own.

    Raises:
        UsageError: the environment has no tasks in the split, or the round was evaluated with
            other settings and ``replace`` is off.
    """
    modes: list[EvalMode] = ["greedy"]
    modes += ["sampled"] if recipe.eval.samples else []
    modes += ["recovery"] if recipe.eval.recovery else []
    stage = stage_status(store, run_id, round_index, "eval")
    through = stage is not None and stage.finished
    # Another evaluation of a round that is through (another split, more samples) is no part of
    # the round's cost.
    sitting = Sitting(store, run_id, round_index, "eval", actor, books=not through)
    evaluation = _Evaluation(sitting, recipe, parts_of(recipe, env), actor, progress)
    if through and (finished := evaluation.finished(modes)) is not None:
        return finished
    if not replace:
        evaluation.refuse_other_settings(modes)
    sitting.begin()
    summary: dict[str, Any] = {}
    for mode in modes:
        starts = evaluation.starts(mode)
        if any(starts) or mode != "recovery":
            summary[mode] = evaluation.play(mode, starts)
    sitting.finish(summary)
    return summary


def eval_tasks(env: Environment, settings: EvalSettings) -> list[Task]:
    """The tasks to evaluate on: all of the split, or ``settings.tasks`` evenly spaced ones.

    Splits are often sorted by difficulty; evenly spaced tasks keep its mixture.

    Raises:
        UsageError: the split is empty.
        EnvironmentFault: the environment cannot list its tasks.
    """
    tasks = guarded_tasks(env, settings.split)
    if not tasks:
        raise UsageError(
            f"environment '{env.name}' has no tasks in split '{settings.split}'",
            hint="Choose another with --set eval.split=train, dev or test.",
        )
    wanted = min(settings.tasks or len(tasks), len(tasks))
    return [tasks[i * len(tasks) // wanted] for i in range(wanted)]


def eval_starts(
    store: Store,
    run_id: str,
    recipe: Recipe,
    tasks: Sequence[Task],
    mode: EvalMode,
    *,
    env: str | None = None,
) -> list[Start]:
    """Where each episode of one mode begins, in task order; ``env``: whose tasks these are.

    A recovery prefix is the first ``eval.recovery_prefix`` of the steps of a failed greedy
    episode of the base, rounded down, but at least one (unless the share is 0) and never the step
    that ended the episode. No recovery starts where round 0 was not evaluated.
    """
    if mode != "recovery":
        # The round is no part of the seed: rounds are compared on the same draws.
        return [
            Start(task, stream_seed(recipe.seed, "eval", mode, task.name, sample), sample)
            for task in tasks
            for sample in range(recipe.eval.samples if mode == "sampled" else 1)
        ]
    base = _eval_row(store, run_id, 0, "greedy", recipe.eval.split)
    if base is None:
        return []
    failed = {
        item.task.name: item.episode
        for item in list_eval_items(store, base.id)
        if not item.success and not is_faulty(item) and env in (None, item.task.env)
    }
    return [
        Start(
            task,
            stream_seed(recipe.seed, "eval", mode, task.name),
            prefix=_prefix(failed[task.name], recipe.eval.recovery_prefix),
        )
        for task in tasks
        if task.name in failed
    ]


def _prefix(steps: Sequence[Mapping[str, Any]], share: float) -> list[str]:
    longest = len(steps) - bool(steps and steps[-1].get("terminated"))
    length = min(max(1, int(share * len(steps))), longest) if share > 0 else 0
    return [step["text"] for step in steps[:length]]


def _eval_row(
    store: Store, run_id: str, round_index: int, mode: EvalMode, split: str
) -> EvalRow | None:
    rows = list_evals(store, run_id, round_index=round_index, mode=mode)
    return next((row for row in rows if row.split == split), None)


class _Evaluation:
    """A round's evaluation on its way into the store."""

    def __init__(
        self,
        sitting: Sitting,
        recipe: Recipe,
        parts: Sequence[Part],
        actor: Actor,
        progress: Progress | None,
    ) -> None:
        self.sitting = sitting
        self.store, self.run_id, self.round = sitting.store, sitting.run_id, sitting.round
        self.recipe = recipe
        self.parts = parts
        self.several = not isinstance(recipe.env, str)
        self.actor = actor
        self.progress = progress or silent_progress()

    def row(self, mode: EvalMode) -> EvalRow | None:
        """The evaluation's row, if it has begun."""
        return _eval_row(self.store, self.run_id, self.round, mode, self.recipe.eval.split)

    def settings(self, mode: EvalMode) -> dict[str, Any]:
        """All that one mode's episodes depend on besides the actor and the environment."""
        found = {part.name: _settings(part.recipe, mode) for part in self.parts}
        if not self.several:
            return found[self.parts[0].name]
        return {f"{name}.{key}": v for name, own in found.items() for key, v in own.items()}

    def finished(self, modes: Sequence[EvalMode]) -> dict[str, Any] | None:
        """Figures by mode where all of ``modes`` were played with these very settings."""
        rows = {mode: self.row(mode) for mode in modes}
        found: dict[str, Any] = {}
        for mode, row in rows.items():
            if row is None and mode == "recovery" and "greedy" in found:
                continue  # The base was never evaluated, or never failed.
            if row is None or row.summary.get("settings") != self.settings(mode):
                return None
            if "success" not in row.summary:
                return None
            found[mode] = dict(row.summary)
        return found

    def refuse_other_settings(self, modes: Sequence[EvalMode]) -> None:
        """Keep what another evaluation of this round and split has found."""
        for mode in modes:
            row = self.row(mode)
            if row is None or "success" not in row.summary:
                continue
            old, new = row.summary.get("settings") or {}, self.settings(mode)
            # What only one of them has counts, too.
            changed = [
                f"{k}={str(old.get(k))[:40]}" for k in {**new, **old} if old.get(k) != new.get(k)
            ]
            if changed:
                raise UsageError(
                    f"round {self.round} of run {self.run_id} has {mode} episodes on"
                    f" '{self.recipe.eval.split}' with other settings ({', '.join(changed)})",
                    hint="--force replaces them; another split or a new run keeps both.",
                )

    def starts(self, mode: EvalMode) -> list[list[Start]]:
        """Where each part's episodes begin.

        Raises:
            UsageError: an environment has no tasks in the split.
        """
        found = []
        for part in self.parts:
            tasks = eval_tasks(part.env, part.recipe.eval)
            found.append(
                eval_starts(self.store, self.run_id, part.recipe, tasks, mode, env=part.name)
            )
        return found

    def play(self, mode: EvalMode, starts: Sequence[Sequence[Start]]) -> dict[str, Any]:
        """Play what is missing of one mode, then summarise it.

        Args:
            mode: how.
            starts: for each part, where its episodes begin.
        """
        eval_id = self._open(mode)
        known = {
            (item.task.id, item.sample): item.success
            for item in list_eval_items(self.store, eval_id, with_episodes=False)
        }
        size = self.recipe.eval.batch * GROUP_BATCHES
        owed: list[tuple[Part, Sequence[Start], dict[str, int]]] = []
        for part, mine in zip(self.parts, starts, strict=True):
            ids = task_ids(self.store, part.name, [start.task for start in mine])
            for group in (mine[i : i + size] for i in range(0, len(mine), size)):
                keys = [(ids[start.task.name], start.sample) for start in group]
                if any(key not in known for key in keys):
                    owed.append((part, group, ids))
                    # The whole group is played again.
                    for key in keys:
                        known.pop(key, None)
        total = sum(map(len, starts))
        initial = total - sum(len(group) for _, group, _ in owed)
        self.progress.start(f"round {self.round}: {mode} episodes", total, initial=initial)
        solved = sum(known.values())
        for part, group, ids in owed:
            solved += self._play_group(eval_id, mode, part, group, ids, solved)
        summary = self._summarise(eval_id, mode)
        self.progress.finish(f"success {summary['successes']}/{summary['episodes']}")
        return summary

    def _open(self, mode: EvalMode) -> int:
        """The evaluation's id; episodes played with other settings are thrown away."""
        with self.store.atomic():
            eval_id = open_eval(self.store, self.run_id, self.round, mode, self.recipe.eval.split)
            row, settings = self.row(mode), self.settings(mode)
            if row is None or row.summary.get("settings") != settings:
                self.store.execute("DELETE FROM eval_items WHERE eval_id = ?", (eval_id,))
                set_eval_summary(self.store, eval_id, {"settings": settings})
        return eval_id

    def _play_group(
        self,
        eval_id: int,
        mode: EvalMode,
        part: Part,
        group: Sequence[Start],
        ids: Mapping[str, int],
        before: int,
    ) -> int:
        """Play and save one group.

        Args:
            eval_id: the evaluation.
            mode: how.
            part: whose tasks these are.
            group: where the episodes begin.
            ids: task name to its id.
            before: episodes solved before this group, for the progress line.

        Returns:
            How many of this group's are solved.
        """
        settings = part.recipe.eval
        sampled = mode == "sampled"
        solved, where = before, f", now {part.name}" if self.several else ""

        def count(episode: Episode) -> None:
            nonlocal solved
            solved += episode.success
            self.progress.advance(1, f"{solved} solved{where}")

        self.actor.reset_cache()
        episodes = run_episodes(
            part.env,
            self.actor,
            group,
            instructions=_instructions(part),
            max_steps=settings.recovery_steps if mode == "recovery" else settings.max_steps,
            sampling=Sampling(
                temperature=settings.temperature if sampled else 0.0,
                max_tokens=part.recipe.agent.max_tokens,
                grammar=turn_grammar(part.recipe.agent.grammar, part.env),
            ),
            batch=settings.batch,
            on_finish=count,
        )
        with self.sitting.commit():
            items = [_item(part.name, ids[e.task.name], e) for e in episodes]
            save_eval_items(self.store, eval_id, [(item.task.id, item) for item in items])
        return solved - before

    def _summarise(self, eval_id: int, mode: EvalMode) -> dict[str, Any]:
        items = list_eval_items(self.store, eval_id)
        base = _eval_row(self.store, self.run_id, 0, mode, self.recipe.eval.split)
        base_items: list[EvalItemRow] | None = None
        if self.round and base:
            base_items = list_eval_items(self.store, base.id, with_episodes=False)
        seed = self.recipe.seed
        figures = (
            figures_by_env(items, base_items, [part.name for part in self.parts], seed=seed)
            if self.several
            else figures_of(items, base_items, seed=seed)
        )
        summary = {"settings": self.settings(mode), **figures}
        set_eval_summary(self.store, eval_id, summary)
        return summary


def _settings(recipe: Recipe, mode: EvalMode) -> dict[str, Any]:
    """All that one mode's episodes in one environment depend on besides actor and environment."""
    settings, agent = recipe.eval, recipe.agent
    found: dict[str, Any] = {
        "tasks": settings.tasks,
        "batch": settings.batch,
        "seed": recipe.seed,
    }
    found |= {"max_steps": settings.max_steps, "max_tokens": agent.max_tokens}
    found |= {"brief": agent.brief}
    if agent.grammar:
        found |= {"grammar": agent.grammar}
    if mode == "sampled":
        found |= {"samples": settings.samples, "temperature": settings.temperature}
    if mode == "recovery":
        found |= {"prefix": settings.recovery_prefix, "steps": settings.recovery_steps}
    return found


def _instructions(part: Part) -> str:
    with environment_boundary(part.env, "instructions()"):
        return part.env.instructions(brief=part.recipe.agent.brief)


def _item(env: str, task_id: int, episode: Episode) -> EvalItemRow:
    task = episode.task
    return EvalItemRow(
        task=TaskRow(task_id, env, task.name, task.split, task.goal, task.level),
        sample=episode.sample,
        reward=episode.reward,
        success=episode.success,
        steps=len(episode.played),
        invalid_actions=episode.invalid_actions,
        repeated_actions=episode.repeated_actions,
        reflections=episode.reflections,
        episode=[
            step_to_json(step, given=index < episode.prefix_steps)
            for index, step in enumerate(episode.steps)
        ],
        error=episode.error,
    )
