"""Records with long texts as compressed blocks, of which a page unpacks only what it shows.

A block is JSON, deflated and written as base64, so nothing in it can be markup. Each text is in a
block once; a text that several blocks say is in a block of its own that all of them refer to.
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.console.json import dump_json
from agentr_lite.report.render.excerpts import LIMITS, shorten

SHORT = 32
"""A text of fewer characters is repeated: a reference would hardly be shorter."""

_CUTS = tuple(limit for limit in LIMITS if limit >= 1_000)
"""Transcripts whose texts are shorter than that could not be followed: better fewer of them."""

Record = Callable[[Callable[[str | None], int]], Any]
"""Makes a record of JSON types. It is given what turns a text into its place: 0 and up in the
block's own texts, -1 for None, -2 and down in the shared ones."""


@dataclass(frozen=True, slots=True)
class Packed:
    """All blocks of a page."""

    shared: str
    """The texts of several blocks."""
    blocks: Sequence[str]
    """Of these, the first ones that fit; each holds ``texts`` and ``records``."""
    limit: int
    """Longer texts were cut to so many characters."""
    has_cuts: bool
    """Whether any text was."""

    @property
    def size(self) -> int:
        """Characters of all blocks."""
        return len(self.shared) + sum(map(len, self.blocks))


def pack(groups: Sequence[Sequence[Record]], budget: int) -> Packed:
    """Records as one block a group; texts are cut, then the last blocks left out, until they fit.

    Args:
        groups: records that are unpacked together, the most important ones first.
        budget: characters of all blocks together; only the shared texts may exceed it.
    """
    common = _common(groups)
    packed = Packed("", (), _CUTS[-1], has_cuts=False)
    for limit in _CUTS:
        packed = _packed(groups, common, limit)
        if packed.size <= budget:
            return packed
    left = budget - len(packed.shared)
    kept = []
    for block in packed.blocks:
        left -= len(block)
        if left < 0:
            break
        kept.append(block)
    return Packed(packed.shared, kept, packed.limit, packed.has_cuts)


def deflated(value: Any) -> str:
    """A value of JSON types as one block."""
    text = dump_json(value, indent=None).encode()
    return base64.b64encode(zlib.compress(text, 9)).decode()


def _common(groups: Sequence[Sequence[Record]]) -> dict[str, int]:
    """The texts of more than one group, by their places."""
    counts: Counter[str] = Counter()
    for group in groups:
        texts = _Texts({})
        for record in group:
            record(texts.place)
        counts.update(text for text in texts.own if len(text) >= SHORT)
    return {text: place for place, text in enumerate(text for text, n in counts.items() if n > 1)}


def _packed(groups: Sequence[Sequence[Record]], common: dict[str, int], limit: int) -> Packed:
    blocks = []
    has_cuts = any(len(text) > limit for text in common)
    for group in groups:
        texts = _Texts(common)
        records = [record(texts.place) for record in group]
        has_cuts = has_cuts or any(len(text) > limit for text in texts.own)
        shown = [shorten(text, limit) for text in texts.own]
        blocks.append(deflated({"texts": shown, "records": records}))
    shared = deflated([shorten(text, limit) for text in common])
    return Packed(shared, blocks, limit, has_cuts)


class _Texts:
    """The texts of one block."""

    def __init__(self, common: dict[str, int]) -> None:
        self.own: dict[str, int] = {}
        self._common = common

    def place(self, text: str | None) -> int:
        if text is None:
            return -1
        if text in self._common:
            return -2 - self._common[text]
        return self.own.setdefault(text, len(self.own))
