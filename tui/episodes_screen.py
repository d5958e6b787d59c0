"""The episodes of one evaluation beside the base model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.agent.states import Origin, stored_origin
from agentr_lite.core.errors import UsageError
from agentr_lite.evaluate.summary import is_faulty
from agentr_lite.metrics.intervals import mcnemar_exact
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalRow
from agentr_lite.store.runs import get_run

from .base_screen import ASK, SORT
from .documents import StepView, view_of_opening, view_of_step
from .env_filter import ENV, EnvFilterScreen, has_several, put_env, with_env
from .figures import reward_span
from .lines import Line, Span, one_line
from .marks import BROKEN, FAILED, SOLVED
from .step_screen import StepScreen
from .table import Column, Row, Table

_WHICH = ("all", "gained", "lost", "failed")
Key = tuple[int, int]
"""(task id, sample)."""


class EpisodesScreen(EnvFilterScreen):
    """A table of episodes; enter steps through one."""

    HINT = (
        "Episodes of one evaluation. ▲ solved now and not by the base model, ▼ the other way."
        " ⚠ the environment failed: left out of the figures. u shows all, gained, lost or failed"
        " ones; enter steps through an episode."
    )
    PROMPT = "show episodes whose task or goal contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Step through", id="episodes.open"),
        Binding("u", "which", "Filter", id="episodes.which"),
        *SORT,
        ASK,
        ENV,
    ]

    COLUMNS = (
        Column("mark", " "),
        Column("flip", " "),
        Column("goal", "goal", flex=True, least=36),
        Column("task", "task", flex=True, least=16, drop=5),
        Column("level", "level", right=True, drop=2),
        Column("reward", "reward", right=True),
        Column("base", "base", right=True),
        Column("steps", "steps", right=True),
        Column("invalid", "invalid", right=True, drop=3),
        Column("repeated", "repeated", right=True, drop=4),
    )

    def __init__(self, store: Store, run_id: str, eval_id: int, env: str = "") -> None:
        """
        Args:
            store: the database.
            run_id: the run.
            eval_id: the evaluation.
            env: the environment to show first; empty: all.

        Raises:
            UsageError: no such evaluation in the run.
        """
        super().__init__(store, run_id, env)
        self._columns = with_env(self.COLUMNS, several=has_several(store, run_id))
        self.eval_id = eval_id
        self._which = "all"
        self._eval, self._base = self._find()

    def body(self) -> Iterable[Widget]:
        table = Table(self._columns, id="episodes")
        table.empty = (("No such episodes.", "dim"),)
        yield table

    def refresh_data(self) -> None:
        self._eval, self._base = self._find()
        played = list_eval_items(self.store, self.eval_id, with_episodes=False)
        self.meet(item.task.env for item in played)
        items = [item for item in played if self.in_env(item.task.env)]
        base: dict[Key, EvalItemRow] = {}
        if self._base is not None:
            rows = list_eval_items(self.store, self._base.id, with_episodes=False)
            base = {(item.task.id, item.sample): item for item in rows}
        shown = [
            item
            for item in items
            if self.matches(item.task.name, item.task.goal) and self._wanted(item, base)
        ]
        self.query_one(Table).fill(
            [
                Row(
                    (item.task.id, item.sample),
                    put_env(_cells(item, base), self._columns, item.task.env),
                    _sort_values(item, base),
                )
                for item in shown
            ]
        )
        one = self._eval
        name = "base" if one.round == 0 else f"round {one.round}"
        self.crumbs([self.run_id, f"{name}, {one.mode}, {one.split}"])
        self.caption(self._counts(items, base, len(shown)))

    def _find(self) -> tuple[EvalRow, EvalRow | None]:
        evals = list_evals(self.store, self.run_id)
        here = [row for row in evals if row.id == self.eval_id]
        if not here:
            raise UsageError("this evaluation is gone: its round was evaluated again")
        same = [
            row
            for row in evals
            if row.round == 0 and (row.mode, row.split) == (here[0].mode, here[0].split)
        ]
        return here[0], same[0] if same and here[0].round else None

    def _wanted(self, item: EvalItemRow, base: Mapping[Key, EvalItemRow]) -> bool:
        if self._which == "all":
            return True
        if self._which == "failed":
            return not item.success and not is_faulty(item)
        return _flip(item, base) == (1 if self._which == "gained" else -1)

    def _counts(
        self, items: list[EvalItemRow], base: Mapping[Key, EvalItemRow], shown: int
    ) -> Line:
        sound = [item for item in items if not is_faulty(item)]
        spans: list[Span] = [(f"{sum(item.success for item in sound)}", "good")]
        spans.append((f" of {len(sound)} solved", "dim"))
        if len(sound) < len(items):
            spans.append((f" · {len(items) - len(sound)} broken, left out", "odd"))
        if base:
            gained = sum(_flip(item, base) > 0 for item in items)
            lost = sum(_flip(item, base) < 0 for item in items)
            spans += [(" · ", "dim"), (f"▲ {gained} gained", "good")]
            spans += [(" · ", "dim"), (f"▼ {lost} lost", "bad")]
            if all(item.sample == 0 for item in items):
                spans.append((f" · p = {mcnemar_exact(gained, lost):.2g} (McNemar)", "dim"))
        if shown < len(items):
            spans.append((f" · {shown} shown", "dim"))
        if self._which != "all":
            spans += [(" · ", "dim"), (self._which, "match")]
        return (*spans, *self.env_note(), *self.needle_note())

    def action_which(self) -> None:
        """All, gained, lost or failed episodes."""
        self._which = _WHICH[(_WHICH.index(self._which) + 1) % len(_WHICH)]
        self.reread()

    def action_open(self) -> None:
        """Step through the episode under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.visit(lambda: episode_screen(self.store, self.run_id, self._eval, row.key))


def episode_screen(store: Store, run_id: str, row: EvalRow, key: object) -> StepScreen:
    """One episode of an evaluation, step by step.

    Args:
        store: the database.
        run_id: the run.
        row: the evaluation.
        key: (task id, sample).

    Raises:
        UsageError: no such episode, because its round was evaluated again.
    """
    for item in list_eval_items(store, row.id):
        if (item.task.id, item.sample) == key:
            run = get_run(store, run_id)
            where = stored_origin(run.recipe, item.task.env)
            origin = Origin(*where, item.task.split, item.task.name)
            name = "base" if row.round == 0 else f"round {row.round}"
            crumbs = [run.id, name, item.task.name]
            return StepScreen(store, crumbs, episode_views(item), 0, origin=origin)
    raise UsageError("this episode is gone: its round was evaluated again")


def episode_views(item: EvalItemRow) -> list[StepView]:
    """An evaluated episode as steps; it stores no first observation, so the goal stands for it."""
    views = [view_of_opening("", item.task.goal)]
    saw = item.task.goal
    for number, played in enumerate(item.episode, 1):
        step = played.step
        facts: tuple[Line, ...] = ()
        if played.given:
            facts = ((("given: part of the failed episode to recover from", "dim"),),)
        views.append(view_of_step(number, step, saw=saw, facts=facts))
        saw = step.observation
    return views


def _flip(item: EvalItemRow, base: Mapping[Key, EvalItemRow]) -> int:
    """1 where the episode succeeded and the base's did not, -1 the other way, else 0."""
    return flip(base.get((item.task.id, item.sample)), item)


def flip(before: EvalItemRow | None, now: EvalItemRow | None) -> int:
    """1 where only ``now`` succeeded, -1 where only ``before`` did, else 0.

    Where the environment broke on either side, nothing can be said of the actor.
    """
    if before is None or now is None or is_faulty(before) or is_faulty(now):
        return 0
    return now.success - before.success


def _cells(item: EvalItemRow, base: Mapping[Key, EvalItemRow]) -> list[Span]:
    mark = BROKEN if is_faulty(item) else SOLVED if item.success else FAILED
    flipped = _flip(item, base)
    before = base.get((item.task.id, item.sample))
    goal = item.task.goal if not item.error else f"{item.task.goal}  ({item.error})"
    return [
        (mark.glyph, mark.style),
        ("▲", "good") if flipped > 0 else ("▼", "bad") if flipped < 0 else (" ", "plain"),
        (one_line(goal), "plain"),
        (one_line(item.task.name), "dim"),
        (str(item.task.level), "plain"),
        reward_span(item.reward),
        reward_span(before.reward) if before else ("–", "dim"),
        (str(item.steps), "plain"),
        (str(item.invalid_actions), "odd" if item.invalid_actions else "dim"),
        (str(item.repeated_actions), "part" if item.repeated_actions else "dim"),
    ]


def _sort_values(
    item: EvalItemRow, base: Mapping[Key, EvalItemRow]
) -> dict[str, float | str | None]:
    before = base.get((item.task.id, item.sample))
    return {
        "mark": item.success,
        "flip": _flip(item, base) if before else None,
        "goal": item.task.goal,
        "env": item.task.env,
        "task": item.task.name,
        "level": item.task.level,
        "reward": item.reward,
        "base": before.reward if before else None,
        "steps": item.steps,
        "invalid": item.invalid_actions,
        "repeated": item.repeated_actions,
    }
