"""The application: themes, global keys, and the watch on the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.color import Color, ColorParseError
from textual.dom import DOMNode
from textual.keys import format_key
from textual.message import Message
from textual.screen import Screen
from textual.theme import Theme

from agentr_lite.core.errors import AgentrError, StoreError, UsageError
from agentr_lite.store import Store
from agentr_lite.store.decoding import DamagedError
from agentr_lite.store.inspection import data_version

from .critic_desk import Ask, CriticDesk, problem_text
from .key_sentences import KEY_SENTENCES
from .keys import binding_ids
from .layout.lines import one_line
from .layout.pictures import svg_of
from .navigation import (
    Destination,
    ToBeside,
    ToComparison,
    ToDemonstrations,
    ToEpisode,
    ToEpisodes,
    ToEvals,
    ToPreference,
    ToPreferences,
    ToSplice,
    ToSplices,
    ToSteps,
    ToTasks,
    ToTree,
)
from .screens.base import InspectorScreen
from .screens.beside import BesideScreen
from .screens.compare import CompareScreen
from .screens.confirm import ConfirmScreen
from .screens.demonstrations import DemonstrationsScreen
from .screens.episodes import EpisodesScreen
from .screens.evals import EvalsScreen
from .screens.filter import FilterScreen
from .screens.help import HelpScreen
from .screens.preferences import PreferenceScreen, PreferencesScreen
from .screens.preview import PreviewScreen
from .screens.runs import RunsScreen
from .screens.splice import SpliceScreen
from .screens.splices import SplicesScreen
from .screens.step import StepScreen, episode_screen
from .screens.tasks import TasksScreen
from .screens.tree import TreeScreen
from .state_reader import StateReader
from .widgets.line_list import LineList
from .widgets.tree_view import TreeView

POLL_S = 1.0
"""Seconds between checks whether the database has been written to."""

DARK = Theme(
    name="agentr-dark",
    primary="#6cb6ff",
    secondary="#8b9bb4",
    accent="#c792ea",
    success="#7fd88f",
    warning="#f0c674",
    error="#f47067",
    foreground="#d5dbe5",
    background="#11151c",
    surface="#161b24",
    panel="#1e2530",
    dark=True,
    variables={"signal": "#56d4dd", "odd": "#ff9ecb"},
)
LIGHT = Theme(
    name="agentr-light",
    primary="#0a58ba",
    secondary="#57606a",
    accent="#7b3fb5",
    success="#11682b",
    warning="#7a4f00",
    error="#b01f1f",
    foreground="#24292f",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e8e5de",
    dark=False,
    variables={"signal": "#096273", "odd": "#a8206f"},
)


class Inspector(App[None]):
    """Walks through one database, read-only, while others may write to it.

    Attributes:
        store: the database.
        following: whether the screens go to what was written last.
        states: repeats trajectories to find the environment's states.
        remove: deletes a run; None where that is not offered.
        critic: asks the critic about trees; None where that is not offered.
        fault: the error that ended the program, if the user can mend it.
    """

    TITLE = "agentr-lite"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (96, "-wide"), (140, "-roomy")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow", show=False, id="app.follow"),
        Binding("ctrl+s", "picture", "Save the screen as SVG", show=False, id="app.picture"),
        Binding("question_mark", "help", "Help", id="app.help", key_display="?"),
        Binding("q", "quit", "Quit", id="app.quit"),
    ]

    class CriticChanged(Message):
        """The critic has gone on, or has ended, with a tree."""

        def __init__(self, tree_id: int) -> None:
            super().__init__()
            self.tree_id = tree_id

    def __init__(
        self,
        store: Store,
        *,
        run_id: str | None = None,
        keymap: Mapping[str, str] | None = None,
        light: bool = False,
        following: bool = False,
        remove: Callable[[str], str] | None = None,
        ask: Ask | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        """
        Args:
            store: opened read-only.
            run_id: the run to open first; None: the list of runs.
            keymap: binding id to keys.
            light: start with the light theme.
            following: start in follow mode.
            remove: deletes a run by its id and returns a note on what it did; called in a separate
                thread; may raise an ``AgentrError``.
            ask: asks the critic about a tree.
            poll_s: seconds between checks of the database; 0: no checks.
        """
        # With the terminal's own colours, Textual can leave out all colours under NO_COLOR.
        no_color = bool(os.environ.get("NO_COLOR"))
        super().__init__(ansi_color=True if no_color else None)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = LIGHT.name if light else DARK.name
        self.store = store
        self.following = following
        self.remove = remove
        self.critic = CriticDesk(ask, self._post_critic) if ask is not None else None
        self.states = StateReader()
        self.fault: AgentrError | None = None
        self._run_id = run_id
        self._poll_s = poll_s
        self._version = data_version(store)
        self._last_error = ""
        if keymap:
            self.set_keymap(dict(keymap))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our colours that other themes do not define."""
        return {"signal": "#56d4dd", "odd": "#ff9ecb"}

    def get_css_variables(self) -> dict[str, str]:
        """The theme's colours, and our mixtures of them."""
        variables = super().get_css_variables()
        for name, colour_name, share in (
            ("ink-dim", "foreground", 0.74),
            ("ink-guide", "foreground", 0.34),
            ("cursor-bg", "primary", 0.15),
            ("blurred-bg", "primary", 0.09),
            ("match-bg", "warning", 0.30),
        ):
            variables[name] = _mixed(variables, colour_name, share)
        return variables

    def on_mount(self) -> None:
        self.push_screen(RunsScreen(self.store))
        if self._run_id is not None:
            self.open_screen(ToTasks(self._run_id))
        if self._poll_s:
            self.set_interval(self._poll_s, self.poll)

    def open_screen(self, destination: Destination, *, replace: bool = False) -> None:
        """See ``Navigator.open_screen``."""
        try:
            screen = screen_for(self.store, destination)
        except (UsageError, DamagedError) as error:
            self.notify(one_line(error.message), severity="warning", markup=False)
            if isinstance(self.screen, InspectorScreen):
                self.screen.reread()
            return
        if replace:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def poll(self) -> None:
        """Show what other processes have written since the last check."""
        try:
            version = data_version(self.store)
            if version != self._version:
                if isinstance(self.screen, InspectorScreen):
                    self.screen.reread()
                    if self.following and isinstance(self.screen, InspectorScreen):
                        self.screen.follow()
                self._version = version
            self._last_error = ""
        except StoreError as error:
            # Shown once, not every second; the next check may succeed.
            if error.message != self._last_error:
                self._last_error = error.message
                self.notify(one_line(error.message), severity="error", markup=False)

    def _post_critic(self, tree_id: int) -> None:
        self.post_message(self.CriticChanged(tree_id))

    def on_inspector_critic_changed(self, event: CriticChanged) -> None:
        """Tell the screen, and the user if an answer could not be had."""
        desk = self.critic
        if desk is not None and desk.asking is None and event.tree_id in desk.problems:
            text = one_line(problem_text(desk.problems[event.tree_id]))
            self.notify(text, severity="error", markup=False, timeout=20)
        if isinstance(self.screen, InspectorScreen):
            self.screen.critic_changed(event.tree_id)

    def action_follow(self) -> None:
        """Switch follow mode on or off."""
        self.following = not self.following
        if isinstance(self.screen, InspectorScreen):
            self.screen.reread()
            if self.following:
                self.screen.follow()

    def action_picture(self) -> None:
        """Write the screen to an SVG file in the working directory."""
        path = Path.cwd() / f"agentr-lite-{datetime.now():%Y%m%d-%H%M%S}.svg"
        try:
            path.write_text(svg_of(self), encoding="utf-8")
        except OSError as error:
            text = f"cannot write {path}: {error.strerror}"
            self.notify(one_line(text), severity="error", markup=False)
            return
        self.notify(one_line(f"Saved {path}"), markup=False)

    def action_help(self) -> None:
        """Show the keys of the screen below."""
        screen = self.screen
        actions = _actions(screen)
        # The keys in the footer first, then the others.
        actions.sort(key=lambda action: not action.binding.show)
        keys = [(action.keys, KEY_SENTENCES[action.id]) for action in actions]
        hint = screen.explanation if isinstance(screen, InspectorScreen) else ""
        self.push_screen(HelpScreen(hint, keys))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The actions of all keys on the screen, then the themes; not Textual's other commands."""
        for action in _actions(screen):
            act = partial(self._run_binding, action.node, action.binding.action)
            text = f"{action.keys}: {KEY_SENTENCES[action.id]}"
            yield SystemCommand(action.binding.description, text, act)
        for command in super().get_system_commands(screen):
            if command.title == "Theme":
                yield command

    def _run_binding(self, node: DOMNode, action: str) -> None:
        # The palette closes first: the action must find its screen on top.
        self.call_later(self.run_action, action, node)

    def _handle_exception(self, error: Exception) -> None:
        # Textual prints a traceback of any error. An error that the user can mend ends the program
        # in an orderly way, and the command line reports it.
        explained = self.store.explained(error)
        mendable = error if isinstance(error, AgentrError) else explained
        if mendable is not None:
            self.fault = mendable
            self.exit(return_code=mendable.exit_code)
            return
        super()._handle_exception(error)


@dataclass(slots=True)
class _Action:
    """What one binding of a screen does, however many keys it has."""

    id: str
    node: DOMNode
    binding: Binding
    keys: str


def _actions(screen: Screen[object]) -> list[_Action]:
    """The bindings that are active on a screen, each once."""
    actions: dict[str, _Action] = {}
    for node, binding, enabled, _ in screen.active_bindings.values():
        if not (binding.id and binding.description and enabled):
            continue
        shown = format_key(binding.key)
        if binding.id in actions:
            actions[binding.id].keys += f" {shown}"
        else:
            actions[binding.id] = _Action(binding.id, node, binding, shown)
    return list(actions.values())


def screen_for(store: Store, destination: Destination) -> InspectorScreen:
    """The screen for a destination.

    Raises:
        UsageError: the subject of the screen no longer exists.
    """
    match destination:
        case ToTasks(run_id):
            return TasksScreen(store, run_id)
        case ToTree(tree_id):
            return TreeScreen(store, tree_id)
        case ToSteps(crumbs, views, at, origin):
            return StepScreen(store, crumbs, views, at, origin=origin)
        case ToSplices(run_id, tree_id):
            return SplicesScreen(store, run_id, tree_id=tree_id)
        case ToSplice(revision_ids, at):
            return SpliceScreen(store, revision_ids, at)
        case ToPreferences(run_id, tree_id):
            return PreferencesScreen(store, run_id, tree_id=tree_id)
        case ToPreference(preference_ids, at):
            return PreferenceScreen(store, preference_ids, at)
        case ToDemonstrations():
            return DemonstrationsScreen(store)
        case ToEvals(run_id):
            return EvalsScreen(store, run_id)
        case ToEpisodes(run_id, eval_id, env):
            return EpisodesScreen(store, run_id, eval_id, env)
        case ToComparison(run_id, eval_id, env):
            return CompareScreen(store, run_id, eval_id, env)
        case ToEpisode(run_id, evaluation, key):
            return episode_screen(store, run_id, evaluation, key)
        case ToBeside(evals, rounds, keys, at):
            return BesideScreen(store, evals, rounds, keys, at)


def _mixed(variables: Mapping[str, str], colour_name: str, share: float) -> str:
    """A theme's colour blended with its background; the terminal's own colours stay as they are."""
    try:
        colour, ground = Color.parse(variables[colour_name]), Color.parse(variables["background"])
    except ColorParseError:
        return "ansi_bright_black"
    if colour.ansi is not None or ground.ansi is not None:
        return "ansi_bright_black"
    return ground.blend(colour, share).hex


BINDINGS_BY_ID = binding_ids(
    (
        Inspector,
        InspectorScreen,
        FilterScreen,
        PreviewScreen,
        RunsScreen,
        TasksScreen,
        TreeScreen,
        StepScreen,
        SplicesScreen,
        SpliceScreen,
        PreferencesScreen,
        PreferenceScreen,
        DemonstrationsScreen,
        EvalsScreen,
        EpisodesScreen,
        CompareScreen,
        BesideScreen,
        HelpScreen,
        ConfirmScreen,
        LineList,
        TreeView,
    )
)
"""All bindings of the inspector by id; a key file may change them."""
