"""The part of a tree's screen that asks the critic about it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

from agentr_lite.store import Store
from agentr_lite.store.records import JudgementRow, RunRow
from agentr_lite.store.splices import list_judgements

from ..layout.asking import asking_line, asking_notes
from ..layout.lines import Line
from .filter import FilterScreen

ASK_CRITIC = Binding("a", "ask_critic", "Ask critic", id="tree.ask")
"""The binding of such a screen."""


class AskingScreen(FilterScreen):
    """A screen over a tree that the critic can be asked about if no episode solved its task."""

    def __init__(self, store: Store, tree_id: int) -> None:
        super().__init__(store)
        self.tree_id = tree_id
        self._asked_run: RunRow | None = None
        self._offers = False

    def can_ask(self) -> bool:
        """Whether the tree is one that the critic can be asked about."""
        raise NotImplementedError

    def asking_changed(self) -> None:
        """Called when asking has become possible, or impossible, or has failed."""
        raise NotImplementedError

    def answered(self) -> None:
        """Called when the critic has ended with this tree, be it with an answer or without."""
        raise NotImplementedError

    def read_judgements(self, run: RunRow) -> Sequence[JudgementRow]:
        """The stored verdicts on the tree; without any, those of this session."""
        stored = list_judgements(self.store, run.id, tree_id=self.tree_id)
        desk = self.navigator.critic
        if stored or desk is None or self.tree_id not in desk.answers:
            return stored
        return desk.answers[self.tree_id].judgements

    def show_asking(self, run: RunRow | None) -> None:
        """Show what the critic does for this tree, or else what the run does."""
        self._asked_run = run
        desk = self.navigator.critic
        left, right = asking_line(desk, self.tree_id) if desk is not None else ((), ())
        if left:
            self.show_below_path(left, right)
        else:
            self.show_live(run)
        if self._offers != (desk is not None and self.can_ask()):
            self._offers = not self._offers
            # While the screen is being made, its footer does not listen yet.
            self.call_after_refresh(self.refresh_bindings)
            self.asking_changed()

    def asking_notes(self) -> list[Line]:
        """What the tree's start says about asking."""
        desk = self.navigator.critic
        return asking_notes(desk, self.tree_id) if desk is not None and self._offers else []

    def why_no_error(self, *, judged: bool) -> str:
        """Why there is no error to go to, in a tree that was judged or was not."""
        if judged:
            return "No step of this tree was judged bad."
        asking = " Press a to ask it." if self._offers else ""
        return f"The critic has not been asked about this tree.{asking}"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is offered: asking only where the critic can be asked."""
        return action != "ask_critic" or self._offers

    def action_ask_critic(self) -> None:
        """Ask the critic about this tree, or cancel that."""
        desk = self.navigator.critic
        if desk is None:
            return
        if desk.asking == self.tree_id:
            desk.cancel()
        elif desk.asking is not None:
            self.notify("The critic is asked about another tree now.", timeout=3)
        else:
            desk.start(self.tree_id)
        self.show_asking(self._asked_run)

    def critic_changed(self, tree_id: int) -> None:
        """Show how far the critic is; at its end, the verdicts."""
        desk = self.navigator.critic
        self.show_asking(self._asked_run)
        if tree_id == self.tree_id and desk is not None and desk.asking is None:
            self.asking_changed()
            self.answered()
