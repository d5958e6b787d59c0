"""Serves one environment until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

from agentr_lite.envs.names import parse_env_name
from agentr_lite.envs.registry import make_env
from agentr_lite.runs.closing import closed_at_end
from agentr_lite.serving.agentgym import SETTINGS, AgentGymApi, form_of
from agentr_lite.serving.http import listening
from agentr_lite.serving.openenv import OpenEnvApi
from agentr_lite.serving.stage import Stage
from agentr_lite.serving.websocket import check_installed

Protocol = Literal["openenv", "agentgym"]
PROTOCOLS: tuple[Protocol, ...] = ("openenv", "agentgym")


def serve(
    name: str,
    settings: Mapping[str, Any],
    protocol: Protocol,
    *,
    host: str,
    port: int,
    sessions: int,
    ready: Callable[[str, Stage], None],
) -> None:
    """Serve an environment until ``Stage.stop`` or an interruption.

    Args:
        name: of the environment.
        settings: its options.
        protocol: what the server speaks.
        host: the address to listen at.
        port: 0 = any free one.
        sessions: most sessions at the same time. OpenEnv refuses a further one; AgentGym, whose
            clients do not close theirs, forgets the one that has not been used for longest.
        ready: called with the server's address once it listens.

    Raises:
        UsageError: the environment, an option or the address is wrong.
        KeyboardInterrupt: it was interrupted.
    """
    if protocol == "openenv":
        check_installed("envs serve --protocol openenv")
    elif parse_env_name(name).is_plain:
        # Before the environment is made, which may take long.
        form_of(name)
    chosen = {**SETTINGS.get(name, {}), **settings} if protocol == "agentgym" else dict(settings)
    with ExitStack() as closing:
        stage = Stage(lambda: make_env(name, chosen), sessions)
        closing.callback(_close_all, stage)
        api: OpenEnvApi | AgentGymApi
        api = OpenEnvApi(stage) if protocol == "openenv" else AgentGymApi(stage, stage.env.name)
        address = closing.enter_context(listening(api, host, port))
        ready(address, stage)
        stage.run()


def _close_all(stage: Stage) -> None:
    for env in stage.environments():
        with closed_at_end(env):
            pass
