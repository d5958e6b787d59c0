"""Ambient settings: flag > ``AGENTR_LITE_*`` > default. None of them changes a result."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from agentr_lite.core.errors import UsageError


def home() -> Path:
    """Where databases and adapters live: ``AGENTR_LITE_HOME``, else the XDG data directory."""
    if explicit := os.environ.get("AGENTR_LITE_HOME"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "agentr-lite"


def default_database() -> Path:
    """``AGENTR_LITE_DB``, else ``runs.db`` in ``home()``."""
    if explicit := os.environ.get("AGENTR_LITE_DB"):
        return Path(explicit).expanduser()
    return home() / "runs.db"


def config_dir() -> Path:
    """Where aliases and measured settings lie: ``AGENTR_LITE_HOME``, else XDG's configuration."""
    if explicit := os.environ.get("AGENTR_LITE_HOME"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "agentr-lite"


def models_dir() -> Path:
    """Where downloaded models lie: ``AGENTR_LITE_MODELS``, else ``models`` in ``home()``."""
    if explicit := os.environ.get("AGENTR_LITE_MODELS"):
        return Path(explicit).expanduser()
    return home() / "models"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to treat a server that offers a model. No setting here changes a result."""

    concurrency: int = 16
    """Requests in flight."""
    timeout_s: float = 300.0
    """Longest time for one attempt; the first may wait for the server to load the model."""
    retries: int = 5
    """Further attempts after a failed one."""
    key: str = field(default="", repr=False)
    """Sent to whatever server the user names."""
    openai_key: str = field(default="", repr=False)
    """Sent to OpenAI's own server only, because many people have it set for other programs."""

    def key_for(self, url: str) -> str:
        """The key to send to ``url``; empty: none.

        Raises:
            UsageError: the key to send has characters that no key has.
        """
        if self.key:
            return _sendable(self.key, "AGENTR_LITE_API_KEY")
        parts = urlsplit(url)
        own = parts.scheme == "https" and parts.hostname == "api.openai.com"
        return _sendable(self.openai_key, "OPENAI_API_KEY") if own else ""


def agentgym_login() -> str:
    """``AGENTR_LITE_AGENTGYM_LOGIN``: ``USER:PASSWORD`` for AgentGym servers; empty: none.

    Raises:
        UsageError: it has another form.
    """
    text = os.environ.get("AGENTR_LITE_AGENTGYM_LOGIN", "").strip()
    if text and ":" not in text:
        # Not repeated in the message: it may be the password alone.
        raise UsageError("AGENTR_LITE_AGENTGYM_LOGIN needs the form USER:PASSWORD")
    return text


def _sendable(key: str, variable: str) -> str:
    if key.isascii() and key.isprintable():
        return key
    # Not repeated in the message: most of it is the key.
    raise UsageError(
        f"the key in {variable} holds characters that no key has, such as an ellipsis or a line"
        " break",
        hint="Copy the key again, whole, from where it can be seen in full.",
    )


def server_settings() -> ServerSettings:
    """From ``AGENTR_LITE_SERVER_*``, ``AGENTR_LITE_API_KEY`` and ``OPENAI_API_KEY``.

    Raises:
        UsageError: a value that is not a number, or out of range.
    """
    return ServerSettings(
        concurrency=int(_number("AGENTR_LITE_SERVER_CONCURRENCY", 16, 1, 1024)),
        timeout_s=_number("AGENTR_LITE_SERVER_TIMEOUT_S", 300, 0.01, 86_400),
        retries=int(_number("AGENTR_LITE_SERVER_RETRIES", 5, 0, 100)),
        key=os.environ.get("AGENTR_LITE_API_KEY", "").strip(),
        openai_key=os.environ.get("OPENAI_API_KEY", "").strip(),
    )


def _number(name: str, default: float, low: float, high: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise UsageError(f"{name}={text}: needs a number from {low:g} to {high:g}")
    return value


def artifacts_dir(database: Path, run_id: str) -> Path:
    """Where a run's adapters and datasets lie: beside its database, in a folder named after it."""
    # Absolute: the database keeps the path, and the next command may start elsewhere.
    database = database.resolve()
    # A run's id is unique in its database only: two databases of one folder may not share this.
    return database.parent / f"{database.name}-artifacts" / run_id
