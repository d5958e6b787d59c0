"""What a command asks of a result, before it is a recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the command line asks of a result, besides what to run."""

    recipe: str | None
    """A recipe to take the settings from; None: whatever the target names."""
    overrides: tuple[str, ...]
    """``key=value``, from ``--set`` and the flags that are short for it."""

    def with_overrides(self, *more: str) -> Chosen:
        """With further ``key=value``, which outweigh those before."""
        return Chosen(self.recipe, (*self.overrides, *more))

    def __bool__(self) -> bool:
        """Whether anything was asked for."""
        return self.recipe is not None or bool(self.overrides)
