"""The progress line of a download."""

from __future__ import annotations

from agentr_lite.console.progress import Progress


class Megabytes:
    """A progress line a file, in whole MB; to be called as ``hub.OnBytes``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._file = ""
        self._shown = 0

    def __call__(self, file: str, there: int, total: int) -> None:
        megabytes = there // 1_000_000
        if file != self._file:
            self.finish()
            self._file, self._shown = file, megabytes
            self._progress.start(f"{file}, MB", -(-total // 1_000_000), initial=megabytes)
        elif megabytes > self._shown:
            self._progress.advance(megabytes - self._shown)
            self._shown = megabytes

    def finish(self) -> None:
        """End the last file's line."""
        if self._file:
            total = self._progress.total or 0
            self._progress.advance(total - self._shown)
            self._progress.finish()
        self._file = ""
