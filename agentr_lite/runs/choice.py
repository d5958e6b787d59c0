"""The settings that a command line chooses, before they become a recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chosen:
    """The result-changing settings of a command line."""

    recipe: str | None
    """A recipe to take the settings from; None: the recipe of what is run."""
    overrides: tuple[str, ...]
    """``key=value``, from ``--set`` and the flags that are short for it."""

    def with_overrides(self, *more: str) -> Chosen:
        """With further ``key=value``, which outweigh those before."""
        return Chosen(self.recipe, (*self.overrides, *more))

    def __bool__(self) -> bool:
        """Whether any setting was chosen."""
        return self.recipe is not None or bool(self.overrides)
