"""Every figure of a study as data, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentr_lite.core.rounds import START
from agentr_lite.metrics.measures import BEHAVIOUR, OUTCOMES
from agentr_lite.metrics.methods import BASE, IMITATION
from agentr_lite.study.outcomes.results import EnvResults


def figures_json(environments: Sequence[EnvResults]) -> list[dict[str, Any]]:
    """Every measure of every method and round, for programs."""
    rows = []
    for results in environments:
        for method in results.labels:
            is_start = method in (BASE, IMITATION)
            for number in [START] if is_start else range(1, results.last_round(method) + 1):
                for measure in (*OUTCOMES, *BEHAVIOUR):
                    value = results.value(measure, method, number)
                    if value is None:
                        continue
                    difference = (
                        None if method == BASE else results.versus_base(measure, method, number)
                    )
                    rows.append(
                        {
                            "env": results.env,
                            "method": method,
                            "round": number,
                            "measure": measure.key,
                            **value.to_json(),
                            "versus_base": difference.to_json() if difference else None,
                        }
                    )
    return rows
