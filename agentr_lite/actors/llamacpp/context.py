"""A guarded llama.cpp context: one batch, one cache, cells addressed by sequence id.

The cache is unified, so that all sequences share its cells, or it is divided into streams: each
sequence has cells of its own, and attention reads no others.

Some misuses of the C interface abort the process. Those that this project could make are turned
into a ``ModelError`` here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentr_lite.actors.llamacpp.attention import Attention, attention_kernel
from agentr_lite.actors.llamacpp.batch import Batch
from agentr_lite.actors.llamacpp.guard import MOST_GUARDED, Guard, divided, joined, pieces
from agentr_lite.actors.llamacpp.library import clear_errors, last_error, load_library
from agentr_lite.actors.llamacpp.plan import SEQUENCES
from agentr_lite.actors.llamacpp.segments import CellBytes
from agentr_lite.actors.llamacpp.windows import rounded
from agentr_lite.core.errors import ModelError

if TYPE_CHECKING:
    from agentr_lite.actors.llamacpp.model import Model

_REPORT = "If this repeats, please report it with the output of `agentr-lite doctor`."
_NO_LOGITS = np.empty((0, 0), np.float32)


class Context:
    """Key-value cache and compute buffers over one ``Model``.

    Attributes:
        n_cells: tokens that the cache holds for all sequences together.
        stream_cells: tokens that the cache holds for one sequence.
        n_batch: most tokens in one ``decode``.
        sequences: number of sequence ids; they run from 0 to ``sequences - 1``.
        attention: our own kernel for attention; None: llama.cpp computes it.
        window: tokens of the sliding window whose cells alone are kept in layers that have one; 0:
            all layers keep the cells of all tokens.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_cells: int,
        n_batch: int,
        n_threads: int,
        flash_attention: bool = False,
        n_ubatch: int | None = None,
        sequences: int = SEQUENCES - 1,
        exact: bool = False,
        unified: bool = True,
        window: int = 0,
        guarded: bool = True,
    ) -> None:
        """Allocate the cache.

        Args:
            model: the weights.
            n_cells: least number of tokens that the cache holds; llama.cpp rounds up.
            n_batch: most tokens in one ``decode``; at least 256.
            n_threads: threads for decoding and prefill.
            flash_attention: on a CPU, the kernel of ``attention`` computes it. Where there is none,
                llama.cpp's sums in half precision, and differently for narrow and for wide batches.
            n_ubatch: tokens computed at once; default: 256, or 512 with flash attention.
            sequences: number of ids, at most 255. llama.cpp looks at each pair of them for every
                batch; with 255 ids, this takes a tenth of a very small model's time.
            exact: keep keys and values in f32; half precision changes the logits by about 0.01.
            unified: whether all sequences share the cells. Otherwise ``n_cells`` is divided
                between them; cells move from one to another only as whole sequences. Each run
                of neighbouring ids in a batch is computed by itself.
            window: the model's sliding window, to keep only its cells in the layers that have one
                (``windows``); 0: keep all. Cells that sequences share cannot be dropped so.
            guarded: keep shared cells that a window has left (``guard``); halves the most
                ``sequences`` of such a model. Otherwise, a branch from the middle of a sequence
                may be wrong.

        Raises:
            ModelError: there is not enough memory, or the model refuses these settings.
        """
        lib = self._lib = load_library()
        self.model = model
        slides = int(lib.llama_model_n_swa(model.handle))
        if window and (unified or window != slides):
            raise ModelError(
                f"a cache for windows of {window:,} tokens does not fit {model.path}:"
                f" llama.cpp sees windows of {slides:,} tokens,"
                f" and {'all sequences share' if unified else 'each sequence has'} its cells",
                hint=_REPORT,
            )
        self.window = window
        guarded = guarded and unified and sequences > 1 and 0 < slides < rounded(n_cells)
        if guarded:
            sequences = min(sequences, MOST_GUARDED)
        self.sequences = sequences
        # One spare id, for cells that are moved to or from RAM; a stream is moved as a whole.
        self._spare = sequences if unified else None
        self._ids = sequences + 1 if unified else sequences
        if not 0 < self._ids <= SEQUENCES:
            raise ModelError(f"{sequences} sequences; 1 to {SEQUENCES - 1} are possible")
        n_seq_max = self._ids + sequences if guarded else self._ids
        # Scratch memory grows with this number.
        n_ubatch = n_ubatch or (512 if flash_attention else 256)
        # llama.cpp aborts if a batch, or the cache that limits it, is smaller than n_seq_max.
        self.n_batch = max(n_batch, n_seq_max)
        if guarded:
            # Within a batch, later tokens must not take the cells of earlier ones.
            n_ubatch = max(n_ubatch, n_seq_max)
            self.n_batch = min(self.n_batch, n_ubatch)
        params = lib.llama_context_default_params()
        params.n_ctx = max(n_cells, n_seq_max)
        params.n_batch = self.n_batch
        params.n_ubatch = n_ubatch
        params.n_seq_max = n_seq_max
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = unified
        # A window's cells alone could not be shared, or cut back further than the window.
        params.swa_full = not window
        params.flash_attn_type = (
            lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if flash_attention
            else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        if exact:
            params.type_k = params.type_v = lib.GGML_TYPE_F32
        params.no_perf = True
        self.attention = None
        own = attention_kernel() if flash_attention and not (exact or model.on_gpu) else None
        if own:
            self.attention = Attention(own, n_threads)
            params.cb_eval = self.attention.callback
            params.cb_eval_user_data = self.attention.data
        clear_errors()
        self.handle = lib.llama_init_from_model(model.handle, params)
        if not self.handle:
            if self.attention:
                self.attention.close()
            raise ModelError(
                f"llama.cpp cannot make a context of {n_cells:,} tokens for {model.path}:"
                f" {last_error() or 'no reason given'}",
                hint="Too little memory? A smaller agent.context_tokens needs less.",
            )
        self.n_cells = int(lib.llama_n_ctx(self.handle))
        self.stream_cells = int(lib.llama_n_ctx_seq(self.handle))
        self._memory = lib.llama_get_memory(self.handle)
        self._pieces = slides if unified else 0
        known = model.header.window == slides
        self._guard = (
            Guard(lib, self._memory, sequences=sequences, window=slides * known)
            if guarded
            else None
        )
        self._partial = int(lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)
        self._batch = Batch(lib, self.n_batch)
        self._buffers: list[CellBytes] = [np.empty(0, np.uint8), np.empty(0, np.uint8)]
        self._views: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    def close(self) -> None:
        """Free the cache."""
        if self.handle:
            self._lib.llama_free(self.handle)
            self.handle = None
            if self.attention:
                self.attention.close()

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        *,
        outputs: int,
    ) -> npt.NDArray[np.float32]:
        """Run one batch; every token takes one cell.

        Args:
            tokens: one token id for each entry.
            positions: for each entry, the next position of its sequence.
            sequences: for each entry, its sequence id, in [0, 255).
            outputs: compute logits for this many entries, from the first on.

        Returns:
            Logits of shape (outputs, vocabulary); a view that is valid until the next call.

        Raises:
            ModelError: the cache is full or the computation failed.
        """
        count = len(tokens)
        if self._guard is not None and not outputs and count > self.n_batch:
            for start in range(0, count, self.n_batch):
                part = slice(start, start + self.n_batch)
                self.decode(tokens[part], positions[part], sequences[part], outputs=0)
            return _NO_LOGITS
        if not 0 < count <= self.n_batch:
            raise ModelError(f"a batch of {count} tokens; 1 to {self.n_batch} are possible")
        batch = self._batch
        batch.tokens[:count] = tokens
        batch.positions[:count] = positions
        batch.sequences[:count] = sequences
        batch.outputs[:outputs] = 1
        batch.outputs[outputs:count] = 0
        batch.struct.n_tokens = count
        clear_errors()
        status = self._lib.llama_decode(self.handle, batch.struct)
        if status != 0:
            reason = "the cache is full" if status == 1 else last_error() or f"status {status}"
            raise ModelError(
                f"llama.cpp failed to decode {count} tokens: {reason}",
                hint=_REPORT,
            )
        if self._guard is not None:
            self._guard.computed(positions, sequences)
        if not outputs:
            return _NO_LOGITS
        pointer = self._lib.llama_get_logits(self.handle)
        place = ctypes.addressof(pointer.contents), outputs
        if place not in self._views:
            # The buffer moves only when it grows, so the view is kept: making one takes time.
            shape = (outputs, self.model.n_vocab)
            self._views[place] = np.ctypeslib.as_array(pointer, shape=shape)
        return self._views[place]

    def copy_sequence(self, source: int, target: int, end: int) -> None:
        """Let ``target`` share ``source``'s cells at positions [0, end)."""
        self.copy_range(source, target, 0, end)

    def copy_range(self, source: int, target: int, start: int, end: int) -> None:
        """Let ``target`` share ``source``'s cells at positions [start, end).

        Raises:
            ModelError: the sequences are streams, which share no cells.
        """
        self._check(source, target, self._spare_id())
        self._lib.llama_memory_seq_cp(self._memory, source, target, start, end)
        if self._guard is not None:
            self._guard.copied(source, target, start, end)

    def remove(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Remove ``sequence`` from its cells at positions [start, end); -1 = to the last.

        Raises:
            ModelError: recurrent layers or windows cannot be cut back to there.
        """
        self._check(sequence)
        # llama.cpp would cut the other layers back, and leave a hole in the window.
        whole = not (self.window and start) or start >= self.shortest(sequence)
        if not whole or not self._lib.llama_memory_seq_rm(self._memory, sequence, start, end):
            raise ModelError(
                f"llama.cpp cannot cut a sequence back to {start} tokens: the model's"
                f" {'windows' if self.window else 'recurrent layers'} hold nothing from there",
                hint=_REPORT,
            )
        if self._guard is not None:
            self._guard.removed(sequence, start, end)

    def last_position(self, sequence: int) -> int:
        """The largest position of ``sequence`` in the cache, -1 if it has none."""
        self._check(sequence)
        return int(self._lib.llama_memory_seq_pos_max(self._memory, sequence))

    def shortest(self, sequence: int) -> int:
        """The least tokens, but for none, to which a sequence can be cut back, by its windows.

        A token reads ``window`` positions, its own included.
        """
        if not self.window:
            return 0
        self._check(sequence)
        first = int(self._lib.llama_memory_seq_pos_min(self._memory, sequence))
        return first + self.window - 1 if first > 0 else 0

    def use_threads(self, count: int) -> None:
        """Compute with ``count`` threads from now on."""
        self._lib.llama_set_n_threads(self.handle, count, count)
        if self.attention:
            self.attention.use_threads(count)

    def save(self, sequence: int, start: int, end: int) -> CellBytes:
        """A copy of ``sequence``'s cells at positions [start, end), of both keys and values.

        Raises:
            ModelError: llama.cpp refuses.
        """
        # llama.cpp saves whole sequences, so the spare one gets this part.
        spare = self._spare_id()
        parts = []
        for first, last in pieces(start, end, self._pieces):
            self.copy_range(sequence, spare, first, last)
            try:
                parts.append(self.save_sequence(spare))
            finally:
                self.remove(spare)
        return joined(parts) if self._pieces else parts[0]

    def load(self, data: CellBytes, sequence: int, start: int, end: int) -> None:
        """Restore the cells from ``save`` that lie at positions [start, end).

        This needs as many free cells as were saved.

        Raises:
            ModelError: there is too little room, or a context of another kind saved the cells.
        """
        spare = self._spare_id()
        for part in divided(data) if self._pieces else [data]:
            self.load_sequence(part, spare)
            self.copy_range(spare, sequence, start, end)
            self.remove(spare)

    def save_sequence(self, sequence: int) -> CellBytes:
        """A copy of all of ``sequence``'s cells, of both keys and values.

        Raises:
            ModelError: llama.cpp refuses.
        """
        data = np.empty(self._saved_bytes(sequence), np.uint8)
        self._save_to(data, sequence)
        return data

    def save_state(self, sequence: int) -> CellBytes:
        """A copy of what cannot be cut back: the state of recurrent layers, or windows' cells.

        Raises:
            ModelError: llama.cpp refuses.
        """
        data = np.empty(self._saved_bytes(sequence, self._partial), np.uint8)
        self._save_to(data, sequence, self._partial)
        return data

    def rewind(self, sequence: int, state: CellBytes, end: int) -> None:
        """Cut a sequence back to positions [0, end), after which ``state`` was saved.

        Raises:
            ModelError: a context of another kind saved the state.
        """
        self._load(state, sequence, self._partial)
        # The state is that of the new end already, so only keys and values go.
        self.remove(sequence, end)

    def copy_stream(self, source: int, targets: Sequence[int]) -> None:
        """Replace the cells of ``targets`` by copies of ``source``'s.

        Raises:
            ModelError: llama.cpp refuses.
        """
        data = self._scratch(0, source)
        for target in targets:
            self.load_sequence(data, target)

    def exchange_streams(self, left: int, right: int) -> None:
        """Let two sequences change places in the cache.

        Raises:
            ModelError: llama.cpp refuses.
        """
        ours, theirs = self._scratch(0, left), self._scratch(1, right)
        self.load_sequence(theirs, left)
        self.load_sequence(ours, right)

    def _saved_bytes(self, sequence: int, flags: int = 0) -> int:
        self._check(sequence)
        return int(self._lib.llama_state_seq_get_size_ext(self.handle, sequence, flags))

    def _save_to(self, data: CellBytes, sequence: int, flags: int = 0) -> None:
        clear_errors()
        written = self._lib.llama_state_seq_get_data_ext(
            self.handle, _bytes(data), data.nbytes, sequence, flags
        )
        if written != data.nbytes:
            raise ModelError(
                f"llama.cpp cannot save its cache: {last_error() or 'no reason given'}",
                hint=_REPORT,
            )

    def _scratch(self, place: int, sequence: int) -> CellBytes:
        """A sequence's cells in memory that is used again: new memory takes longer than a copy."""
        size = self._saved_bytes(sequence)
        if len(self._buffers[place]) < size:
            self._buffers[place] = np.empty(size, np.uint8)
        data = self._buffers[place][:size]
        self._save_to(data, sequence)
        return data

    def load_sequence(self, data: CellBytes, sequence: int) -> None:
        """Replace ``sequence``'s cells by those from ``save_sequence``.

        Raises:
            ModelError: there is too little room, or a context of another kind saved the cells.
        """
        # llama.cpp would leave the old cells if there were none to restore.
        self.remove(sequence)
        self._load(data, sequence)

    def _load(self, data: CellBytes, sequence: int, flags: int = 0) -> None:
        self._check(sequence)
        clear_errors()
        read = self._lib.llama_state_seq_set_data_ext(
            self.handle, _bytes(data), data.nbytes, sequence, flags
        )
        if read != data.nbytes:
            reason = last_error() or "no reason given"
            raise ModelError(f"llama.cpp cannot restore saved cells: {reason}", hint=_REPORT)

    def _spare_id(self) -> int:
        if self._spare is None:
            raise ModelError("a stream's cells can be saved and restored only together")
        return self._spare

    def _check(self, *sequences: int) -> None:
        for sequence in sequences:
            if not 0 <= sequence < self._ids:
                raise ModelError(f"sequence id {sequence} is outside 0 to {self._ids - 1}")

    def clear(self) -> None:
        """Empty the cache."""
        self._lib.llama_memory_clear(self._memory, True)
        if self._guard is not None:
            self._guard.clear()

    def set_adapter(self, adapter: Any | None) -> None:
        """Apply one LoRA adapter (its handle) at scale 1, or none.

        The caller must clear the cache: its cells were computed with the earlier adapter.
        """
        handles = (self._lib.llama_adapter_lora_p_ctypes * 1)(adapter or None)
        scales = (ctypes.c_float * 1)(1.0)
        self._lib.llama_set_adapters_lora(self.handle, handles, 1 if adapter else 0, scales)


def _bytes(data: CellBytes) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
