"""Which round a command works on where none is named, and whether that is possible."""

from __future__ import annotations

from agentr_lite.core.errors import UsageError
from agentr_lite.core.rounds import START, base_round
from agentr_lite.store import Store
from agentr_lite.store.runs import get_run, list_stages, stage_status
from agentr_lite.store.splices import get_adapter, list_adapters


def check_searches(store: Store, run_id: str) -> None:
    """Refuse the stages of a search for a run whose rounds do not search.

    Raises:
        UsageError: its rounds learn from further demonstrations.
    """
    if (get_run(store, run_id).recipe.get("imitation") or {}).get("further"):
        raise UsageError(
            f"the rounds of {run_id} learn from further demonstrations and do not search",
            hint=f"`agentr-lite run --resume {run_id}` goes on with it.",
        )


def round_to_search(store: Store, run_id: str, round_index: int | None = None) -> int:
    """The round asked for, else the first whose search has not finished.

    Raises:
        UsageError: the run's rounds do not search.
    """
    check_searches(store, run_id)
    if round_index is not None:
        return round_index
    number = 1
    while (row := stage_status(store, run_id, number, "search")) is not None and row.finished:
        number += 1
    return number


def check_searchable(store: Store, run_id: str, number: int) -> None:
    """Refuse to search a round whose model has not been trained.

    Args:
        store: the database.
        run_id: the run.
        number: the round, from 1.

    Raises:
        UsageError: the round before has neither an adapter nor a finished training. A round that
            had nothing to train on is finished, too: the search goes on with the model in use.
    """
    if get_adapter(store, run_id, number - 1) is not None:
        return
    if number == 1:
        if get_run(store, run_id).imitates:
            raise UsageError(
                f"round 1 of {run_id} searches with what imitation gives, which is not there",
                hint=f"`agentr-lite imitate {run_id}` makes it.",
            )
        return
    training = stage_status(store, run_id, number - 1, "train")
    if training is None or not training.finished:
        raise UsageError(
            f"round {number} of {run_id} searches with the adapter of round {number - 1},"
            " which is not there",
            hint=f"`agentr-lite train {run_id} --round {number - 1}` makes it;"
            f" `--round {number - 1} --redo` searches that round again.",
        )


def round_to_splice(store: Store, run_id: str, round_index: int | None = None) -> int:
    """The round asked for, else the last that was searched.

    Raises:
        UsageError: no round was searched.
    """
    check_searches(store, run_id)
    if round_index is not None:
        return round_index
    searched = [row.round for row in list_stages(store, run_id) if row.stage == "search"]
    if not searched:
        raise UsageError(
            f"run {run_id} has no trees yet", hint=f"`agentr-lite search {run_id}` grows them."
        )
    return max(searched)


def round_to_train(store: Store, run_id: str, round_index: int | None = None) -> int:
    """The round asked for, else the last that was spliced.

    Raises:
        UsageError: that round has not been spliced to its end.
    """
    check_searches(store, run_id)
    stages = list_stages(store, run_id)
    spliced = [row.round for row in stages if row.stage == "splice" and row.finished]
    number = round_index or max(spliced, default=0)
    if number not in spliced:
        raise UsageError(
            f"round {number or 1} of {run_id} has no revision data yet",
            hint=f"`agentr-lite splice {run_id} --round {number or 1}` makes it.",
        )
    return number


def round_to_evaluate(store: Store, run_id: str, round_index: int | None = None) -> int:
    """The round asked for, else the last that was trained, else the base (``core.rounds``).

    Raises:
        UsageError: that round has not been trained.
    """
    # A round that had nothing to train on counts: it goes on with the adapter in use.
    trained = {
        row.round for row in list_stages(store, run_id) if row.stage == "train" and row.finished
    }
    trained |= {row.round for row in list_adapters(store, run_id)}
    imitates = get_run(store, run_id).imitates
    possible = {base_round(imitates=imitates), *trained}
    number = max(possible) if round_index is None else round_index
    if number not in possible:
        known = ", ".join(map(str, sorted(possible)))
        untrained = imitates and number == START
        raise UsageError(
            f"run {run_id} has not trained round {number}",
            hint=f"It can evaluate round {known};"
            f" `agentr-lite {'imitate' if untrained else 'train'}` trains another.",
        )
    return number
