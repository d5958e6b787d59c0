"""Logits straight from llama.cpp, with exact (f32) keys and values, to compare others with."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from agentr_lite.actors.llamacpp.amx import repacks
from agentr_lite.actors.llamacpp.library import load_library


def llama_tokens(path: Path, text: str) -> list[int]:
    """llama.cpp's token ids of ``text``, special tokens recognised."""
    lib = load_library()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    assert model
    raw = text.encode()
    ids = (lib.llama_token * (len(raw) + 8))()
    vocab = lib.llama_model_get_vocab(model)
    count = lib.llama_tokenize(vocab, raw, len(raw), ids, len(ids), False, True)
    lib.llama_model_free(model)
    assert count >= 0
    return list(ids[:count])


def llama_logits(path: Path, tokens: list[int], adapter: Path | None = None) -> np.ndarray:
    """Logits after each token, shape (tokens, vocabulary)."""
    lib = load_library()
    params = lib.llama_model_default_params()
    params.use_extra_bufts = repacks()
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    assert model, f"llama.cpp refuses {path}"
    context = _context(lib, model, len(tokens))
    if adapter is not None:
        lora = lib.llama_adapter_lora_init(model, str(adapter).encode())
        assert lora, f"llama.cpp refuses {adapter}"
        one = (lib.llama_adapter_lora_p_ctypes * 1)(lora)
        assert lib.llama_set_adapters_lora(context, one, 1, (ctypes.c_float * 1)(1.0)) == 0
    batch = lib.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, 1
    assert lib.llama_decode(context, batch) == 0
    width = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    rows = [np.array(lib.llama_get_logits_ith(context, i)[:width]) for i in range(len(tokens))]
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return np.stack(rows)


def _context(lib: object, model: object, size: int) -> object:
    params = lib.llama_context_default_params()  # type: ignore[attr-defined]
    params.n_ctx = params.n_batch = params.n_ubatch = max(size, 64)
    params.n_threads = params.n_threads_batch = 1
    # The defaults, f16 keys and values and flash attention, cost 0.01 in the logits by themselves.
    params.flash_attn_type = 0
    params.type_k = params.type_v = 0
    context = lib.llama_init_from_model(model, params)  # type: ignore[attr-defined]
    assert context
    return context
