"""What works with a GGUF model, by its header alone, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.llamacpp.machine import available_bytes
from agentr_lite.actors.llamacpp.plan import keeps_windows
from agentr_lite.actors.llamacpp.windows import windowed_bytes
from agentr_lite.convert.gguf_to_hf import check_convertible
from agentr_lite.convert.names import permutes
from agentr_lite.core.errors import ModelError
from agentr_lite.runs.window_memory import usual_tokens, window_memory


@dataclass(frozen=True)
class Ability:
    """One thing that a model is used for."""

    name: str
    works: bool
    why: str


def abilities(header: Header, *, own_weights: bool) -> list[Ability]:
    """Whether a model plays, scores, trains, takes adapters, shares prefixes and fits in memory.

    llama.cpp may still refuse to load the file.

    Args:
        header: of the file.
        own_weights: whether its unquantized weights for training are known, too.
    """
    if header.metadata.get("general.type") == "adapter":
        return []
    plays, scores = "attention in all layers", "log-likelihoods of answers"
    shares = "conversations have the cells of what they have in common only once"
    if header.window:
        plays += f", in some of them over a sliding window of {header.window:,} tokens"
        if keeps_windows(header, usual_tokens(header)):
            shares = "what conversations have in common is computed once and copied"
    if header.recurrent:
        state = f"{header.state_bytes() / 1e6:,.1f} MB"
        plays = f"recurrent layers; their state takes {state} for each conversation"
        scores += ", on copies of the state"
        shares = "what conversations have in common is computed once and copied, from saved states"
    return [
        Ability("play", True, plays),
        Ability("score", True, scores),
        Ability("train", *_training(header, own_weights)),
        Ability("adapter", True, "a LoRA adapter in a GGUF file, for matrices of this model"),
        Ability("sharing", True, shares),
        Ability("memory", *_memory(header)),
    ]


def _memory(header: Header) -> tuple[bool, str]:
    """Whether the file and one conversation fit in what is free, and how much that is."""
    tokens = usual_tokens(header)
    if keeps_windows(header, tokens):
        conversation, less = windowed_bytes(header, tokens), ""
    else:
        conversation = tokens * header.cell_bytes() + header.state_bytes()
        less = ", less what they share"
    needed = header.file_bytes + conversation
    windows = window_memory(header, tokens)
    return needed <= available_bytes(), (
        f"{needed / 1e9:,.2f} GB with a conversation of {tokens:,} tokens; each more"
        f" {conversation / 1e6:,.1f} MB{less}" + (f"; {windows}" if windows else "")
    )


def _training(header: Header, own_weights: bool) -> tuple[bool, str]:
    try:
        permutes(header.architecture)
    except ModelError:
        return False, (f"adapters of '{header.architecture}' cannot be converted to GGUF yet")
    if own_weights:
        return True, "from the unquantized weights"
    try:
        check_convertible(header.path)
    except ModelError as error:
        return False, f"{error.message.partition(': ')[2] or error.message}; {error.hint}"
    return True, "from this file"
