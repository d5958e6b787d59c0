"""The demonstrations from which models learn by imitation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.agent.states import Origin, stored_episode
from agentr_lite.core.errors import UsageError
from agentr_lite.envs.names import env_slug
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import get_demonstration
from agentr_lite.store.inspection import DemonstrationOverview, demonstration_overviews
from agentr_lite.store.records import DemonstrationRow
from agentr_lite.store.runs import list_runs

from ..layout.columns import Column, Row
from ..layout.documents import StepView, view_of_opening, view_of_step
from ..layout.figures import counted, reward_span
from ..layout.lines import Span, one_line
from ..navigation import ToSteps
from ..widgets.table import Table
from .base import SORT
from .filter import ASK, FilterScreen


class DemonstrationsScreen(FilterScreen):
    """A table of demonstrations; enter steps through one."""

    HINT = (
        "Episodes that solve training tasks. They belong to the database: every run of it may learn"
        " from them by imitation, or show them as examples. The source is solve (the environment's"
        " oracle), expert (with thoughts), person, a file or another model."
    )
    PROMPT = "show demonstrations whose goal, task, environment or source contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Step through", id="demonstrations.open"),
        *SORT,
        ASK,
    ]

    COLUMNS = (
        Column("id", "id", right=True, drop=2),
        Column("goal", "goal", flex=True, least=28),
        Column("task", "task", flex=True, least=28, drop=3),
        Column("env", "env"),
        Column("source", "source", flex=True, least=8),
        Column("level", "level", right=True, drop=1),
        Column("reward", "reward", right=True),
        Column("steps", "steps", right=True),
    )

    def body(self) -> Iterable[Widget]:
        table = Table(self.COLUMNS, id="demonstrations")
        yield table

    def refresh_data(self) -> None:
        rows = demonstration_overviews(self.store)
        shown = [row for row in rows if self.matches(row.goal, row.task, row.env, row.source)]
        table = self.query_one(Table)
        table.empty = self.nothing_shown(
            len(rows), "No demonstrations. Make some with: agentr-lite demos make ENV"
        )
        table.fill([Row(row.id, _cells(row), _sort_values(row)) for row in shown])
        self.crumbs(["demonstrations"], ((f"{self.store.path.name} ", "dim"),))
        sources = Counter(row.source for row in rows)
        kinds = "".join(f" · {count} {one_line(name)}" for name, count in sources.items())
        hidden = f" · {len(shown)} shown" if len(shown) < len(rows) else ""
        text = f"{counted(len(rows), 'demonstration')}{kinds}{hidden}"
        self.caption(((text, "dim"), *self.needle_note()))

    def action_open(self) -> None:
        """Step through the demonstration under the cursor."""
        row = self.query_one(Table).current
        if row is None:
            return
        try:
            steps = demonstration_steps(self.store, int(str(row.key)))
        except UsageError as error:
            self.notify(error.message, severity="warning", markup=False)
            self.reread()
            return
        self.go_to(steps)


def demonstration_steps(store: Store, demonstration_id: int) -> ToSteps:
    """Where a demonstration is shown, step by step.

    Raises:
        UsageError: it has been deleted.
    """
    try:
        row = get_demonstration(store, demonstration_id)
    except KeyError as error:
        raise UsageError(f"demonstration {demonstration_id} has been deleted") from error
    crumbs = ["demonstrations", row.source, row.task.name]
    return ToSteps(crumbs, _views(row), 0, _origin(store, row))


def _views(row: DemonstrationRow) -> list[StepView]:
    saw = row.opening
    views = [view_of_opening(row.instructions, saw)]
    for number, step in enumerate(row.steps, 1):
        views.append(view_of_step(number, step, saw=saw))
        saw = step.observation
    return views


def _origin(store: Store, row: DemonstrationRow) -> Origin:
    """The episode, with the settings of the newest run in this environment, if there is one.

    A demonstration stores what its environment calls itself. That is not enough to make an
    environment from a file again; a run's recipe is.
    """
    task = row.task
    recipes = (run.recipe for run in list_runs(store))
    recipe = next((recipe for recipe in recipes if _plays(recipe, task.env)), {})
    return stored_episode(recipe, task.env, task.split, task.name)


def _plays(recipe: Mapping[str, Any], env: str) -> bool:
    names = [entry["name"] for entry in recipe.get("env") or ()]
    return any(env in (name, env_slug(name)) for name in names)


def _cells(row: DemonstrationOverview) -> list[Span]:
    steps: Span = ("?", "odd") if row.steps is None else (str(row.steps), "plain")
    return [
        (str(row.id), "dim"),
        (one_line(row.goal), "plain"),
        (one_line(row.task), "dim"),
        (one_line(row.env), "plain"),
        (one_line(row.source), "plain"),
        (str(row.level), "plain"),
        reward_span(row.reward),
        steps,
    ]


def _sort_values(row: DemonstrationOverview) -> dict[str, float | str | None]:
    return {
        "id": row.id,
        "goal": row.goal,
        "task": row.task,
        "env": row.env,
        "source": row.source,
        "level": row.level,
        "reward": row.reward,
        "steps": row.steps,
    }
