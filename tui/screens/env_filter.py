"""Task lists that show one of several environments, or all."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding

from agentr_lite.core.errors import UsageError
from agentr_lite.store import Store
from agentr_lite.store.runs import get_run

from ..layout.lines import Line, one_line
from .filter import FilterScreen

ENV = Binding("E", "env", "Env", id="filter.env")
"""The binding of an ``EnvFilterScreen``; a subclass lists it where the footer should show it."""


class EnvFilterScreen(FilterScreen):
    """A filtered list whose tasks may belong to several environments.

    With a single environment there is neither a column nor a key for it.

    Attributes:
        env: the environment that is shown; empty: all.
        envs: the environments to choose from; empty if there is only one.
    """

    def __init__(self, store: Store, run_id: str, env: str = "") -> None:
        super().__init__(store)
        self.run_id = run_id
        self.env = env
        self.envs: list[str] = []

    def set_envs(self, names: Iterable[str]) -> None:
        """Set the environments to choose from."""
        distinct = sorted(set(names))
        envs = distinct if len(distinct) > 1 else []
        if envs != self.envs:
            self.envs = envs
            self.refresh_bindings()

    def in_env(self, name: str) -> bool:
        """Whether a task's environment is shown."""
        return self.env in ("", name)

    def env_note(self) -> Line:
        """Which environment is shown, for the caption."""
        return ((" · ", "dim"), (one_line(self.env), "match")) if self.env else ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is offered: an environment is chosen only among several."""
        return action != "env" or bool(self.envs)

    def action_env(self) -> None:
        """Show the next environment, or all of them."""
        order = ["", *self.envs]
        self.env = order[(order.index(self.env) + 1) % len(order)] if self.env in order else ""
        self.reread()


def has_several(store: Store, run_id: str) -> bool:
    """Whether a run's recipe names several environments; False if the run is gone."""
    try:
        return len(get_run(store, run_id).recipe.get("env") or ()) > 1
    except UsageError:
        # When the screen reads its data, it closes and says why.
        return False
