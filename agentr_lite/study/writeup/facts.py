"""What a study ran: the facts above the tables of the whole study and of each environment."""

from __future__ import annotations

from agentr_lite.console.text import format_duration
from agentr_lite.metrics.methods import BASE
from agentr_lite.study.outcomes.results import EnvResults, StudyResults


def study_facts(study: StudyResults) -> list[str]:
    """The facts of the whole study."""
    results = [result for environment in study.environments for result in environment.runs]
    finished = sum(result.run.status == "finished" for result in results)
    seeds = ", ".join(str(seed) for seed in study.seeds)
    facts = [
        f"study {study.name}: environments {', '.join(study.planned_environments)};"
        f" {study.rounds} round{'s' if study.rounds != 1 else ''}; seeds {seeds}",
        f"{finished} of {study.cell_count} cells are finished"
        + (" (a cell is one environment, method and seed)" if finished < study.cell_count else ""),
    ]
    models = sorted({(r.run.recipe["model"], r.run.model_sha256[:16]) for r in results})
    facts += [f"model {name}, SHA-256 {sha or 'unknown'}" for name, sha in models]
    versions: dict[str, set[str]] = {}
    for result in results:
        for package, version in result.run.versions.items():
            versions.setdefault(package, set()).add(version)
    listed = (f"{package} {' / '.join(sorted(seen))}" for package, seen in sorted(versions.items()))
    facts.append(f"versions: {', '.join(listed)}")
    facts += [f"{method.label}: {method.changes}" for method in study.methods if method.trained]
    return facts


def environment_facts(results: EnvResults) -> list[str]:
    """The facts of one environment."""
    recipe = results.recipe
    search, train = recipe.search, recipe.train
    finished = ", ".join(
        f"{results.labels[method]}"
        f" {sum(result.run.status == 'finished' for result in results.of(method))}"
        f" of {results.planned[method]}"
        for method in results.labels
        if method not in results.ablation_of
    )
    base = results.value(results.main, BASE, 0)
    tasks = f"{base.n} held-out tasks of split {recipe.eval.split}" if base else "no tasks yet"
    facts = [
        f"evaluation: {tasks}; episodes of at most {recipe.eval.max_steps} steps,"
        f" {recipe.eval.recovery_steps} in recovery",
        f"search per round: {search.tasks or 'all'} training tasks, {search.simulations}"
        f" simulations, width {search.width}, depth {search.depth}, temperature"
        f" {search.temperature:g}",
        f"training per round: at most {train.max_examples or 'all'} of the agent's own examples,"
        f" which are {train.eta:g} of the mixture; {train.epochs:g}"
        f" epoch{'s' if train.epochs != 1 else ''}, learning rate {train.learning_rate:g}, rank"
        f" {train.rank}, batches of {train.batch_size}",
        f"finished seeds: {finished}",
    ]
    # A stage that was copied from another run has the times of the original.
    stages = {
        (row.round, row.stage, row.started_utc, row.finished_utc): row.wall_s
        for result in results.runs
        for row in result.stages
    }
    wall = sum(stages.values())
    if wall:
        facts.append(f"{format_duration(wall)} of work in all processes together")
    return facts
