"""An address where no Ray answers is refused at once, before Ray, which would try for minutes."""

from __future__ import annotations

import socket

import pytest

from agentr_lite.core.errors import AgentrError
from agentr_lite.scale import ray_crew
from agentr_lite.scale.choice import WorkerChoice
from agentr_lite.scale.ray_crew import RayCluster


@pytest.mark.parametrize("form", ["ray:127.0.0.1:{}", "ray:ray://127.0.0.1:{}"])
def test_nobody_listens(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with socket.socket() as bound:  # Bound, but not listening: the connection is refused.
        bound.bind(("127.0.0.1", 0))
        choice = WorkerChoice(form.format(bound.getsockname()[1]))
        with (
            RayCluster(choice) as cluster,
            pytest.raises(
                AgentrError, match=r"Ray does not answer at '.*127\.0\.0\.1:\d+'.*efused"
            ),
        ):
            cluster.crew(None, choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["auto", "box1", "box1:", "box1:port", "[::1"])
def test_what_names_no_port_is_left_to_ray(address: str) -> None:
    ray_crew._knock(address)


def test_who_listens_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ray_crew._knock(f"127.0.0.1:{server.getsockname()[1]}")
