"""``agentr-lite tui``: walk through runs and trees in the terminal."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentr_lite.cli.common import database_path, db_option
from agentr_lite.cli.completion import complete_runs
from agentr_lite.console.stdout import data_stream
from agentr_lite.console.streams import say
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentr_lite_tui.critic_desk import CriticDesk

    from agentr_lite.runs.critic import CriticAnswer, TreeCritic

_PATIENCE_S = 0.5
"""How long the end of the program waits for the critic without saying so."""


@click.command()
@click.argument("run", required=False, shell_complete=complete_runs)
@click.option(
    "--theme",
    type=click.Choice(["auto", "dark", "light"]),
    default="auto",
    envvar="AGENTR_LITE_THEME",
    help="Colours; auto reads COLORFGBG and is dark where the terminal does not set it.",
)
@click.option(
    "--follow", is_flag=True, help="Follow what is written last; the key f switches this."
)
@db_option
@click.pass_context
def tui(context: click.Context, run: str | None, theme: str, follow: bool, db: Path | None) -> None:
    """Walk through runs, tasks, trees and splices; ? explains the keys.

    RUN is a run's id, a unique beginning of it, or `latest`; without it, the list of runs opens.
    The database is read without a lock, and read again while a search writes to it; only
    deleting a run and asking the critic write. Keys can be changed in keys.yaml in
    AGENTR_LITE_HOME or in agentr-lite in the XDG configuration directory, e.g.
    `tree.next_good: ctrl+g`.
    """
    if not (sys.stdin.isatty() and data_stream().isatty()):
        raise UsageError(
            "the inspector needs a terminal, and this is a pipe or a file",
            hint="`agentr-lite runs` and `agentr-lite trees` print the same as text or --json.",
        )
    from agentr_lite_tui.app import BINDINGS_BY_ID, Inspector
    from agentr_lite_tui.keys import load_keymap

    from agentr_lite.core.config import config_dir
    from agentr_lite.store import Store
    from agentr_lite.store.inspection import run_overviews
    from agentr_lite.store.runs import get_run

    keymap = load_keymap(config_dir() / "keys.yaml", BINDINGS_BY_ID)
    if not os.environ.get("NO_COLOR", "x"):
        # Present but empty means colours (https://no-color.org); Textual looks at presence alone.
        del os.environ["NO_COLOR"]
    path = database_path(db)
    with Store.open_to_read(path) as store:
        # Where the list of runs cannot be read, there is no screen to begin with.
        run_overviews(store)
        if follow and not run:
            run = "latest"
        critic = _LateCritic(path)
        app = Inspector(
            store,
            run_id=get_run(store, run).id if run else None,
            keymap=keymap,
            light=_light(theme),
            following=follow,
            remove=partial(_remove, path),
            ask=critic.ask,
        )
        # The imported modules stay: without this, the garbage collector would scan them now and
        # then, and hold up a key for longer than drawing takes.
        gc.freeze()
        try:
            app.run()
        finally:
            _end(app.critic)
            critic.close()
    if app.fault is not None:
        raise app.fault
    context.exit(app.return_code or 0)


class _LateCritic:
    """The critic, imported when it is first asked: its modules take a while to load."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._critic: TreeCritic | None = None

    def ask(
        self, tree_id: int, say: Callable[[str], None], is_cancelled: Callable[[], bool]
    ) -> CriticAnswer | None:
        """See ``TreeCritic.ask``."""
        from agentr_lite.runs.critic import TreeCritic

        self._critic = self._critic or TreeCritic(self._path)
        return self._critic.ask(tree_id, say, is_cancelled)

    def close(self) -> None:
        """See ``TreeCritic.close``."""
        if self._critic is not None:
            self._critic.close()


def _end(desk: CriticDesk | None) -> None:
    """Wait for the critic's thread: a model that is freed while it computes may crash."""
    thread = desk.close() if desk is not None else None
    if thread is not None:
        thread.join(_PATIENCE_S)
        if thread.is_alive():
            say("The critic ends after the step that it judges …")
            thread.join()


def _remove(path: Path, run_id: str) -> str:
    """Delete a run over a separate connection; returns the message."""
    from agentr_lite.runs.removal import remove_run
    from agentr_lite.store import Store

    with Store.open(path, create=False) as store:
        removed = remove_run(store, run_id)
    text = f"Deleted {removed.run}" + (f" and {removed.files} files" if removed.files else "")
    return text + "".join(f"; {left} is still there" for left in removed.left)


def _light(theme: str) -> bool:
    """Whether to draw dark text on a light background."""
    if theme != "auto":
        return theme == "light"
    # "15;0" or "0;default;15": the last number is the background; 7 and 15 are white.
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")
