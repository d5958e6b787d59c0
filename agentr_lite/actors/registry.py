"""Finds a model's files by its name, checks them, and opens the actor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.actors import named_models
from agentr_lite.actors.mlx.spec import is_mlx, model_directory
from agentr_lite.actors.openai.spec import PREFIX, is_server, parse_spec
from agentr_lite.core.errors import ModelError

if TYPE_CHECKING:
    from agentr_lite.actors.base import Actor
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor
    from agentr_lite.actors.mlx.actor import MlxActor
    from agentr_lite.actors.settings import ActorSettings

STARTER = "starter"
_STARTER_DIR = Path(__file__).parents[1] / "starter" / "model"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's weights are."""

    gguf: Path
    """The file for inference; for MLX, the model's directory."""
    train_dir: Path | None
    """The same weights for training, in the MLX/HF layout; None if not known."""
    name: str
    """``starter``, a name from the user's list, or the file's stem."""


def expand(spec: str) -> str:
    """The model that a name in the user's list stands for; any other text unchanged.

    Raises:
        ModelError: the list is damaged.
    """
    entry = named_models.find(spec) if spec != STARTER else None
    return entry.model if entry is not None else spec


def resolve_model(spec: str) -> ModelFiles:
    """Find the files of ``starter``, of a name in the user's list, or of a path.

    ``~`` is expanded.

    Raises:
        ModelError: it is neither a known name nor an existing file, or it is a server's model.
    """
    if spec == STARTER:
        files = ModelFiles(_STARTER_DIR / "starter.gguf", _STARTER_DIR / "mlx", STARTER)
        if not files.gguf.is_file() or not (_STARTER_DIR / "mlx").is_dir():
            raise ModelError(
                f"the bundled starter model is missing from this installation ({_STARTER_DIR})",
                hint="Install agentr-lite again, or give a model: --model /path/to/model.gguf",
            )
        return files
    entry = named_models.find(spec)
    if entry is not None:
        files = resolve_model(entry.model)
        train_dir = Path(entry.train_model) if entry.train_model else files.train_dir
        return replace(files, name=spec, train_dir=train_dir)
    if is_server(spec):
        raise ModelError(
            f"{spec} is a server's model: it has no files on this machine",
            hint="Give a GGUF file here.",
        )
    if is_mlx(spec):
        directory = model_directory(spec)
        return ModelFiles(directory, directory, directory.resolve().name)
    path = Path(spec).expanduser()
    if path.is_dir():
        names = sorted(file.name for file in path.glob("*.gguf"))[:5]
        raise ModelError(
            f"{path} is a directory, not a GGUF file",
            hint=f"It holds {', '.join(names)}: name one."
            if names
            else f"Give a .gguf file, or --model mlx:{path} to run it with MLX.",
        )
    if not path.is_file():
        raise _missing(spec)
    return ModelFiles(path, None, path.stem)


def check_model(spec: str) -> None:
    """Refuse a model file that is missing, damaged or of the wrong kind, without loading it.

    The bundled model is not checked; for a server, only the address is checked.

    Raises:
        ModelError: the model cannot be used.
    """
    if spec == STARTER:
        return
    if is_server(expand(spec)):
        parse_spec(expand(spec))
        return
    files = resolve_model(spec)
    if is_mlx(expand(spec)):
        return
    from agentr_lite.actors.llamacpp.gguf_header import check_model_file

    check_model_file(files.gguf)


def check_grammars(spec: str, texts: Iterable[str]) -> None:
    """Refuse grammars that cannot be followed, without loading the model.

    A server's model is not checked: only its answers show whether it follows grammars.

    Args:
        spec: the model, as for ``expand``.
        texts: GBNF; empty texts are skipped.

    Raises:
        GrammarError: one of the grammars is not well formed, or too large.
    """
    wanted = [text for text in texts if text]
    if not wanted or is_server(expand(spec)):
        return
    from agentr_lite.actors.grammar.matcher import try_grammar

    for text in wanted:
        try_grammar(text)


def check_adapter(spec: str, path: Path) -> None:
    """Refuse an adapter that a model's back end cannot use, without loading it.

    Args:
        spec: the model, as for ``expand``.
        path: a GGUF file; for MLX, the directory that mlx-lm wrote.

    Raises:
        ModelError: the adapter is missing, of another format or for another base, or the model is
            a server's.
    """
    if is_server(expand(spec)):
        raise ModelError(
            f"{spec} is a server's model: it cannot load adapter {path}",
            hint="Give the GGUF file of the same model: --model FILE.gguf.",
        )
    files = resolve_model(spec)
    if not path.exists():
        raise ModelError(f"no adapter {path}", hint="Check the path.")
    if is_mlx(expand(spec)):
        from agentr_lite.actors.mlx.adapter_files import check_adapter_directory

        check_adapter_directory(path)
        return
    if path.is_dir() and (path / "adapters.safetensors").is_file():
        raise ModelError(
            f"{path} holds an adapter for MLX, but the model is a GGUF file",
            hint=f"`agentr-lite convert adapter {path} --base {files.gguf} -o adapter.gguf` makes"
            " an adapter for llama.cpp.",
        )
    from agentr_lite.actors.llamacpp.gguf_header import check_adapter_file, check_model_file

    check_adapter_file(path, check_model_file(files.gguf))


def open_actor(settings: ActorSettings) -> Actor:
    """Load a model.

    Raises:
        ModelError: it is missing, corrupt or unusable, or it cannot follow a grammar and
            ``settings.grammar`` is set.
    """
    actor = _open(settings)
    if settings.grammar and not actor.capabilities.grammar:
        actor.close()
        raise ModelError(
            f"{settings.model}: this back end cannot make answers follow a grammar",
            hint="Give the model as a GGUF file or an MLX directory, or use no grammar:"
            " --set agent.grammar=''.",
        )
    return actor


def _open(settings: ActorSettings) -> Actor:
    spec = expand(settings.model)
    if is_server(spec):
        return _open_server(settings, spec)
    actor = _open_local(settings, spec)
    if not settings.thinking:
        return actor
    from agentr_lite.actors.thinking import ThinkingActor

    try:
        return ThinkingActor(actor, actor.encoder, budget=settings.thinking)
    except ModelError:
        actor.close()
        raise


def _open_local(settings: ActorSettings, spec: str) -> LlamaCppActor | MlxActor:
    files = resolve_model(settings.model)
    if is_mlx(spec):
        from agentr_lite.actors.mlx.actor import MlxActor

        return MlxActor(
            files.gguf,
            context_tokens=settings.context_tokens,
            live_tokens=settings.live_tokens,
            chat_template=settings.chat_template,
            history=settings.history,
            thinking=settings.thinking > 0,
            deterministic=settings.deterministic,
        )
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor

    return LlamaCppActor(
        files.gguf,
        context_tokens=settings.context_tokens,
        live_tokens=settings.live_tokens,
        n_threads=settings.threads,
        chat_template=settings.chat_template,
        history=settings.history,
        thinking=settings.thinking > 0,
        deterministic=settings.deterministic,
    )


def _open_server(settings: ActorSettings, spec: str) -> Actor:
    from agentr_lite.actors.openai.actor import OpenAIActor
    from agentr_lite.actors.openai.client import Client
    from agentr_lite.core.config import server_settings

    if settings.deterministic:
        raise ModelError(
            f"{settings.model}: a server may compute other requests in the same batch, so"
            " agent.deterministic is not possible",
            hint="Leave agent.deterministic out, or give the model as a GGUF file.",
        )
    if settings.thinking:
        raise ModelError(
            f"{settings.model}: a server keeps thoughts and answers apart in its own way, so"
            " agent.thinking is not possible",
            hint="Leave agent.thinking at 0, or give the model as a GGUF file.",
        )
    client = Client(parse_spec(spec), server_settings())
    return OpenAIActor(client, chat_template=settings.chat_template)


def check_trainable(spec: str) -> None:
    """Refuse to train a model that could not play with its adapter afterwards.

    Args:
        spec: as for ``expand``.

    Raises:
        ModelError: it is a server's model; servers load no adapter of ours.
    """
    if is_server(expand(spec)):
        raise ModelError(
            f"{spec} is a server's model: it cannot load the adapters that training makes",
            hint="`agentr-lite search`, `splice` and `eval` work with it, and so does `run` with"
            " --set rounds=0. `agentr-lite export` writes the data for another trainer. The whole"
            " loop needs the model as a GGUF file or as an MLX directory (docs/models.md).",
        )


def _missing(spec: str) -> ModelError:
    """The error for a model that is not there, with what may have been meant.

    Raises:
        ModelError: the name is an address that holds a password.
    """
    from agentr_lite.actors.download.catalog import catalog_model
    from agentr_lite.actors.model_hints import meaning_of

    if catalog_model(spec):
        return ModelError(
            f"model '{spec}' has not been downloaded",
            hint=f"`agentr-lite models pull {spec}` downloads it.",
        )
    if spec.startswith(("http://", "https://")):
        # A password in it is refused without being repeated.
        parse_spec(f"{PREFIX}{spec}")
    meaning = meaning_of(spec, [STARTER, *named_models.entries()])
    return ModelError(f"no model '{spec}': {meaning.what}", hint=meaning.hint)
