"""The known servers: what they understand beyond OpenAI's interface, and what they lack.

Sources: vLLM's ``entrypoints/openai`` and ``v1/engine/parallel_sampling.py``; SGLang's
``srt/entrypoints/openai``; llama.cpp's ``tools/server``; Ollama's and LM Studio's pages on OpenAI
compatibility.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from agentr_lite.actors.openai.client import Client, Refusal
from agentr_lite.core.errors import ModelError
from agentr_lite.core.suggestions import did_you_mean


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One kind of server."""

    name: str
    several: bool = False
    """One request may ask for several samples, and each is drawn with its own seed."""
    neutral: Mapping[str, Any] = field(default_factory=dict)
    """Fields that switch off sampling settings which the server or the model's files would add."""
    cuts: tuple[str, ...] = ("top_k", "min_p")
    """The sampling settings among these two that it follows."""
    template_switches: bool = False
    """It accepts ``chat_template_kwargs``."""
    max_tokens_key: str = "max_tokens"
    tokenizes: bool = False
    """It gives the token ids of a conversation at ``/tokenize``."""
    grammars: tuple[tuple[str, ...], ...] = ()
    """The places in a request where a GBNF grammar may be, in the order to try them."""


VLLM = ServerKind(
    "vLLM",
    several=True,
    neutral={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    template_switches=True,
    tokenizes=True,
    grammars=(("structured_outputs", "grammar"), ("guided_grammar",)),
)
SGLANG = ServerKind(
    "SGLang",
    # With a seed, its several samples may be equal.
    neutral={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    template_switches=True,
    grammars=(("ebnf",),),
)
LLAMA_SERVER = ServerKind(
    "llama-server",
    several=True,
    neutral={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
    template_switches=True,
    grammars=(("grammar",),),
)
OLLAMA = ServerKind("Ollama", cuts=())
LM_STUDIO = ServerKind("LM Studio", neutral={"repeat_penalty": 1.0}, cuts=("top_k",))
OPENAI = ServerKind("OpenAI", several=True, cuts=(), max_tokens_key="max_completion_tokens")
UNKNOWN = ServerKind("OpenAI-compatible server", grammars=(("grammar",),))

KINDS = (VLLM, SGLANG, LLAMA_SERVER, OLLAMA, LM_STUDIO, OPENAI)

_OWNERS = {
    "vllm": VLLM,
    "sglang": SGLANG,
    "llamacpp": LLAMA_SERVER,
    "library": OLLAMA,
    "organization_owner": LM_STUDIO,
    "organization-owner": LM_STUDIO,
}


_LONGEST_NAME = 1000
"""Characters; a path may be a name."""
_COMPARED = 200
"""Names of a list in which a similar one is looked for."""
_MOST_CONTEXT = 2**31


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server offers."""

    kind: ServerKind
    model: str
    context_tokens: int | None
    """Longest conversation with its answer; None if the server does not tell."""
    facts: Mapping[str, Any]
    """The server's facts about the model that identify it."""


async def find_model(client: Client) -> Served:
    """Find the model that the spec means in the server's list.

    Raises:
        ModelError: the server cannot be reached, has no such model, or has several and the spec
            names none.
    """
    spec = client.spec
    try:
        answer = await client.get("/models")
    except Refusal as refusal:
        # Some gateways have no list; the first request shows whether the model exists.
        if refusal.status not in (404, 405, 501) or not spec.model:
            raise
        return Served(_by_address(spec.host) or UNKNOWN, spec.model, None, {})
    rows = answer.get("data")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = [name for row in rows if (name := _name(row))]
    kind = _by_address(spec.host) or _by_owner(rows)
    if not spec.model:
        if len(names) != 1 or len(rows) != 1:
            raise ModelError(
                f"the server at {spec.url} has {_listed(names)}; name one",
                hint=f"--model 'openai:{spec.url}#{names[0] if names else 'NAME'}'",
            )
        return _served(kind, rows[0], names[0])
    for row in rows:
        aliases = row.get("aliases")
        known = [row.get("id"), *(aliases if isinstance(aliases, list) else [])]
        if spec.model in known or f"{spec.model}:latest" in known:
            return _served(kind, row, spec.model)
    if kind is UNKNOWN or not names:
        # mlx_lm.server, for example, lists cached files, not the model that it serves.
        return Served(kind, spec.model, None, {})
    raise ModelError(
        f"the server at {spec.url} has no model"
        f" '{spec.model}'{did_you_mean(spec.model, names[:_COMPARED])};"
        f" it has {_listed(names)}",
        hint=f"--model 'openai:{spec.url}#{names[0]}'",
    )


def _by_address(host: str) -> ServerKind | None:
    return OPENAI if host == "api.openai.com" else None


def _by_owner(rows: Sequence[Mapping[str, Any]]) -> ServerKind:
    for row in rows:
        owner = row.get("owned_by")
        kind = _OWNERS.get(owner.lower()) if isinstance(owner, str) else None
        if kind is not None:
            return kind
    return UNKNOWN


def _served(kind: ServerKind, row: Mapping[str, Any], model: str) -> Served:
    meta = row.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    context = row.get("max_model_len") or meta.get("n_ctx")
    facts = {key: meta[key] for key in ("n_params", "n_vocab", "n_embd", "size") if key in meta}
    facts = {key: value for key, value in facts.items() if type(value) in (int, float)}
    root = row.get("root")
    if isinstance(root, str) and len(root) <= _LONGEST_NAME:
        facts["root"] = root
    return Served(kind, _name(row) or model, context if _is_context(context) else None, facts)


def _is_context(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= _MOST_CONTEXT


def _name(row: Mapping[str, Any]) -> str:
    """The model's name; empty if the row has none that could be one."""
    name = row.get("id")
    return name if isinstance(name, str) and len(name) <= _LONGEST_NAME else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{shown}{more}" if names else "no models"
