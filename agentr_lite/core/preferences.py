"""Kinds of preferences: two continuations of one conversation, of which the first is better."""

from __future__ import annotations

from typing import Literal, get_args

PreferenceKind = Literal["episode", "step", "revision"]
"""``episode``: a successful and a failed episode of one task; ``step``: two actions in one state;
``revision``: a revision, and going on as the bad trajectory did."""

PREFERENCE_KINDS: tuple[PreferenceKind, ...] = get_args(PreferenceKind)
"""In the order in which they are listed and shown."""
