"""The chat template in a model's files, read without loading the model or its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.actors.chat.encoder import ChatEncoder, History
from agentr_lite.actors.chat.template import ChatTemplate, model_template
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.llamacpp.gguf_header import read_header, token_text
from agentr_lite.core.json_values import JsonError, read_json_object


@dataclass(frozen=True, slots=True)
class FileTemplate:
    """A model's chat template, compiled and tried."""

    template: ChatTemplate
    eos: str
    """Spelling of the end token."""

    def encoder(self, history: History) -> ChatEncoder:
        """An encoder that refuses what the model's own encoder refuses; its tokens mean nothing.

        Args:
            history: how finished turns become tokens.
        """
        return ChatEncoder(self.template, Tokenizer(_NoVocabulary()), eos=self.eos, history=history)


def gguf_template(
    path: Path, override: Path | None = None, *, thinking: bool = False
) -> FileTemplate:
    """The template of a GGUF file.

    Args:
        path: the file.
        override: a Jinja file to use instead.
        thinking: turns begin with thoughts.

    Raises:
        ModelError: the file cannot be read, or has no usable template.
    """
    header = read_header(path)
    bos, eos = (
        token_text(header, header.metadata.get(f"tokenizer.ggml.{name}_token_id"))
        for name in ("bos", "eos")
    )
    template = model_template(
        path, header.chat_template, override=override, bos=bos, eos=eos, thinking=thinking
    )
    return FileTemplate(template, eos)


def directory_template(
    directory: Path, override: Path | None = None, *, thinking: bool = False
) -> FileTemplate:
    """The template of a directory in MLX's or Hugging Face's format.

    Args:
        directory: the model.
        override: a Jinja file to use instead.
        thinking: turns begin with thoughts.

    Raises:
        ModelError: there is no usable template.
    """
    config = {
        **_json(directory / "special_tokens_map.json"),
        **_json(directory / "tokenizer_config.json"),
    }
    own = config.get("chat_template")
    beside = directory / "chat_template.jinja"
    if beside.is_file():
        # Source: transformers, which reads the file rather than the key.
        own = beside.read_text("utf-8", "replace")
    bos, eos = _spelling(config.get("bos_token")), _spelling(config.get("eos_token"))
    text = own if isinstance(own, str) and own.strip() else None
    return FileTemplate(
        model_template(directory, text, override=override, bos=bos, eos=eos, thinking=thinking), eos
    )


def _json(path: Path) -> Mapping[str, Any]:
    """An object in a file; empty where there is none."""
    try:
        return read_json_object(path)
    except (OSError, JsonError):
        return {}


def _spelling(token: Any) -> str:
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else ""


class _NoVocabulary:
    """Every text is one and the same token: a template refuses texts, not tokens."""

    is_bpe = False
    adds_bos = False
    bos = -1

    def tokenize(self, text: str) -> list[int]:
        return [0]

    def plain(self, text: str) -> list[int]:
        return [0]

    def special_tokens(self) -> list[str]:
        return []

    def control_tokens(self) -> dict[str, int]:
        return {}

    def stripping_tokens(self) -> dict[str, tuple[bool, bool]]:
        return {}

    def piece(self, token: int) -> bytes:
        return b""
