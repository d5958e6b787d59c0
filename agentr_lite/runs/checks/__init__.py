"""Checks of all that a run needs, before any work."""
