"""A worker: opens the model and the environments once, then does one wave after the other.

Each call is complete in itself (wave, adapter, where missing files are), so that a worker that was
started again goes on as if nothing had happened.
"""

from __future__ import annotations

import copy
import hashlib
import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentr_lite import __version__
from agentr_lite.actors import registry
from agentr_lite.actors.base import Actor, Capabilities
from agentr_lite.actors.openai.spec import is_server
from agentr_lite.agent.boundary import guarded_instructions, guarded_tasks
from agentr_lite.core.errors import AgentrError, ModelError, UsageError, from_os_error
from agentr_lite.core.usage import Usage
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.runs.actors import actor_settings
from agentr_lite.runs.environments import RunEnvironment, open_environments
from agentr_lite.runs.stages.waves import Bench, Wave
from agentr_lite.scale.bundle import Bundle, Stock, received_dir
from agentr_lite.store.runs import usage_since


@dataclass(frozen=True, slots=True)
class Job:
    """What all waves of a pool share."""

    recipe: Mapping[str, Any]
    """The run's, resolved; as ``Recipe.to_dict`` gives it."""
    searches: bool | None
    """See ``runs.actors.actor_settings``."""
    model: Bundle | None
    """The model's files; None: a server has it."""
    template: Bundle | None
    """The chat template that takes the place of the model's own; None: none does."""
    threads: int
    environments: Mapping[str, str]
    """Digest of each environment that the command has, by name; see ``environment_digest``."""
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker that can begin."""

    host: str
    pid: int
    description: Mapping[str, Any]
    """Its model's."""
    capabilities: Capabilities


@dataclass(frozen=True, slots=True)
class Missing:
    """The answer of a worker that needs files first; it is to be asked again."""

    sha256s: Sequence[str]


@dataclass(frozen=True, slots=True)
class Done:
    """A wave's rows and what they cost."""

    rows: Any
    usage: Usage


class _FilesMissing(Exception):
    """Files have to be sent first."""

    def __init__(self, sha256s: Sequence[str]) -> None:
        super().__init__(", ".join(sha256s))
        self.sha256s = sha256s


class Worker:
    """Does the waves of one job."""

    def __init__(self, job: Job, fetch: Callable[[Any], bytes]) -> None:
        """Open nothing yet.

        Args:
            job: what all waves share.
            fetch: gives the content of a part that was sent.
        """
        self._job = job
        self._fetch = fetch
        self._opened = ExitStack()
        self._bench: Bench | None = None
        self._worn = ""

    def ready(self, stock: Stock) -> Ready | Missing:
        """Open the model and the environments, unless they are open.

        Args:
            stock: files that were sent.

        Raises:
            AgentrError: something cannot be opened here, or is not the same here. The message names
                this machine.
        """
        with _named():
            try:
                actor = self._open(stock).actor
            except _FilesMissing as error:
                return Missing(error.sha256s)
            return Ready(
                socket.gethostname(), os.getpid(), dict(actor.description), actor.capabilities
            )

    def perform(self, wave: Wave[Any], adapter: Bundle | None, stock: Stock) -> Done | Missing:
        """Do a wave.

        Args:
            wave: what is to be done.
            adapter: what the model wears meanwhile; None: the base.
            stock: files that were sent.

        Raises:
            AgentrError: see ``ready`` and ``Wave.perform``.
        """
        with _named():
            try:
                bench = self._open(stock)
                self._wear(bench.actor, adapter, stock)
            except _FilesMissing as error:
                return Missing(error.sha256s)
            before = copy.copy(bench.actor.usage)
            rows = wave.perform(bench)
            return Done(rows, usage_since(before, bench.actor.usage))

    def close(self) -> None:
        """Free the model and close the environments."""
        self._bench = None
        self._opened.close()

    def _open(self, stock: Stock) -> Bench:
        if self._bench is not None:
            return self._bench
        if self._job.version != __version__:
            raise UsageError(
                f"agentr-lite {__version__} is installed here, and the command is of"
                f" {self._job.version}",
                hint="Install the same version on every machine.",
            )
        recipe = recipe_from_dict(self._job.recipe)
        settings = replace(
            actor_settings(recipe, searches=self._job.searches), threads=self._job.threads
        )
        if self._job.template is not None:
            template = self._placed(self._job.template, stock)
            settings = replace(settings, chat_template=template)
        settings = replace(settings, model=self._model(recipe.model, stock))
        with ExitStack() as stack:
            # First: what an environment lacks is known sooner than what a large model does.
            environments = stack.enter_context(open_environments(recipe))
            self._compare(environments)
            actor = stack.enter_context(closing(registry.open_actor(settings)))
            self._bench = Bench(environments, actor)
            self._worn = ""
            self._opened = stack.pop_all()
        return self._bench

    def _compare(self, environments: Sequence[RunEnvironment]) -> None:
        for environment in environments:
            if environment_digest(environment) != self._job.environments.get(environment.name):
                raise UsageError(
                    f"environment '{environment.name}' has other tasks or instructions here than"
                    " where the command was given",
                    hint="Every worker needs the same version and the same data of it.",
                )

    def _model(self, spec: str, stock: Stock) -> str:
        """What the model is called here."""
        bundle = self._job.model
        if bundle is None:
            return registry.expand(spec)
        try:
            if bundle.is_at(registry.resolve_model(spec).gguf):
                return spec
        except ModelError:
            # This machine knows no model of that name, or another one.
            pass
        place = self._placed(bundle, stock)
        return f"mlx:{place}" if bundle.is_directory else str(place)

    def _placed(self, bundle: Bundle, stock: Stock) -> Path:
        """Where a bundle is here; it is written if it was sent.

        Raises:
            _FilesMissing: it is not here and has not been sent.
        """
        sent = received_dir(bundle)
        for place in (Path(bundle.path), sent if bundle.is_directory else sent / _only(bundle)):
            if bundle.is_at(place):
                return place
        missing = bundle.missing(stock)
        if missing:
            raise _FilesMissing(missing)
        return bundle.received(stock, self._fetch)

    def _wear(self, actor: Actor, adapter: Bundle | None, stock: Stock) -> None:
        digest = "" if adapter is None else adapter.digest
        if digest != self._worn:
            actor.use_adapter(None if adapter is None else self._placed(adapter, stock))
            self._worn = digest


def environment_digest(environment: RunEnvironment) -> str:
    """What two machines must have in common to do waves of an environment.

    Its instructions and the names, goals and levels of its tasks; not its code.
    """
    env, recipe = environment.env, environment.recipe
    total = hashlib.sha256(guarded_instructions(env, brief=recipe.agent.brief).encode())
    for split in dict.fromkeys(("train", recipe.eval.split)):
        try:
            tasks = guarded_tasks(env, split)
        except AgentrError:
            # A stage that needs this split says so itself.
            tasks = []
        for task in tasks:
            total.update(repr((split, task.name, task.goal, task.level)).encode())
    return total.hexdigest()


def model_bundle(spec: str) -> Bundle | None:
    """The files of a model; None for a server's.

    Raises:
        ModelError: there is no such model.
    """
    if is_server(registry.expand(spec)):
        return None
    return Bundle.of(registry.resolve_model(spec).gguf)


def _only(bundle: Bundle) -> str:
    return bundle.files[0].name


@contextmanager
def _named() -> Generator[None]:
    """Say in errors on which machine they arose."""
    try:
        yield
    except OSError as error:
        failure = from_os_error(error)
        failure.message = f"worker on {socket.gethostname()}: {failure.message}"
        raise failure from error
    except AgentrError as error:
        error.message = f"worker on {socket.gethostname()}: {error.message}"
        raise
