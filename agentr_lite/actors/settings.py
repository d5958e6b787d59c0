"""The settings with which an actor is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It imports jinja2, which a command may not need.
    from agentr_lite.actors.chat.encoder import History


@dataclass(frozen=True, slots=True)
class ActorSettings:
    """Which model to load, and how."""

    model: str = "starter"
    """``starter``, a GGUF file, a named model, ``mlx:DIRECTORY`` or ``openai:URL#MODEL``."""
    context_tokens: int = 4096
    """Longest conversation with its answer."""
    chat_template: Path | None = None
    """A Jinja file to use instead of the model's own chat template."""
    history: History = "exact"
    """How finished turns become tokens: as they were played, or as the template renders them."""
    thinking: int = 0
    """Most tokens of thoughts before an answer; 0: the model does not think."""
    deterministic: bool = False
    """Answer each request by itself, so that its answers do not depend on other requests."""
    live_tokens: int | None = None
    """Most tokens of all conversations that are in play at a time; None: unknown. No cache is
    larger than this."""
    threads: int | None = None
    """CPU threads of llama.cpp; None: the physical cores that this process may use."""
    grammar: bool = False
    """Whether answers will have to follow a grammar; a back end that cannot do this is refused."""
