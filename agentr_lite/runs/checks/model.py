"""Checks that a model's files, chat template and weights for training are usable, unloaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agentr_lite.actors import registry
from agentr_lite.actors.mlx.spec import is_mlx
from agentr_lite.actors.openai.spec import is_server
from agentr_lite.actors.registry import STARTER, expand, resolve_model
from agentr_lite.envs.registry import env_origin
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.actors import open_actor
from agentr_lite.runs.checks.checklist import Checklist
from agentr_lite.runs.weights import (
    check_training_weights,
    has_bundled_template,
    template_override,
    training_template,
)

SUBJECT = "model"
PROCESSES = "training processes"


def check_player(checks: Checklist, recipe: Recipe, grammars: Sequence[str]) -> Recipe:
    """Check the model that plays.

    The bundled model's files need only be there. Of a GGUF file, the header and the vocabulary are
    read; of a directory, the settings. A server is asked for one token.

    Args:
        checks: for the findings.
        recipe: the run's.
        grammars: that the answers are to follow.

    Returns:
        The recipe as the model can carry it out: without likelihoods, the critic reasons.
    """
    with checks.refusals(SUBJECT):
        registry.check_model(recipe.model)
        if is_server(expand(recipe.model)):
            recipe = _ask_server(checks, recipe)
        else:
            resolve_model(recipe.model)
            _check_loadable(recipe.model)
            checks.passed(SUBJECT, f"{recipe.model}, {_kind(recipe.model)}")
            _warn_of_unknown_game(checks, recipe)
    if checks.is_refused(SUBJECT):
        return recipe
    if not has_bundled_template(recipe):
        with checks.refusals("chat template"):
            checks.passed("chat template", _check_template(recipe))
    if grammars:
        with checks.refusals("grammar"):
            registry.check_grammars(recipe.model, grammars)
            checks.passed("grammar", "the back end can follow it")
    return recipe


def check_adopted(checks: Checklist, recipe: Recipe, adapter: Path) -> None:
    """Check an adapter that was trained elsewhere."""
    if checks.is_refused(SUBJECT):
        return
    with checks.refusals("adapter"):
        registry.check_adapter(recipe.model, adapter)
        checks.passed("adapter", str(adapter))


def check_learner(checks: Checklist, recipe: Recipe) -> None:
    """Check the weights that are trained: family, files, chat template."""
    _check_products(checks, recipe)
    _check_hosts(checks, recipe)
    subject = "training weights"
    if checks.is_refused(SUBJECT) and not recipe.train_model:
        # They would be found missing for the same reason.
        return
    with checks.refusals(subject):
        if recipe.model == STARTER and not recipe.train_model:
            # Their family is known. Looking at them would load numpy.
            resolve_model(STARTER)
            checks.passed(subject, "bundled")
            return
        check_training_weights(recipe)
        if not recipe.train_model and resolve_model(recipe.model).train_dir is None:
            # The template is the file's own, which was checked with the model.
            checks.passed(subject, "can be taken from the GGUF file")
            return
        training_template(recipe)
        checks.passed(subject, recipe.train_model or str(resolve_model(recipe.model).train_dir))


def _check_products(checks: Checklist, recipe: Recipe) -> None:
    """Check that this machine can compute ``train.products``."""
    if recipe.train.products == "float32":
        return
    from agentr_lite.train.bfloat16 import check_bfloat16

    with checks.refusals("train.products"):
        check_bfloat16()
        checks.passed("train.products", "bfloat16, by oneDNN")


def _check_hosts(checks: Checklist, recipe: Recipe) -> None:
    """Check the machines of the training's processes, if there are several."""
    if recipe.train.workers == 1 and not recipe.train.hosts:
        return
    from agentr_lite.train.hosts import check_reachable, training_hosts

    with checks.refusals(PROCESSES):
        hosts = training_hosts(recipe.train)
        check_reachable(hosts)
        checks.passed(PROCESSES, hosts.to_words())


def _kind(spec: str) -> str:
    if spec == STARTER:
        return "bundled"
    if is_mlx(expand(spec)):
        return "run by MLX"
    from agentr_lite.actors.llamacpp.gguf_header import read_header

    return f"a GGUF file of architecture '{read_header(resolve_model(spec).gguf).architecture}'"


def _warn_of_unknown_game(checks: Checklist, recipe: Recipe) -> None:
    """Say that the bundled model, which is the default, knows only the bundled environments."""
    unknown = [env for env in recipe.env_names if env_origin(env) != "built in"]
    if recipe.model == STARTER and unknown:
        checks.warned(
            SUBJECT,
            f"the bundled model plays, but it has never seen {' or '.join(unknown)}: it knows the"
            " bundled environments alone",
            "Choose a model with --model FILE.gguf or NAME; `agentr-lite models` lists names.",
        )


def _check_loadable(spec: str) -> None:
    if spec == STARTER or is_mlx(expand(spec)):
        return
    from agentr_lite.actors.llamacpp.model import check_vocabulary

    check_vocabulary(resolve_model(spec).gguf)


def _check_template(recipe: Recipe) -> str:
    """Compile and try the chat template; returns where it comes from.

    Raises:
        ModelError: it is unusable, or there is none.
    """
    from agentr_lite.actors.chat.files import directory_template, gguf_template
    from agentr_lite.actors.chat.template import model_template
    from agentr_lite.actors.thinking import check_thinks

    override, thinking = template_override(recipe), recipe.agent.thinking > 0
    spec = expand(recipe.model)
    if is_server(spec):
        if override is None:
            return "the server's own"
        model_template(override, None, override=override, bos="", eos="")
        return str(override)
    read = directory_template if is_mlx(spec) else gguf_template
    chat = read(resolve_model(recipe.model).gguf, override, thinking=thinking)
    if thinking:
        check_thinks(chat.template)
    return "the model's own" if override is None else str(override)


def _ask_server(checks: Checklist, recipe: Recipe) -> Recipe:
    with closing(open_actor(recipe)) as actor:
        scores = actor.capabilities.scoring
        why = str(actor.description.get("no_scoring", ""))
    checks.passed(SUBJECT, f"{recipe.model} answers")
    if recipe.splice.critic != "score" or scores:
        return recipe
    checks.warned(
        "critic",
        f"the critic of this run will reason instead of scoring: {why}",
        "The run is recorded with splice.critic=reason.",
    )
    return replace(recipe, splice=replace(recipe.splice, critic="reason"))
