"""``agentr-lite models``: which there are, downloads, names of one's own, what a GGUF file is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.actors.download.removal import delete_files
from agentr_lite.actors.download.repository import repository_file
from agentr_lite.cli.common import json_option
from agentr_lite.cli.downloads import Megabytes
from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import emit, emit_json, emit_table, say
from agentr_lite.console.text import truncate
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from agentr_lite.actors.named_models import NamedModel

_TEXT_COLUMNS = 72


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List, download and name models; show what a GGUF file is."""
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """The bundled model, those of your own list, and those that `pull` knows."""
    _list(as_json)


@models.command("add")
@click.argument("name")
@click.argument("model")
@click.option(
    "--train",
    "train_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The same weights in the MLX or Hugging Face layout, for training.",
)
@click.option("--force", is_flag=True, help="Replace an entry of that name.")
@json_option
def add_model(name: str, model: str, train_dir: Path | None, force: bool, as_json: bool) -> None:
    """Let NAME mean MODEL: a GGUF file, mlx:DIRECTORY or openai:URL#MODEL.

    The file stays where it is. From then on, `--model NAME` finds it.
    """
    from agentr_lite.actors import named_models
    from agentr_lite.actors.mlx import spec as mlx
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import STARTER, check_model, expand

    _check_free(name, force)
    if model == STARTER or named_models.find(model) is not None:
        # What a name means may change: a second one would not follow.
        raise UsageError(
            f"'{model}' is a model's name already; a name is given to a file, a directory or a"
            " server",
            hint=f"Use `--model {model}`"
            + (f", or give what it stands for: {expand(model)}" if model != STARTER else "."),
        )
    check_model(model)
    if mlx.is_mlx(model):
        spec = f"{mlx.PREFIX}{_absolute(model.removeprefix(mlx.PREFIX))}"
    else:
        spec = model if is_server(model) else str(_absolute(model))
    entry = named_models.NamedModel(name, spec, str(_absolute(train_dir)) if train_dir else "")
    named_models.put(entry)
    _show_entry(entry, as_json)


@models.command("pull")
@click.argument("model", metavar="NAME|OWNER/REPOSITORY/FILE.gguf")
@click.option("--as", "alias", metavar="NAME", help="What to call it. [default: its known name]")
@click.option("--train", is_flag=True, help="Fetch the unquantized weights for training as well.")
@click.option("--train-repo", metavar="OWNER/REPOSITORY", help="Where those are; implies --train.")
@click.option("--revision", default="main", show_default=True, help="Branch, tag or commit.")
@json_option
def pull_model(
    model: str,
    alias: str | None,
    train: bool,
    train_repo: str | None,
    revision: str,
    as_json: bool,
) -> None:
    """Download a model from the Hugging Face hub and check it.

    A download that was cut goes on where it stopped. HF_ENDPOINT names a mirror, HF_TOKEN lets
    private and gated repositories in, AGENTR_LITE_MODELS says where files go.
    """
    from agentr_lite.actors import named_models
    from agentr_lite.actors.download import hub
    from agentr_lite.actors.download.catalog import catalog_model
    from agentr_lite.actors.llamacpp.gguf_header import check_model_file
    from agentr_lite.core.config import models_dir

    item = catalog_model(model)
    repo, file = (item.repo, item.file) if item else repository_file(model, revision)
    train_repo = train_repo or (item.train_repo if item and train else None)
    if train and train_repo is None:
        raise UsageError(
            f"it is not known where the weights of {model} for training are",
            hint="Name the repository: --train-repo OWNER/REPOSITORY.",
        )
    name = alias or (item.name if item else Path(file).stem)
    _check_free_to_pull(name, f"{repo}/{file}")
    earlier = named_models.find(name)
    with Progress() as progress:
        bar = Megabytes(progress)
        got = hub.fetch(repo, file, models_dir(), revision=revision, on_bytes=bar)
        check_model_file(got.path)
        folder = ""
        if train_repo:
            fetched = hub.fetch_model_directory(train_repo, models_dir(), on_bytes=bar)
            folder = str(_absolute(fetched))
        bar.finish()
    folder = folder or (earlier.train_model if earlier is not None else "")
    entry = named_models.NamedModel(
        name, str(_absolute(got.path)), folder, f"{repo}/{file}", got.revision, got.checksum
    )
    named_models.put(entry)
    state = "is here already" if got.was_there else "downloaded"
    say(f"{name} {state}, checksum right ({got.size_bytes / 1e6:,.0f} MB)")
    _show_entry(entry, as_json)
    say(f"Play with it: agentr-lite eval textcraft --recipe instruct --model {name}")


@models.command("remove")
@click.argument("name")
@click.option("--keep-files", is_flag=True, help="Forget the name only.")
@json_option
def remove_model(name: str, keep_files: bool, as_json: bool) -> None:
    """Forget NAME; delete its files if `pull` brought them and no other name needs them."""
    from agentr_lite.actors import named_models
    from agentr_lite.actors.registry import STARTER

    if name == STARTER:
        raise UsageError("the bundled model cannot be removed")
    entry = named_models.find(name)
    named_models.drop(name)
    deleted = [] if keep_files or entry is None else delete_files(entry)
    if as_json:
        emit_json({"removed": name, "deleted": deleted})
        return
    emit(f"{name} is forgotten" + "".join(f"\ndeleted {path}" for path in deleted))


@models.command("show")
@click.argument("model")
@json_option
def show_model(model: str, as_json: bool) -> None:
    """MODEL, a name or a GGUF file: its metadata, without loading it.

    Of a server's model, what the server tells.
    """
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import expand

    if is_server(expand(model)):
        _show_server(expand(model), as_json)
        return
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.registry import resolve_model

    files = resolve_model(model)
    if files.gguf.is_dir():
        raise UsageError(
            f"{model} is a directory for MLX; only GGUF files have a header to show",
            hint=f"{files.gguf / 'config.json'} says what it is.",
        )
    header = read_header(files.gguf)
    summary = {
        "name": files.name,
        "path": str(files.gguf),
        "sha256": file_sha256(files.gguf),
        "file_bytes": header.file_bytes,
        "type": str(header.metadata.get("general.type", "model")),
        "architecture": header.architecture,
        "n_params": _parameters(header.tensors),
        "context_tokens": header.architecture_value("context_length") or None,
        "layers": header.architecture_value("block_count") or None,
        "cache_bytes_a_token": header.cell_bytes() or None,
        "chat_template": header.chat_template is not None,
        "train_dir": str(files.train_dir) if files.train_dir else None,
    }
    metadata = {key: _plain(value) for key, value in header.metadata.items()}
    if as_json:
        emit_json({**summary, "metadata": metadata})
        return
    emit_table(["", "value"], list(summary.items()), align=["left", "left"])
    emit("")
    emit_table(
        ["metadata", "value"],
        [(key, truncate(_one_line(value), _TEXT_COLUMNS)) for key, value in metadata.items()],
        align=["left", "left"],
    )


def _list(as_json: bool) -> None:
    from agentr_lite.actors import named_models
    from agentr_lite.actors.download.catalog import CATALOG

    rows = [_bundled(), *(_named(entry) for entry in named_models.entries().values())]
    taken = {row["name"] for row in rows}
    rows += [
        {
            "name": item.name,
            "state": "to pull",
            "path": f"{item.repo}/{item.file}",
            "file_bytes": item.megabytes * 1_000_000,
            "n_params": int(item.parameters),
            "train_dir": None,
            "train_repo": item.train_repo,
            "licence": item.licence,
        }
        for item in CATALOG
        if item.name not in taken
    ]
    if as_json:
        emit_json(rows)
        return
    emit_table(
        ["model", "state", "parameters", "MB", "training", "where"],
        [
            (
                row["name"],
                row["state"],
                _short(row["n_params"]),
                f"{row['file_bytes'] / 1e6:,.0f}" if row["file_bytes"] else None,
                "yes" if row["train_dir"] else "pull --train" if row.get("train_repo") else None,
                row["path"],
            )
            for row in rows
        ],
        align=["left", "left", "right", "right", "left", "left"],
        keep=["model"],
    )


def _bundled() -> dict[str, Any]:
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.registry import STARTER, resolve_model

    files = resolve_model(STARTER)
    header = read_header(files.gguf)
    return {
        "name": files.name,
        "state": "bundled",
        "path": str(files.gguf),
        "file_bytes": header.file_bytes,
        "n_params": _parameters(header.tensors),
        "context_tokens": header.architecture_value("context_length"),
        "sha256": file_sha256(files.gguf),
        "train_dir": str(files.train_dir),
    }


def _named(entry: NamedModel) -> dict[str, Any]:
    """A row for a name of the user's; a file that is gone or broken is said so, not an error."""
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.core.errors import ModelError

    row: dict[str, Any] = {
        "name": entry.name,
        "state": "downloaded" if entry.source else "named",
        "path": entry.model,
        "file_bytes": None,
        "n_params": None,
        "train_dir": entry.train_model or None,
        "source": entry.source or None,
        "sha256": entry.sha256 or None,
    }
    if entry.model.startswith("openai:"):
        return row | {"state": "server"}
    if entry.model.startswith("mlx:"):
        return row | {"train_dir": entry.model.removeprefix("mlx:")}
    try:
        header = read_header(Path(entry.model))
    except ModelError as error:
        gone = not Path(entry.model).exists()
        return row | {"state": "missing" if gone else "broken", "error": error.message}
    return row | {"file_bytes": header.file_bytes, "n_params": _parameters(header.tensors)}


def _check_free(name: str, force: bool) -> None:
    from agentr_lite.actors import named_models
    from agentr_lite.actors.download.catalog import catalog_model
    from agentr_lite.actors.registry import STARTER

    named_models.check_name(name)
    if name == STARTER:
        raise UsageError(f"'{STARTER}' is the bundled model", hint="Choose another name.")
    if catalog_model(name) and not force:
        raise UsageError(
            f"'{name}' is the name of a model to pull",
            hint="Choose another name, or give --force to let it mean this one.",
        )
    if named_models.find(name) is not None and not force:
        raise UsageError(
            f"there is a model '{name}' already",
            hint=f"Choose another name, or `agentr-lite models remove {name}` first.",
        )


def _check_free_to_pull(name: str, source: str) -> None:
    """Refuse a name that means, or could later mean, something else than ``source``."""
    from agentr_lite.actors import named_models
    from agentr_lite.actors.download.catalog import catalog_model
    from agentr_lite.actors.registry import STARTER

    named_models.check_name(name)
    other = "Call it something else: --as NAME."
    if name == STARTER:
        raise UsageError(f"'{STARTER}' is the bundled model", hint=other)
    item, earlier = catalog_model(name), named_models.find(name)
    if item is not None and f"{item.repo}/{item.file}" != source:
        raise UsageError(
            f"'{name}' is the name of {item.repo}/{item.file}, not of {source}", hint=other
        )
    if earlier is not None and earlier.source != source:
        raise UsageError(
            f"there is a model '{name}' already: {earlier.source or earlier.model}",
            hint=f"Call this one something else with --as NAME, or `agentr-lite models remove"
            f" {name}` first.",
        )


def _show_entry(entry: NamedModel, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        emit_json(asdict(entry))
        return
    emit(f"{entry.name}: {entry.model}")
    if entry.train_model:
        emit(f"for training: {entry.train_model}")


def _show_server(spec: str, as_json: bool) -> None:
    from contextlib import closing

    from agentr_lite.actors.registry import open_actor
    from agentr_lite.actors.settings import ActorSettings

    with closing(open_actor(ActorSettings(model=spec))) as actor:
        facts, able = actor.description, actor.capabilities
    if as_json:
        emit_json({**facts, "capabilities": able})
        return
    identity = facts.pop("identity")
    shown = {
        **{key: value for key, value in facts.items() if value and key != "no_scoring"},
        **{key: value for key, value in identity.items() if key not in facts},
        "scoring": "yes" if able.scoring else f"no: {facts.get('no_scoring')}",
        "adapters": "yes" if able.adapters else "no",
        "grammar": "tried out when one is asked for" if able.grammar else "no",
    }
    rows = [(key, truncate(_one_line(value), _TEXT_COLUMNS)) for key, value in shown.items()]
    emit_table(["", "value"], rows, align=["left", "left"])


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def _short(count: int | None) -> str | None:
    if count is None:
        return None
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"


def _parameters(tensors: Any) -> int:
    total = 0
    for tensor in tensors:
        elements = 1
        for dimension in tensor.shape:
            elements *= dimension
        total += elements
    return total


def _plain(value: Any) -> Any:
    from agentr_lite.actors.llamacpp.gguf_header import ArrayOf

    if isinstance(value, ArrayOf):
        return f"[{value.items:,} items]"
    return value


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())
