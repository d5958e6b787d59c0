"""A loaded GGUF model and its vocabulary, without any state of a conversation."""

from __future__ import annotations

import ctypes
import re
from functools import cached_property
from pathlib import Path

from agentr_lite.actors.llamacpp.amx import repacks
from agentr_lite.actors.llamacpp.gguf_header import check_model_file
from agentr_lite.actors.llamacpp.library import (
    clear_errors,
    last_error,
    load_library,
    uses_gpu,
)
from agentr_lite.actors.llamacpp.trial import check_opens
from agentr_lite.core.errors import ModelError

_CONTROL_LIKE = re.compile(r"<\|\S+\|>")
_LSTRIP, _RSTRIP = 1 << 7, 1 << 8
"""LLAMA_TOKEN_ATTR_LSTRIP and RSTRIP: such a special token swallows the spaces beside it."""


def check_vocabulary(path: Path) -> None:
    """Let llama.cpp read a file's settings and vocabulary, without its weights.

    Args:
        path: a GGUF file whose header has been checked.

    Raises:
        ModelError: llama.cpp refuses the file, e.g. because it does not know the architecture.
    """
    check_opens(path)
    lib = load_library()
    clear_errors()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    handle = lib.llama_model_load_from_file(str(path).encode(), params)
    if not handle:
        raise _not_loadable(path)
    lib.llama_model_free(handle)


def _not_loadable(path: Path) -> ModelError:
    reason = last_error()
    hint = "The file may be damaged, or this llama.cpp may not know its architecture."
    if re.search(r"alloc|out of memory", reason):
        hint = "Close other programs, or use a smaller model or a smaller quantization of it."
        if uses_gpu():
            hint += " With CUDA_VISIBLE_DEVICES= (empty), the processor computes in RAM instead."
    return ModelError(f"llama.cpp cannot load {path}: {reason or 'no reason given'}", hint=hint)


class Model:
    """Weights, shared by all contexts.

    Attributes:
        handle: ``llama_model *``.
        n_vocab: rows of the vocabulary, the width of a row of logits.
        recurrent: whether some layers keep a state of the whole text instead of each token's keys
            and values. Such a state can be copied and saved, but nothing can be taken back from it.
        has_cells: whether some layers keep keys and values.
        on_gpu: whether a GPU may compute something.
        vocab: ``llama_vocab *``, the model's own.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = -1,
        tried: bool = False,
        repacked: bool | None = None,
    ) -> None:
        """Check the file's header, open it in a child process if it is unknown, then load it.

        Args:
            path: a GGUF file.
            n_gpu_layers: layers to compute on GPUs; -1: all, 0: no GPU is used for anything.
            tried: open it in this process, known or not.
            repacked: let llama.cpp rearrange quantized weights; default: where that is safe.

        Raises:
            ModelError: the file is missing, truncated, no GGUF file or no text decoder, or
                llama.cpp refuses it.
        """
        self.path = path
        self.header = check_model_file(path)
        if not tried:
            check_opens(path)
        lib = self._lib = load_library()
        clear_errors()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        self.on_gpu = uses_gpu() and n_gpu_layers != 0
        if n_gpu_layers == 0:
            # Without layers, llama.cpp would still compute large batches on a GPU. An empty list of
            # devices, which ends with NULL, leaves none.
            self._devices = (ctypes.c_void_p * 1)(None)
            params.devices = ctypes.addressof(self._devices)
        params.use_extra_bufts = repacks() if repacked is None else repacked
        self.handle = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise _not_loadable(path)
        if (
            not lib.llama_model_has_decoder(self.handle)
            or lib.llama_model_has_encoder(self.handle)
            or lib.llama_model_is_diffusion(self.handle)
        ):
            architecture = self.header.architecture
            self.close()
            raise ModelError(
                f"{path} is a '{architecture}' model: only models that continue a text can play",
                hint="Use a llama, qwen, gemma, lfm2 or similar instruct model.",
            )
        self.has_cells = not lib.llama_model_is_recurrent(self.handle)
        self.recurrent = not self.has_cells or bool(lib.llama_model_is_hybrid(self.handle))
        if self.recurrent and not self.header.recurrent:
            architecture = self.header.architecture
            self.close()
            raise ModelError(
                f"{path} is a '{architecture}' model: the size of its recurrent layers' state is"
                " not known, so its memory cannot be planned",
                hint="Use another model, e.g. a llama, qwen35, lfm2, granitehybrid or gemma model.",
            )
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self.is_bpe = lib.llama_vocab_type(self.vocab) == lib.LLAMA_VOCAB_TYPE_BPE
        self.bos = int(lib.llama_vocab_bos(self.vocab))
        self.eos = int(lib.llama_vocab_eos(self.vocab))
        self.adds_bos = bool(lib.llama_vocab_get_add_bos(self.vocab)) and self.bos >= 0
        self.n_ctx_train = int(lib.llama_model_n_ctx_train(self.handle))
        self.n_params = int(lib.llama_model_n_params(self.handle))
        self.end_tokens: frozenset[int] = frozenset(
            token for token in range(self.n_vocab) if lib.llama_vocab_is_eog(self.vocab, token)
        )
        self._pieces: dict[int, bytes] = {}

    def close(self) -> None:
        """Free the weights; contexts and adapters must be closed before."""
        if self.handle:
            self._lib.llama_model_free(self.handle)
            self.handle = None

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ``text``. Special tokens are recognised; no token is added."""
        return self._tokenize(text, parse_special=True)

    def plain(self, text: str) -> list[int]:
        """Token ids of ``text``. The spelling of a control token is text like any other."""
        # llama.cpp retypes some control tokens (harmony's) so that they are found in any text.
        parts = self._retyped.split(text) if self._retyped is not None else [text]
        return [
            token for part in parts if part for token in self._tokenize(part, parse_special=False)
        ]

    def _tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        raw = text.encode()
        size = len(raw) + 8
        while True:
            buffer = (ctypes.c_int32 * size)()
            count = self._lib.llama_tokenize(
                self.vocab, raw, len(raw), buffer, size, False, parse_special
            )
            if count >= 0:
                return buffer[:count]
            size = -count

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` adds to the text; nothing for control tokens."""
        known = self._pieces.get(token)
        if known is not None:
            return known
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
            if count >= 0:
                break
            size = -count
        self._pieces[token] = buffer.raw[:count]
        return self._pieces[token]

    def token_text(self, token: int) -> str:
        """The vocabulary's own spelling, e.g. of a special token; empty for -1."""
        if token < 0:
            return ""
        text = self._lib.llama_vocab_get_text(self.vocab, token)
        return text.decode("utf-8", "replace") if text else ""

    def special_tokens(self) -> list[str]:
        """Texts that ``tokenize`` always turns into a single token, longest first.

        They belong to control, unknown and user-defined tokens.
        """
        lib = self._lib
        spellings = self._spellings(
            lib.LLAMA_TOKEN_ATTR_CONTROL
            | lib.LLAMA_TOKEN_ATTR_UNKNOWN
            | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        )
        return sorted(spellings, key=lambda text: (-len(text), text))

    def control_tokens(self) -> dict[str, int]:
        """Spelling to id of the tokens that ``plain`` never gives: control and unknown ones."""
        lib = self._lib
        control = self._spellings(lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN)
        return {**control, **self._retyped_tokens}

    def stripping_tokens(self) -> dict[str, tuple[bool, bool]]:
        """Special tokens that swallow the white space (before them, after them)."""
        attr = self._lib.llama_vocab_get_attr
        return {
            text: (bool(attr(self.vocab, token) & _LSTRIP), bool(attr(self.vocab, token) & _RSTRIP))
            for text, token in self._spellings(_LSTRIP | _RSTRIP).items()
        }

    @cached_property
    def _retyped_tokens(self) -> dict[str, int]:
        """User-defined tokens that are spelled like control tokens."""
        defined = self._spellings(self._lib.LLAMA_TOKEN_ATTR_USER_DEFINED)
        return {text: token for text, token in defined.items() if _CONTROL_LIKE.fullmatch(text)}

    @cached_property
    def _retyped(self) -> re.Pattern[str] | None:
        """Matches the place inside such a spelling where a text is cut, so that none is found."""
        if not self._retyped_tokens:
            return None
        rests = sorted((text[2:] for text in self._retyped_tokens), key=len, reverse=True)
        return re.compile(r"(?<=<\|)(?=" + "|".join(map(re.escape, rests)) + ")")

    def _spellings(self, attributes: int) -> dict[str, int]:
        """Spelling to id of the tokens with one of the attributes."""
        attr = self._lib.llama_vocab_get_attr
        spellings = {
            self.token_text(token): token
            for token in range(self.n_vocab)
            if attr(self.vocab, token) & attributes
        }
        spellings.pop("", None)
        return spellings
