"""The evaluation stage: greedy, sampled and recovery episodes of one round's model, or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from agentr_lite.console.progress import Progress
from agentr_lite.core.errors import UsageError
from agentr_lite.core.rounds import START, reference_round, round_name
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Start
from agentr_lite.evaluate.starts import eval_starts, eval_tasks, find_eval
from agentr_lite.metrics.environments import figures_by_env
from agentr_lite.metrics.evaluation import figures_of
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.stages.episodes import EpisodeGroup, ModeEpisodes
from agentr_lite.runs.stages.eval_settings import changed_settings, eval_modes, eval_settings
from agentr_lite.runs.stages.record import StageRecord
from agentr_lite.runs.stages.stage import Stage, StageContext
from agentr_lite.runs.stages.waves import Waves
from agentr_lite.store.evals import (
    delete_recovery,
    list_eval_items,
    list_evals,
    open_eval,
    set_eval_summary,
)
from agentr_lite.store.records import EvalItemRow, EvalMode, EvalRow

Starts = list[tuple[RunEnvironment, Sequence[Start]]]
"""Each environment with where its episodes begin."""


class EvaluateStage(Stage):
    """Evaluates a round's model on held-out tasks.

    The summary maps each mode to its figures (``metrics.evaluation.EvalFigures`` as JSON). Each
    has ``versus_base``, the paired difference from round 0 (``core.rounds.reference_round``; None
    for the base). ``recovery`` continues the prefixes of the failed greedy episodes of round 0, the
    same ones in every round; a base that imitation has replaced plays none. With several
    environments the figures are means over them, and ``by_env`` has each one's own.
    """

    name = "eval"
    failure_unit = "episodes"

    def __init__(self, context: StageContext, *, replace: bool = False) -> None:
        """
        Args:
            context: what the stage works with.
            replace: throw away finished episodes that were played with other settings; otherwise
                they are a ``UsageError``.
        """
        super().__init__(context)
        self.replace = replace
        self.modes = eval_modes(context.recipe)
        if self.round < START:
            self.modes = [mode for mode in self.modes if mode != "recovery"]
        self._is_repeated = False

    @classmethod
    def model_round(cls, number: int) -> int:
        return number

    @classmethod
    def count_failures(cls, summary: Mapping[str, Any]) -> int:
        return sum(int(figures.get("faulty") or 0) for figures in summary.values())

    @classmethod
    def count_tasks(cls, summary: Mapping[str, Any]) -> int:
        return sum(int(figures.get("episodes") or 0) for figures in summary.values())

    def finished(self) -> dict[str, Any] | None:
        """Figures by mode where all modes were played to their end with these very settings.

        Raises:
            UsageError: a mode was played with other settings, and ``replace`` is off; or an
                environment has no tasks in the split.
        """
        status = self.status()
        self._is_repeated = status is not None and status.finished
        figures = self._stored_figures() if self._is_repeated else None
        if figures is None and not self.replace:
            self._refuse_other_settings()
        return figures

    def _stored_figures(self) -> dict[str, Any] | None:
        rows = {mode: self._row(mode) for mode in self.modes}
        figures: dict[str, Any] = {}
        for mode, row in rows.items():
            if row is None and mode == "recovery" and not has_episodes(self.starts(mode)):
                continue  # The base has not been evaluated, or never failed.
            if row is None or not row.whole:
                return None
            if row.summary.get("settings") != self._settings(mode):
                return None
            figures[mode] = dict(row.summary)
        return figures

    def _refuse_other_settings(self) -> None:
        for mode in self.modes:
            row = self._row(mode)
            if row is None or not row.whole:
                continue
            changed = changed_settings(row.summary.get("settings") or {}, self._settings(mode))
            if changed:
                raise UsageError(
                    f"round {self.round} of run {self.run_id} has {mode} episodes on"
                    f" '{self.recipe.eval.split}' with other settings ({', '.join(changed)})",
                    hint="--force replaces them; another split or a new run keeps both.",
                )

    def new_record(self) -> StageRecord:
        """The stage's row, which stays as it is where the round is finished.

        Another evaluation of the round (another split, more samples) is not part of its cost.
        """
        return StageRecord(
            self.store,
            self.run_id,
            self.round,
            self.name,
            self.context.actor,
            books=not self._is_repeated,
        )

    def work(self) -> dict[str, Any]:
        return _play_in_turn([self])[self.round]

    def starts(self, mode: EvalMode) -> Starts:
        """Where the episodes begin.

        Raises:
            UsageError: an environment has no tasks in the split.
        """
        starts: Starts = []
        for environment in self.environments:
            recipe = environment.recipe
            tasks = eval_tasks(environment.env, recipe.eval)
            own = eval_starts(self.store, self.run_id, recipe, tasks, mode, env=environment.name)
            starts.append((environment, own))
        return starts

    def open_mode(self, mode: EvalMode, starts: Starts) -> ModeEpisodes:
        """The episodes of one mode, with what is missing of them.

        Args:
            mode: how they are played.
            starts: where they begin.
        """
        return ModeEpisodes(
            self.record,
            self.model,
            mode,
            self._open_row(mode),
            starts=starts,
            batch=self.recipe.eval.batch,
        )

    def _open_row(self, mode: EvalMode) -> int:
        """The evaluation's id; episodes played with other settings are thrown away."""
        with self.store.atomic():
            eval_id = open_eval(self.store, self.run_id, self.round, mode, self.recipe.eval.split)
            row, settings = self._row(mode), self._settings(mode)
            if row is None or row.summary.get("settings") != settings:
                self.store.execute("DELETE FROM eval_items WHERE eval_id = ?", (eval_id,))
                set_eval_summary(self.store, eval_id, {"settings": settings})
                if self.round == START and mode == "greedy":
                    # Every round's recovery begins in these failures, which are gone.
                    delete_recovery(self.store, self.run_id, self.recipe.eval.split)
        return eval_id

    def summarise(self, mode: EvalMode) -> dict[str, Any]:
        """Store and return the figures of a mode that has been played.

        Rounds are compared with the one that they started from: where they were evaluated before
        it, their comparisons are made now.
        """
        split = self.recipe.eval.split
        row = self._row(mode)
        if row is None:
            raise ValueError(f"round {self.round} has no {mode} episodes")
        reference = self._reference(self.round)
        base = None
        if reference is not None:
            base = find_eval(self.store, self.run_id, reference, mode, split, whole=True)
        summary = self._save_figures(row.id, base, self._settings(mode))
        mine = self._row(mode)
        for other in list_evals(self.store, self.run_id, mode=mode):
            compares = self._reference(other.round) == self.round
            if compares and other.split == split and other.whole:
                self._save_figures(other.id, mine, other.summary["settings"])
        return summary

    def _reference(self, number: int) -> int | None:
        return reference_round(number, imitates=self.recipe.imitates)

    def _save_figures(
        self, eval_id: int, base: EvalRow | None, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        items = list_eval_items(self.store, eval_id)
        base_items: list[EvalItemRow] | None = None
        if base:
            base_items = list_eval_items(self.store, base.id, with_episodes=False)
        seed = self.recipe.seed
        if self.several:
            names = [environment.name for environment in self.environments]
            figures = figures_by_env(items, base_items, names, seed=seed)
        else:
            figures = figures_of(items, base_items, seed=seed)
        summary = {"settings": dict(settings), **figures.to_json()}
        set_eval_summary(self.store, eval_id, summary)
        return summary

    def _row(self, mode: EvalMode) -> EvalRow | None:
        return find_eval(self.store, self.run_id, self.round, mode, self.recipe.eval.split)

    def _settings(self, mode: EvalMode) -> dict[str, Any]:
        return eval_settings(self.environments, mode, several=self.several)


def has_episodes(starts: Starts) -> bool:
    """Whether any environment has an episode to play."""
    return any(own for _, own in starts)


def evaluate_in_turn(stages: Sequence[EvaluateStage]) -> dict[int, dict[str, Any]]:
    """Evaluate several rounds on the same tasks, in turn on each group of episodes.

    Where this is cut, all rounds have played nearly the same tasks, so that what is there can be
    paired. The figures are those of evaluating one round after the other.

    Args:
        stages: of one run, each with its own actor that wears the round's adapter
            (``Actor.beside``).

    Returns:
        Each round's summary.

    Raises:
        UsageError: see ``EvaluateStage.finished``.
    """
    # The base first: the others' figures are differences from it.
    ordered = sorted(stages, key=lambda stage: stage.round)
    stored = {stage.round: stage.finished() for stage in ordered}
    unfinished = [stage for stage in ordered if stored[stage.round] is None]
    for stage in unfinished:
        stage.begin()
    played = _play_in_turn(unfinished)
    for stage in unfinished:
        if len(unfinished) > 1:
            stage.record.restart_clock()
        stage.finish(played[stage.round])
    return {
        number: played[number] if summary is None else summary for number, summary in stored.items()
    }


def _play_in_turn(stages: Sequence[EvaluateStage]) -> dict[int, dict[str, Any]]:
    """Play what is missing of stages that have begun; returns each round's figures by mode."""
    figures: dict[int, dict[str, Any]] = {stage.round: {} for stage in stages}
    for mode in stages[0].modes if stages else ():
        playing: list[tuple[EvaluateStage, ModeEpisodes]] = []
        for stage in stages:
            starts = stage.starts(mode)
            if has_episodes(starts) or mode != "recovery":
                playing.append((stage, stage.open_mode(mode, starts)))
        if not playing:
            continue
        _play_mode(playing, mode)
        for stage, _ in playing:
            figures[stage.round][mode] = stage.summarise(mode)
        outcome = _outcome([figures[stage.round][mode] for stage, _ in playing])
        stages[0].progress.finish(outcome)
    return figures


def _play_mode(playing: Sequence[tuple[EvaluateStage, ModeEpisodes]], mode: EvalMode) -> None:
    """Play what is missing of one mode, group by group, each round in its turn."""
    first = playing[0][0]
    several_rounds = len(playing) > 1
    episodes = [each for _, each in playing]
    if first.recipe.imitates:
        where = " and ".join(round_name(stage.round, imitates=True) for stage, _ in playing)
    else:
        numbers = " and ".join(str(stage.round) for stage, _ in playing)
        where = f"round{'s' if several_rounds else ''} {numbers}"
    first.progress.start(
        f"{where}: {mode} episodes",
        sum(each.total for each in episodes),
        initial=sum(each.present for each in episodes),
    )
    in_turn = [
        (each, group)
        for groups in zip_longest(*(each.missing for each in episodes))
        for each, group in zip(episodes, groups, strict=True)
        if group is not None
    ]
    if first.waves is not None:
        _play_elsewhere(first, first.waves, episodes, in_turn)
        return
    for each, group in in_turn:
        if several_rounds:
            each.record.restart_clock()
        now = f", now {group.environment.name}" if first.several else ""
        narrate = partial(_advance, first.progress, episodes, now)
        each.play(group, partial(narrate, 1), lambda *at, say=narrate: say(0, *at))


def _play_elsewhere(
    first: EvaluateStage,
    waves: Waves,
    episodes: Sequence[ModeEpisodes],
    in_turn: Sequence[tuple[ModeEpisodes, EpisodeGroup]],
) -> None:
    """Have groups of episodes played by workers, and commit each of them whole, in order."""
    jobs = ((each.waves, each.wave(group)) for each, group in in_turn)
    for (each, group), rows in zip(in_turn, waves.compute(jobs), strict=True):
        each.save_wave(group, rows)
        if len(episodes) > 1:
            # The rounds' groups are played at once: what passes now is the next one's.
            for other in episodes:
                other.record.restart_clock()
        now = f", now {group.environment.name}" if first.several else ""
        _advance(first.progress, episodes, now, len(rows))


def _advance(
    progress: Progress,
    episodes: Sequence[ModeEpisodes],
    where: str,
    count: int,
    task: Task | None = None,
    step: int = 0,
) -> None:
    solved = " and ".join(str(each.solved) for each in episodes)
    now = f", now {task.name} step {step}" if task is not None else where
    progress.advance(count, f"{solved} solved{now}")


def _outcome(figures: Sequence[Mapping[str, Any]]) -> str:
    """``success 3/12``; of several rounds ``success 3/12 and 5/12``."""
    shares = [f"{each['successes']}/{each['episodes']}" for each in figures]
    return f"success {' and '.join(shares)}"
