"""A progress bar in a Jupyter notebook, where the terminal's way to redraw a line is not obeyed."""

from __future__ import annotations

import html
import sys
from typing import Any


def notebook_bar() -> NotebookBar | None:
    """A bar, where this process is a notebook's kernel; None elsewhere.

    IPython is not imported for it: a kernel has done so.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # Terminals have another shell, and obey the usual bar.
    return NotebookBar() if shell is not None and hasattr(shell, "kernel") else None


class NotebookBar:
    """One output of a cell that is drawn again and again."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, text: str, count: int, total: int | None) -> None:
        """Show a count.

        Args:
            text: what stands beside the bar.
            count: items that are finished.
            total: of how many; None: unknown.
        """
        from IPython.display import HTML, display

        value = f' value="{count}" max="{total}"' if total else ""
        shown = HTML(f"<progress{value}></progress> {html.escape(text)}")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def remove(self) -> None:
        """Empty the output; the next ``draw`` begins another one."""
        if self._handle is None:
            return
        from IPython.display import HTML

        self._handle.update(HTML(""))
        self._handle = None
