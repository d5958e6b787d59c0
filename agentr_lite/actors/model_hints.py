"""What a model's name means that is neither a known name nor a file, and the command to use.

Names come from other programs and from the hub: a repository, a model of Ollama, one behind a
service's API, an old base model. Each has a way that works here, or one that is near.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.actors.download import catalog
from agentr_lite.actors.download.catalog import CatalogModel
from agentr_lite.core.suggestions import did_you_mean

_OPENAI = "https://api.openai.com/v1"
_SERVERS = {
    "ollama": ("Ollama", "http://localhost:11434/v1"),
    "lmstudio": ("LM Studio", "http://localhost:1234/v1"),
    "vllm": ("vLLM", "http://localhost:8000/v1"),
    "hosted_vllm": ("vLLM", "http://localhost:8000/v1"),
    "sglang": ("SGLang", "http://localhost:30000/v1"),
    "llamacpp": ("llama-server", "http://localhost:8080/v1"),
    "llama-server": ("llama-server", "http://localhost:8080/v1"),
    "openai": ("OpenAI", _OPENAI),
}
"""How other programs begin the name of a server's model: its name and its usual address."""

_HOSTED = re.compile(
    r"(claude|gemini|grok|command-r|deepseek-(chat|reasoner)|(mistral|codestral|magistral)-\w+-latest)"
    r"([-.\d:@/].*)?$"
)
"""Models that only a service has."""
_OF_OPENAI = re.compile(r"(chatgpt-|gpt-(3|4|5|oss-)|o[1-9](-|$))")
_PLAIN_BASES = re.compile(
    r"(distil)?gpt-?2|gpt-(neo|j)|opt-\d|pythia|bloom|(distil|ro)?bert|t5|tinystories|cerebras-gpt"
)
"""Base models from before there were chat templates; what their names begin with."""
_HUB_PREFIX = re.compile(
    r"(https?://(www\.)?(huggingface\.co|hf\.co)/|hf:(//)?|huggingface:|hf\.co/)"
)
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+(/[\w./-]+\.gguf)?$")
"""``OWNER/REPOSITORY``, or a file in one."""
_ADDRESS = re.compile(r"https?://")
_COPY = re.compile(r"(.+)-(f16|q8_0|q4_k_m)$")
"""The name that `models copy` gives to a copy: the original's, and the type."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name is taken for."""

    what: str
    """A clause that follows ``no model 'NAME': ``."""
    hint: str
    """Sentences that name the command."""
    is_known: bool = True
    """False for a name that only looks like something, or like nothing."""


def meaning_of(spec: str, names: Sequence[str] = ()) -> Meaning:
    """What somebody may have meant by a name that is neither known nor a file.

    Args:
        spec: as it was typed.
        names: further names that are known, such as those that the user has given.
    """
    name = _HUB_PREFIX.sub("", spec, count=1).rstrip("/")
    server = _server(spec)
    item = _catalog_item(name) if server is None else None
    if item is not None and item.name in names:
        return Meaning(f"it is '{item.name}' here", f"Use --model {item.name}.")
    if item is not None:
        return Meaning(f"it is '{item.name}' here, and has not been downloaded", _pull(item))
    return (
        server
        or _copy(name, names)
        or _hosted(name)
        or _plain_base(name)
        or _hub(name if _is_repository(name) else "")
        or _family(name)
        or _path(spec)
        or Meaning(
            "neither a known name nor an existing GGUF file"
            + did_you_mean(spec, [*names, *(item.name for item in catalog.CATALOG)]),
            "`agentr-lite models` lists the names; a path to a .gguf file works too.",
            is_known=False,
        )
    )


def _catalog_item(name: str) -> CatalogModel | None:
    """The model of the catalog that a name means, in the catalog's, the hub's or Ollama's words."""
    short = _letters(name)
    for item in catalog.CATALOG:
        repositories = [item.train_repo, *(getattr(place, "repo", "") for place in item.places)]
        if short in {_letters(item.name), *(_letters(repo) for repo in repositories if repo)}:
            return item
    return None


def _letters(name: str) -> str:
    """A model's name without its owner, its separators and what all instruct models are called."""
    base = name.lower().rpartition("/")[2]
    base = re.sub(r"[-_.:](gguf|instruct|it|bf16|chat|latest)(?=$|[-_.:])", "", base)
    return re.sub(r"[^a-z0-9]", "", base)


def _pull(item: CatalogModel) -> str:
    use = f"then use it with --model {item.name}."
    if item.train_repo:
        return (
            f"`agentr-lite models pull {item.name}` downloads it, and with --train also its weights"
            f" for training; {use}"
        )
    return f"`agentr-lite models pull {item.name}` downloads it; {use}"


def _copy(name: str, names: Sequence[str]) -> Meaning | None:
    """A copy that has not been made, of a model that is known."""
    match = _COPY.match(name)
    if match is None:
        return None
    original, kind = match.groups()
    pull = ""
    if original not in names:
        if original not in {item.name for item in catalog.CATALOG}:
            return None
        pull = f"`agentr-lite models pull {original}` downloads the original if it is missing; "
    return Meaning(
        f"it is the name of a copy of '{original}', which has not been made",
        f"{pull}`agentr-lite models copy {original} --type {kind}` makes the copy.",
    )


def _server(spec: str) -> Meaning | None:
    if _ADDRESS.match(spec) and not _HUB_PREFIX.match(spec):
        return Meaning("it is a server's address", f"Use --model openai:{spec}#NAME.")
    match = re.match(r"([a-z_-]+)(:/{0,2}|/)(.+)$", spec, re.IGNORECASE)
    known = _SERVERS.get(match[1].lower()) if match else None
    if known is None or match is None:
        return None
    server, address = known
    return Meaning(
        f"models of {server} have the form openai:URL#NAME",
        f"Use --model openai:{address}#{match[3]}" + _limits(address),
    )


def _hosted(name: str) -> Meaning | None:
    lower = name.lower()
    if _OF_OPENAI.match(lower):
        return Meaning(
            "models of OpenAI have the form openai:URL#NAME",
            f"Use --model openai:{_OPENAI}#{name}" + _limits(_OPENAI),
        )
    bare = lower.rpartition("/")[2]
    if _HOSTED.match(bare):
        return Meaning(
            "it is a service's model, which has no file",
            f"Use --model openai:URL#{bare} with the URL of the service's OpenAI-compatible API"
            + _limits("https://"),
        )
    return None


def _limits(address: str) -> str:
    key = "" if address.startswith("http://localhost") else " The key is AGENTR_LITE_API_KEY."
    return f".{key} It can play and search, but not be trained (docs/models.md)."


def _plain_base(name: str) -> Meaning | None:
    if not _PLAIN_BASES.match(name.lower().rpartition("/")[2]):
        return None
    smallest = catalog.CATALOG[0]
    return Meaning(
        "it is a base model, which follows no instructions",
        f"An instruct model is needed: {_pull(smallest)}",
    )


def _is_repository(text: str) -> bool:
    """Whether a text names a repository, or a file in one, rather than a path."""
    if not _REPOSITORY.match(text) or Path(text.partition("/")[0]).is_dir():
        return False
    return text.count("/") > 1 or not text.endswith(".gguf")


def _hub(repository: str) -> Meaning | None:
    if not repository:
        return None
    name = re.sub(r"-gguf$", "", repository.split("/")[1].lower())
    return Meaning(
        "it has the form of a repository on the Hugging Face hub",
        f"`agentr-lite models pull {repository} --as {name}` downloads its GGUF file, then use"
        f" --model {name}. The names of repositories with such a file mostly end in -GGUF.",
        is_known=False,
    )


def _family(name: str) -> Meaning | None:
    match = re.match(r"[a-z]+", name.lower())
    if match is None or "/" in name or name.endswith(".gguf"):
        return None
    members = [
        item.name
        for item in catalog.CATALOG
        if re.fullmatch(rf"{match[0]}[^a-z].*", item.name) is not None
    ]
    if not members:
        return None
    return Meaning(
        f"the known models of this family are {', '.join(members)}",
        f"`agentr-lite models pull {members[0]}` downloads one; a path to a .gguf file works too.",
    )


def _path(spec: str) -> Meaning | None:
    path = Path(spec).expanduser()
    if path.suffix.lower() not in (".gguf", ".safetensors", ".bin", ".pt") and "/" not in spec:
        return None
    folder = path.parent
    if folder.is_dir():
        files = sorted(file.name for file in folder.glob("*.gguf"))
        close = did_you_mean(path.name, files)
        hint = f"{folder.resolve()} {_content(files)}."
        return Meaning(f"there is no such file{close}", hint, is_known=False)
    return Meaning(
        f"there is no folder {folder}",
        "Check the path; `agentr-lite models` lists the models that have a name.",
        is_known=False,
    )


def _content(files: Sequence[str]) -> str:
    if not files:
        return "holds no .gguf file"
    return f"holds {', '.join(files[:5])}" + (
        f" and {len(files) - 5} more" if len(files) > 5 else ""
    )
