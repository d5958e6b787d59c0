"""Options of environments that name files."""

from __future__ import annotations

PATH_OPTIONS = frozenset({"data_dir", "recipes_dir", "games_dir"})
"""Options whose text is a path: WebShop's and TextCraft's data, TextWorld's games."""
