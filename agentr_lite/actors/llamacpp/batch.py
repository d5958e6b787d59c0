"""llama.cpp's batches over numpy arrays, which can be filled without loops."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt


class Batch:
    """A ``llama_batch`` with one sequence for each entry.

    Attributes:
        tokens: (size,): token ids.
        positions: (size,): position of each entry in its sequence.
        sequences: (size,): sequence id of each entry.
        outputs: (size,): 1 where logits are computed.
        struct: the ``llama_batch``; its ``n_tokens`` is to be set.
    """

    def __init__(self, lib: Any, size: int) -> None:
        """
        Args:
            lib: the library.
            size: most entries.
        """
        self.tokens = np.zeros(size, np.int32)
        self.positions = np.zeros(size, np.int32)
        self.sequences = np.zeros(size, np.int32)
        self.outputs = np.zeros(size, np.int8)
        self._counts = np.ones(size, np.int32)
        base, step = self.sequences.ctypes.data, self.sequences.itemsize
        self._rows = np.array([base + step * i for i in range(size)], np.uintp)
        fields = dict(lib.llama_batch._fields_)
        self.struct = lib.llama_batch()
        self.struct.token = _pointer(self.tokens, fields["token"])
        self.struct.embd = None
        self.struct.pos = _pointer(self.positions, fields["pos"])
        self.struct.n_seq_id = _pointer(self._counts, fields["n_seq_id"])
        self.struct.seq_id = _pointer(self._rows, fields["seq_id"])
        self.struct.logits = _pointer(self.outputs, fields["logits"])


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, kind)
