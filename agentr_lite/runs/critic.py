"""The critic of a run, asked about single trees that were never solved: for the inspector."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.actors.base import Actor
from agentr_lite.actors.settings import ActorSettings
from agentr_lite.agent.states import stored_episode
from agentr_lite.core.errors import ModelError, StoreError, UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.loading import stored_recipe
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs import actors
from agentr_lite.runs.claim import claimed
from agentr_lite.runs.equipment import adapter_in_use, adapter_path, check_same_model
from agentr_lite.runs.stages.splice_rows import judgement_row, save_judged
from agentr_lite.splice.critic import Critic
from agentr_lite.splice.judging import JudgedStep, TreeInput, judge_failed_tree
from agentr_lite.store import Store, trees
from agentr_lite.store.files import is_writable
from agentr_lite.store.records import JudgementRow, RunRow, TreeRow
from agentr_lite.store.runs import get_run, stage_status
from agentr_lite.store.splices import list_judgements, list_trajectories

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CriticAnswer:
    """What the critic said of one tree."""

    judgements: list[JudgementRow]
    """By step."""
    note: str = ""
    """Why the database does not hold the verdicts; empty: it does."""


class _CancelledError(Exception):
    """The user does not want the answer any more."""


class TreeCritic:
    """Asks the model of a tree's round about its steps, and keeps the model for further trees.

    Everything is done in the caller's thread, which must always be the same one.
    """

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: the database; each call opens it, so that no connection crosses threads.
        """
        self._path = path
        self._settings: ActorSettings | None = None
        self._actor: Actor | None = None

    def ask(self, tree_id: int, say: Say, is_cancelled: Callable[[], bool]) -> CriticAnswer | None:
        """Judge the steps of a tree that was never solved, and store the verdicts.

        They are stored as ``splice`` stores them with ``splice.judge_failures``. They are only
        returned where the database cannot be written, where another process works on the run, where
        the recipe has no critic, and where the round has not been spliced: splicing takes trees
        with stored trajectories for spliced ones.

        Args:
            tree_id: the tree.
            say: told in a few words what is done now.
            is_cancelled: asked between batches. Loading the model is not cut.

        Returns:
            The verdicts; None if it was cancelled.

        Raises:
            ModelError: the model is missing, is not the run's, or cannot be used.
            UsageError: the tree is gone, was solved, or has no ended trajectory.
            StoreError: the database cannot be read.
        """
        with _opened(self._path) as store:
            tree = _tree(store, tree_id)
            run = get_run(store, tree.run_id)
            recipe = _recipe(run, tree)
            try:
                judged, critic = self._judge(store, run, tree, recipe, say, is_cancelled)
            except _CancelledError:
                return None
            note = _save(store, tree, recipe, critic, judged)
            if not note:
                return CriticAnswer(list_judgements(store, run.id, tree_id=tree_id))
            # No trajectory is stored for them.
            return CriticAnswer([judgement_row(item, critic, 0) for item in judged], note)

    def close(self) -> None:
        """Free the model."""
        if self._actor is not None:
            self._actor.close()
        self._actor = self._settings = None

    def _judge(
        self,
        store: Store,
        run: RunRow,
        tree: TreeRow,
        recipe: Recipe,
        say: Say,
        is_cancelled: Callable[[], bool],
    ) -> tuple[list[JudgedStep], Critic]:
        def progress(judged: int, most: int) -> None:
            if is_cancelled():
                raise _CancelledError
            say(f"{judged} of at most {most} steps judged")

        say("loading the model")
        actor = self._wearing(store, run, tree.round)
        critic = recipe.splice.critic
        if critic == "none":
            critic = "score" if actor.capabilities.scoring else "reason"
        # With an empty cache, the verdicts do not depend on what was asked before.
        actor.reset_cache()
        task = Task(tree.task.name, tree.task.split, tree.task.goal, level=tree.task.level)
        opening, nodes = trees.tree_opening(store, tree.id), trees.load_tree(store, tree.id)
        judged = judge_failed_tree(
            TreeInput(tree.id, task, opening, nodes),
            critic=critic,
            recipe=recipe,
            round_index=tree.round,
            actor=actor,
            on_progress=progress,
        )
        if not judged:
            raise UsageError("no step of this tree can be judged: it was solved, or none ended")
        return judged, critic

    def _wearing(self, store: Store, run: RunRow, round_index: int) -> Actor:
        """The model as it searched a round."""
        try:
            recipe = stored_recipe(run.recipe)
            settings = actors.actor_settings(recipe, searches=False)
            if self._actor is None or settings != self._settings:
                self.close()
                self._actor = actors.open_actor(recipe, searches=False)
                self._settings = settings
            check_same_model(store, run, self._actor)
            worn = adapter_in_use(store, run.id, round_index - 1)
            if self._actor.capabilities.adapters:
                path = None if worn is None else adapter_path(store, run, self._actor, worn)
                self._actor.use_adapter(path)
        except ModelError as error:
            # The run has another one, or none: the next call tries again.
            self.close()
            message = f"the critic is the run's own model, which cannot be used: {error.message}"
            raise ModelError(message, hint=error.hint) from error
        return self._actor


def _opened(path: Path) -> Store:
    """The database, for writing if that is possible."""
    if is_writable(path):
        with suppress(StoreError):
            return Store.open(path, create=False)
    return Store.open_to_read(path)


def _tree(store: Store, tree_id: int) -> TreeRow:
    try:
        return trees.get_tree(store, tree_id)
    except KeyError as error:
        raise UsageError("this tree no longer exists: its round was searched again") from error


def _recipe(run: RunRow, tree: TreeRow) -> Recipe:
    """The run's recipe for the environment of a tree."""
    recipes = stored_recipe(run.recipe).by_environment()
    name = stored_episode(run.recipe, tree.task.env, tree.task.split, tree.task.name).env
    return next((it for it in recipes if it.environment.name == name), recipes[0])


def _save(
    store: Store, tree: TreeRow, recipe: Recipe, critic: Critic, judged: list[JudgedStep]
) -> str:
    """Store the verdicts; returns why that is not possible, or nothing."""
    if recipe.splice.critic == "none":
        return "the run's recipe has no critic"
    if store.read_only:
        return "the database cannot be written"
    try:
        with claimed(store, tree.run_id):
            splicing = stage_status(store, tree.run_id, tree.round, "splice")
            if splicing is None or not splicing.finished:
                return "the round has not been spliced yet"
            if trees.get_tree(store, tree.id) != tree:
                return "the round was searched again"
            with store.atomic():
                paths = list_trajectories(store, tree.run_id, tree_id=tree.id)
                ids = {path.leaf_idx: path.id for path in paths}
                save_judged(store, tree.run_id, tree.round, tree.id, critic, judged, ids)
    except KeyError:
        return "the round was searched again"
    except (StoreError, OSError) as error:
        return error.message if isinstance(error, StoreError) else str(error)
    return ""
