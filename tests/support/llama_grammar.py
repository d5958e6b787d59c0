"""llama.cpp's own grammar sampler, as a witness for ours."""

from __future__ import annotations

import ctypes

import numpy as np

from agentr_lite.actors.llamacpp.library import load_library
from agentr_lite.actors.llamacpp.model import Model

_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class LlamaGrammar:
    """A place in a grammar, which llama.cpp follows."""

    def __init__(self, model: Model, text: str) -> None:
        self._lib = lib = load_library()
        self._start = lib.llama_sampler_init_grammar(model.vocab, text.encode(), b"root")
        assert self._start, "llama.cpp refuses the grammar"
        self._handle = lib.llama_sampler_clone(self._start)
        self._tokens = np.zeros(model.n_vocab, _TOKEN_DATA)
        self._tokens["id"] = np.arange(model.n_vocab)
        self._array = lib.llama_token_data_array()
        pointer = dict(lib.llama_token_data_array._fields_)["data"]
        self._array.data = ctypes.cast(self._tokens.ctypes.data, pointer)
        self._array.size, self._array.selected = model.n_vocab, -1
        # It follows a control token by its spelling, which is no part of an answer's text.
        self._silent = np.array(
            [not model.piece(t) and t not in model.end_tokens for t in range(model.n_vocab)]
        )

    def restart(self) -> None:
        """Go back to the beginning."""
        self._lib.llama_sampler_free(self._handle)
        self._handle = self._lib.llama_sampler_clone(self._start)

    def mask(self) -> np.ndarray:
        """For every token whether it may come next: (vocabulary,)."""
        self._tokens["logit"] = 0.0
        self._lib.llama_sampler_apply(self._handle, ctypes.byref(self._array))
        return (self._tokens["logit"] == 0.0) & ~self._silent

    def accept(self, token: int) -> None:
        """Go on with an allowed token; any other would abort the process."""
        self._lib.llama_sampler_accept(self._handle, token)

    def close(self) -> None:
        """Free it."""
        self._lib.llama_sampler_free(self._handle)
        self._lib.llama_sampler_free(self._start)
