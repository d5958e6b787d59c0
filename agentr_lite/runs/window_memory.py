"""Which cells the sliding windows of a model keep, and what both ways take, in words."""

from __future__ import annotations

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.llamacpp.plan import keeps_windows
from agentr_lite.actors.llamacpp.windows import saves_memory, windowed_bytes

_TOKENS = 4096


def usual_tokens(header: Header) -> int:
    """Length of the conversation whose memory is told: 4,096 tokens, or what the model allows."""
    return min(_TOKENS, header.architecture_value("context_length") or _TOKENS)


def window_memory(header: Header, context_tokens: int) -> str:
    """Which cells layers with a sliding window keep, and what both ways take; empty: no windows.

    Args:
        header: of the model.
        context_tokens: longest conversation.
    """
    if not header.window:
        return ""
    layers = f"layers with a sliding window of {header.window:,} tokens"
    if not saves_memory(header, context_tokens):
        return f"{layers} keep the cells of all {context_tokens:,} tokens: windows would save none"
    whole = f"{context_tokens * header.cell_bytes() / 1e6:,.1f} MB"
    alone = f"{windowed_bytes(header, context_tokens) / 1e6:,.1f} MB"
    if keeps_windows(header, context_tokens):
        return (
            f"{layers} keep the window's cells only: {alone} for a conversation of"
            f" {context_tokens:,} tokens, because {whole} for the cells of all tokens are more than"
            " is free"
        )
    return (
        f"{layers} keep the cells of all tokens, which conversations share: {whole} for one of"
        f" {context_tokens:,} tokens, or {alone} if memory were too short for it"
    )
