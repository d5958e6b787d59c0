"""Opens a run's model in the workers of a crew."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from agentr_lite.actors.base import Capabilities
from agentr_lite.console.streams import say
from agentr_lite.core.errors import ModelError
from agentr_lite.core.usage import Usage
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.stages.waves import Executor, Rows, Wave, Waves
from agentr_lite.scale.bundle import Bundle
from agentr_lite.scale.choice import WorkerChoice
from agentr_lite.scale.crew import Crew
from agentr_lite.scale.pool import Order, Pool
from agentr_lite.scale.worker import Job, environment_digest, model_bundle

MakeCrew = Callable[[Job, WorkerChoice], Crew]
"""Starts the workers of a job."""


class CrewExecutor(Executor):
    """Has waves done by the workers of crews, one crew for each model that is opened."""

    def __init__(self, choice: WorkerChoice, make_crew: MakeCrew) -> None:
        """
        Args:
            choice: how many workers, and how large.
            make_crew: starts them.
        """
        self._choice = choice
        self._make_crew = make_crew

    def open(
        self,
        recipe: Recipe,
        environments: Sequence[RunEnvironment],
        *,
        searches: bool | None = None,
    ) -> Waves:
        template = recipe.agent.chat_template
        model = model_bundle(recipe.model)
        job = Job(
            recipe=recipe.to_dict(),
            searches=searches,
            model=model,
            template=Bundle.of(Path(template).expanduser()) if template else None,
            threads=self._choice.threads,
            environments={each.name: environment_digest(each) for each in environments},
        )
        with ExitStack() as stack:
            crew = stack.enter_context(closing(self._make_crew(job, self._choice)))
            pool = Pool(crew)
            pool.open([bundle for bundle in (job.model, job.template) if bundle is not None])
            hosts = sorted({each.host for each in pool.ready.values()})
            say(f"{len(pool.ready)} workers are ready on {', '.join(hosts)}")
            stack.pop_all()
            return CrewWaves(crew, pool, model)


class CrewWaves(Waves):
    """A model in the workers of a crew, with an adapter."""

    def __init__(
        self, crew: Crew, pool: Pool, model: Bundle | None, *, adapter: Path | None = None
    ) -> None:
        """
        Args:
            crew: ended by the last of those who share it.
            pool: of the crew; its workers are ready.
            model: its files here; None: a server has it.
            adapter: what is worn.
        """
        self.usage = Usage()
        self._crew = crew
        self._pool = pool
        self._model = model
        self._users = [self]
        self._adapter: Bundle | None = None
        first = pool.ready[min(pool.ready)]
        self.capabilities: Capabilities = first.capabilities
        self._description = dict(first.description)
        if model is not None and "path" in self._description:
            # A worker may have it elsewhere.
            self._description["path"] = model.path
        if adapter is not None:
            self.use_adapter(adapter)

    @property
    def description(self) -> dict[str, Any]:
        """See ``LoadedModel``: that of the first worker's model."""
        return copy.copy(self._description)

    def use_adapter(self, path: Path | None) -> None:
        """See ``LoadedModel``. The files are sent with the waves that need them."""
        if self._adapter is not None:
            self._pool.withdraw(self._adapter)
            self._adapter = None
        if path is not None:
            if not path.exists():
                raise ModelError(f"no adapter {path}", hint="Check the path.")
            self._adapter = Bundle.of(path)
            self._pool.send(self._adapter)

    def beside(self, adapter: Path | None) -> CrewWaves:
        """See ``LoadedModel``: the same workers; they change adapters from wave to wave."""
        other = CrewWaves(self._crew, self._pool, self._model, adapter=adapter)
        self._users.append(other)
        other._users = self._users
        return other

    def compute(self, jobs: Iterable[tuple[Waves, Wave[Rows]]]) -> Iterator[Rows]:
        """See ``Waves``."""
        wearers: list[Waves] = []

        def orders() -> Iterator[Order]:
            for wearer, wave in jobs:
                if not isinstance(wearer, CrewWaves) or wearer._crew is not self._crew:
                    raise ValueError("these are the waves of another crew")
                wearers.append(wearer)
                yield Order(wave, wearer._adapter)

        for number, done in enumerate(self._pool.compute(orders())):
            _add(wearers[number].usage, done.usage)
            yield done.rows

    def close(self) -> None:
        """End the workers, unless another one shares them."""
        if self in self._users:
            self._users.remove(self)
            if not self._users:
                self._crew.close()


def _add(total: Usage, more: Usage) -> None:
    total.calls += more.calls
    total.prompt_tokens += more.prompt_tokens
    total.decoded_prompt_tokens += more.decoded_prompt_tokens
    total.output_tokens += more.output_tokens
    total.model_ms += more.model_ms


@contextmanager
def opened_executor(choice: WorkerChoice) -> Generator[Executor | None]:
    """What ``--executor`` asks for; None: this process. A cluster of our own ends with the block.

    Raises:
        UsageError: there is no such executor.
    """
    if choice.checked().is_here:
        yield None
        return
    from agentr_lite.scale.ray_crew import RayCluster

    with RayCluster(choice) as cluster:
        yield CrewExecutor(choice, cluster.crew)
