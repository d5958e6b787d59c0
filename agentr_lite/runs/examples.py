"""The examples in a run's prompts: drawn before its first turn, and kept from then on."""

from __future__ import annotations

from agentr_lite.core.openings import Example
from agentr_lite.imitate.examples import choose_examples
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import Demonstration, add_demonstrations
from agentr_lite.store.examples import list_examples, save_examples


def run_examples(store: Store, run_id: str, environment: RunEnvironment) -> tuple[Example, ...]:
    """The examples that a run shows in one environment; chosen and stored at the first call.

    Later demonstrations do not change them, so every stage of the run sees the same prompt.

    Args:
        store: the database.
        run_id: the run.
        environment: one of its environments; its episode is replaced.

    Raises:
        AgentrError: there is no demonstration to show.
    """
    if not environment.recipe.agent.examples:
        return ()
    stored = list_examples(store, run_id, environment.name)
    if stored:
        return stored

    def save(made: Demonstration) -> None:
        add_demonstrations(store, environment.name, [made])

    chosen = choose_examples(store, environment.env, environment.recipe, save=save)
    save_examples(store, run_id, environment.name, chosen)
    return list_examples(store, run_id, environment.name)
