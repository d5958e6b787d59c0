"""Holds the draws of one sample to a grammar; see ``agentr_lite.actors.grammar``."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from agentr_lite.actors.base import Sampling
from agentr_lite.actors.grammar.draw import AllowedDraw, Logits, Tokens
from agentr_lite.actors.grammar.matcher import Matcher
from agentr_lite.actors.llamacpp.library import load_library
from agentr_lite.actors.llamacpp.sampler import Chooser, Row, make_cuts

_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""``llama_token_data``."""


class Constrained:
    """Draws as another chooser does, but only what a grammar allows."""

    def __init__(self, chooser: Chooser, matcher: Matcher, sampling: Sampling, seed: int) -> None:
        """
        Args:
            chooser: draws first; freed with this one.
            matcher: at the answer's beginning.
            sampling: the chooser's.
            seed: for the draws after a refusal.
        """
        self._chooser = chooser
        self._matcher = matcher
        self._sampling = sampling
        self._draw = AllowedDraw(sampling, (seed, 0), self._survivors)
        self._cuts: Any = None

    def choose(self, row: Row) -> int:
        """See ``Chooser``.

        Raises:
            ModelError: the model's vocabulary cannot spell what the grammar asks for.
            GrammarError: the grammar is too ambiguous.
        """
        matcher = self._matcher
        token = self._chooser.choose(row)
        if not matcher.allows(token):
            token = self._draw.choose(row.logits, matcher.mask())
        if token not in matcher.ends:
            matcher.accept(token)
        return token

    def _survivors(self, tokens: Tokens, logits: Logits) -> tuple[Tokens, Logits]:
        """llama.cpp's own cuts and temperature."""
        lib = load_library()
        if self._cuts is None:
            self._cuts = make_cuts(self._sampling)
        candidates = np.zeros(len(tokens), _TOKEN_DATA)
        candidates["id"], candidates["logit"] = tokens, logits
        array = lib.llama_token_data_array()
        pointer = dict(lib.llama_token_data_array._fields_)["data"]
        array.data = ctypes.cast(candidates.ctypes.data, pointer)
        array.size, array.selected, array.sorted = len(tokens), -1, False
        lib.llama_sampler_apply(self._cuts, ctypes.byref(array))
        # A sampler may have put the survivors elsewhere.
        address = ctypes.cast(array.data, ctypes.c_void_p).value
        assert address
        raw = (ctypes.c_char * (array.size * _TOKEN_DATA.itemsize)).from_address(address)
        survivors = np.frombuffer(raw, _TOKEN_DATA).copy()
        return survivors["id"], survivors["logit"]

    def close(self) -> None:
        """Free native memory."""
        self._chooser.close()
        if self._cuts:
            load_library().llama_sampler_free(self._cuts)
            self._cuts = None
