"""One splice, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from agentr_lite.console.outcomes import SEGMENT_WORDS
from agentr_lite.store import Store

from ..error_reader import read_splice
from ..layout.side_by_side import lay_out_splice
from ..widgets.document_view import DocumentView
from .pages import PagesScreen


class SpliceScreen(PagesScreen):
    """The bad trajectory on the left, the good one on the right, the revision below."""

    DOCUMENT = "splice"
    HINT = (
        "On the left the bad trajectory with the critic's verdicts and t′, the last step that is"
        " kept; on the right the good one, from the node where they part. Below, the revision and"
        " the result of executing it: ● turns are learnt, ○ turns are context only."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left,left_square_bracket",
            "other(-1)",
            "Previous",
            id="splice.previous",
            key_display="←",
        ),
        Binding(
            "right,right_square_bracket", "other(1)", "Next", id="splice.next", key_display="→"
        ),
        Binding("c", "everything", "Shared steps", id="splice.shared"),
        Binding("r", "result", "Result", id="splice.result"),
        Binding("y", "copy", "Copy the revision", show=False, id="splice.copy"),
    ]

    def __init__(self, store: Store, revision_ids: Sequence[int], at: int) -> None:
        """
        Args:
            store: the database.
            revision_ids: the revisions that left and right go through.
            at: the place of the first one to show.
        """
        super().__init__(store, revision_ids, at)
        self._ids = revision_ids
        self._shown: tuple[int, bool] | None = None

    def refresh_data(self) -> None:
        if self._shown == (self._at, self._with_shared):
            return
        self._view = view = read_splice(self.store, self._ids[self._at])
        revision, with_shared = view.revision, self._with_shared
        self.query_one(DocumentView).show(
            lambda width: lay_out_splice(view, width, with_shared=with_shared)
        )
        self._shown = (self._at, self._with_shared)
        self.crumbs(
            [revision.run_id, f"round {revision.round}", f"splice {revision.id}"],
            self.place,
        )
        self.caption(
            (
                ("▎", "bad"),
                (f"{SEGMENT_WORDS['bad']}  ", "dim"),
                ("▎", "signal"),
                (f"{SEGMENT_WORDS['signal']}  ", "dim"),
                ("▎", "good"),
                (SEGMENT_WORDS["continuation"], "dim"),
            )
        )

    def action_result(self) -> None:
        """Scroll to the revision, or back to the beginning."""
        document = self.query_one(DocumentView)
        at = document.find(lambda line: bool(line) and "┴" in line[0][0], last=True)
        document.scroll_to(y=0 if round(document.scroll_y) else at, animate=False)

    def action_copy(self) -> None:
        """Copy the revision's conversation to the clipboard."""
        messages = self._view.revision.messages
        if not messages:
            self.notify("This pair was rejected: there is no revision.", timeout=3)
            return
        text = "\n\n".join(message["content"] for message in messages)
        self.copy(text, f"splice {self._view.revision.id}")
