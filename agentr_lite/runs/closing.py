"""Closing an environment, whose code may fail in that as well."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from agentr_lite.agent.boundary import environment_boundary
from agentr_lite.console.streams import warn
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.envs.base import Environment


@contextmanager
def closed_at_end(env: Environment) -> Generator[Environment]:
    """Close an environment at the end of the block.

    A fault in that is a warning, because the work is done.
    """
    try:
        yield env
    finally:
        try:
            with environment_boundary(env, "close()"):
                env.close()
        except EnvironmentFault as fault:
            warn(fault.message, hint=fault.hint)
