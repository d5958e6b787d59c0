"""Lists of tasks of several environments: one of them, or all, at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.binding import Binding

from agentr_lite.core.errors import UsageError
from agentr_lite.store import Store
from agentr_lite.store.runs import get_run

from .base_screen import FilterScreen
from .lines import Line, Span, one_line
from .table import Column

ENV = Binding("E", "env", "Env", id="filter.env")
"""The binding that an ``EnvFilterScreen`` puts among its own."""


class EnvFilterScreen(FilterScreen):
    """A filtered list whose tasks may be of several environments.

    With one environment there is neither a column nor a key for it.

    Attributes:
        env: the environment that is shown; empty: all.
        envs: those that there are to choose from; empty where there is one only.
    """

    def __init__(self, store: Store, run_id: str, env: str = "") -> None:
        super().__init__(store)
        self.run_id = run_id
        self.env = env
        self.envs: list[str] = []

    def meet(self, names: Iterable[str]) -> None:
        """Note what environments there are."""
        found = sorted(set(names))
        known, self.envs = self.envs, found if len(found) > 1 else []
        if known != self.envs:
            self.refresh_bindings()

    def in_env(self, name: str) -> bool:
        """Whether a task's environment is shown."""
        return self.env in ("", name)

    def env_note(self) -> Line:
        """Which environment is shown, for the caption."""
        return ((" · ", "dim"), (one_line(self.env), "match")) if self.env else ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An environment is chosen where there are several."""
        return action != "env" or bool(self.envs)

    def action_env(self) -> None:
        """Show the next environment, or all of them."""
        order = ["", *self.envs]
        self.env = order[(order.index(self.env) + 1) % len(order)] if self.env in order else ""
        self.reread()


def has_several(store: Store, run_id: str) -> bool:
    """Whether a run's recipe names several environments; no where the run is gone."""
    try:
        return len(get_run(store, run_id).recipe.get("env") or ()) > 1
    except UsageError:
        # The screen leaves, and says why, when it reads its data.
        return False


def with_env(
    columns: Iterable[Column], *, several: bool, before: str = "task"
) -> tuple[Column, ...]:
    """Columns with one for the environment before another's, where there are several."""
    found = list(columns)
    if several:
        at = next(i for i, column in enumerate(found) if column.key == before)
        found.insert(at, Column("env", "env", flex=True, least=8))
    return tuple(found)


def put_env(cells: list[Span], columns: Sequence[Column], name: str) -> list[Span]:
    """A row's cells with one for the environment, where the columns have one."""
    at = next((i for i, column in enumerate(columns) if column.key == "env"), None)
    return cells if at is None else [*cells[:at], (one_line(name), "plain"), *cells[at:]]
