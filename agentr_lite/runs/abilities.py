"""What works with a GGUF model, by its header alone."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.convert.hf_settings import check_settings
from agentr_lite.convert.names import permutes
from agentr_lite.core.errors import ModelError


@dataclass(frozen=True)
class Ability:
    """One thing that a model is used for."""

    name: str
    works: bool
    why: str


def abilities(header: Header, *, own_weights: bool) -> list[Ability]:
    """Whether a model plays, scores, trains and takes adapters.

    llama.cpp may still refuse to load the file.

    Args:
        header: of the file.
        own_weights: whether its unquantized weights for training are known, too.
    """
    if header.metadata.get("general.type") == "adapter":
        return []
    plays = "prefixes are shared in the cache"
    scores = "log-likelihoods of answers"
    if header.recurrent:
        state = f"{header.state_bytes() / 1e6:,.1f} MB"
        plays = f"recurrent layers; their state takes {state} for each conversation"
        scores += ", on copies of the state"
    return [
        Ability("play", True, plays),
        Ability("score", True, scores),
        Ability("train", *_training(header, own_weights)),
        Ability("adapter", True, "a LoRA adapter in a GGUF file, for matrices of this model"),
    ]


def _training(header: Header, own_weights: bool) -> tuple[bool, str]:
    try:
        permutes(header.architecture)
    except ModelError:
        return False, (f"adapters of '{header.architecture}' cannot be converted to GGUF yet")
    if own_weights:
        return True, "from the unquantized weights"
    try:
        check_settings(header)
    except ModelError as error:
        return False, f"{error.message.partition(': ')[2]}; {error.hint}"
    return True, "from this file"
