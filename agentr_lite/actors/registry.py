"""From a recipe's ``model`` to files and to a running actor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.actors import named_models
from agentr_lite.actors.mlx.spec import is_mlx, model_directory
from agentr_lite.actors.openai.spec import is_server, parse_spec
from agentr_lite.core.errors import ModelError

if TYPE_CHECKING:
    from agentr_lite.actors.base import Actor
    from agentr_lite.actors.settings import ActorSettings

STARTER = "starter"
_STARTER_DIR = Path(__file__).parents[1] / "starter" / "model"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's weights are."""

    gguf: Path
    """For inference; the directory of a model that MLX runs."""
    train_dir: Path | None
    """The same weights for training, in the MLX/HF layout; None if not known."""
    name: str
    """``starter``, a name of the user's list, or the file's stem."""


def expand(spec: str) -> str:
    """What a name of the user's list stands for; anything else as it is.

    Raises:
        ModelError: the list is damaged.
    """
    entry = named_models.find(spec) if spec != STARTER else None
    return entry.model if entry is not None else spec


def resolve_model(spec: str) -> ModelFiles:
    """Find the files of ``starter``, of a name of the user's list, or of a GGUF path.

    ``~`` is expanded.

    Raises:
        ModelError: neither a known name nor an existing file, or a server: it has no files here.
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
            f"{spec} is a server's model: it has no files here",
            hint="Give a GGUF file where one is needed.",
        )
    if is_mlx(spec):
        directory = model_directory(spec)
        return ModelFiles(directory, directory, directory.resolve().name)
    path = Path(spec).expanduser()
    if path.is_dir():
        found = sorted(file.name for file in path.glob("*.gguf"))[:5]
        raise ModelError(
            f"{path} is a directory, not a GGUF file",
            hint=f"It holds {', '.join(found)}: name one."
            if found
            else f"Give a .gguf file, or --model mlx:{path} to run it with MLX.",
        )
    if not path.is_file():
        raise _missing(spec)
    return ModelFiles(path, None, path.stem)


def check_model(spec: str) -> None:
    """Refuse, without loading it, a model file that is missing, damaged or of another kind.

    The bundled model is taken on trust; of a server only the address is looked at.

    Raises:
        ModelError: see above.
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
    """Refuse grammars that a model's back end cannot follow, without loading the model.

    Of a server only an answer tells.

    Args:
        spec: the recipe's ``model``.
        texts: GBNF; empty ones are passed over.

    Raises:
        ModelError: the back end follows none.
        GrammarError: llama.cpp refuses one.
    """
    wanted = [text for text in texts if text]
    if not wanted or is_server(expand(spec)):
        return
    if is_mlx(expand(spec)):
        raise no_grammar(spec)
    from agentr_lite.actors.llamacpp.grammar import try_grammar

    for text in wanted:
        try_grammar(text)


def check_adapter(spec: str, path: Path) -> None:
    """Refuse, without loading it, an adapter that a model's back end cannot use.

    Args:
        spec: the recipe's ``model``.
        path: a GGUF file; for MLX the directory that mlx-lm wrote.

    Raises:
        ModelError: it is missing, of another format or for another base, or the model is a
            server's.
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
            f"{path} holds an adapter for MLX, and the model is a GGUF file",
            hint=f"`agentr-lite convert adapter {path} --base {files.gguf} -o adapter.gguf` makes"
            " one for llama.cpp.",
        )
    from agentr_lite.actors.llamacpp.gguf_header import check_adapter_file, check_model_file

    check_adapter_file(path, check_model_file(files.gguf))


def no_grammar(spec: str) -> ModelError:
    """What to say of a back end that cannot follow a grammar."""
    return ModelError(
        f"{spec}: this back end cannot hold answers to a grammar",
        hint="Give the model as a GGUF file, or leave it out with --set agent.grammar=''.",
    )


def open_actor(settings: ActorSettings) -> Actor:
    """Load a model.

    Raises:
        ModelError: it is missing, corrupt or unusable, or it cannot follow a grammar and
            ``settings.grammar`` is set.
    """
    actor = _open(settings)
    if settings.grammar and not actor.capabilities.grammar:
        actor.close()
        raise no_grammar(settings.model)
    return actor


def _open(settings: ActorSettings) -> Actor:
    spec = expand(settings.model)
    if is_server(spec):
        return _open_server(settings, spec)
    files = resolve_model(settings.model)
    if is_mlx(spec):
        from agentr_lite.actors.mlx.actor import MlxActor

        return MlxActor(
            files.gguf,
            context_tokens=settings.context_tokens,
            chat_template=settings.chat_template,
            deterministic=settings.deterministic,
        )
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor

    return LlamaCppActor(
        files.gguf,
        context_tokens=settings.context_tokens,
        chat_template=settings.chat_template,
        deterministic=settings.deterministic,
    )


def _open_server(settings: ActorSettings, spec: str) -> Actor:
    from agentr_lite.actors.openai.actor import OpenAIActor
    from agentr_lite.actors.openai.client import Client
    from agentr_lite.core.config import server_settings

    if settings.deterministic:
        raise ModelError(
            f"{settings.model}: what a server computes beside a request is out of reach, so"
            " agent.deterministic cannot be kept",
            hint="Leave it out, or give the model as a GGUF file.",
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
            " --set rounds=0; `agentr-lite export` writes the data for another trainer. The whole"
            " loop needs the model as a GGUF file or as an MLX directory (docs/models.md).",
        )


def _missing(spec: str) -> ModelError:
    from agentr_lite.actors.download.catalog import CATALOG, catalog_model
    from agentr_lite.core.suggestions import did_you_mean

    if catalog_model(spec):
        return ModelError(
            f"model '{spec}' has not been downloaded",
            hint=f"`agentr-lite models pull {spec}` downloads it.",
        )
    names = [STARTER, *named_models.entries(), *(item.name for item in CATALOG)]
    return ModelError(
        f"no model '{spec}': neither a known name nor an existing GGUF file"
        f"{did_you_mean(spec, names)}",
        hint="`agentr-lite models` lists the names; a path to a .gguf file works too.",
    )
