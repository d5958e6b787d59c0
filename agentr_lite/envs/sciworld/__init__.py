"""ScienceWorld: science experiments in text, on the package's own simulator, which runs on Java."""

from agentr_lite.envs.sciworld.env import SciWorld, SciWorldSnapshot

__all__ = ["SciWorld", "SciWorldSnapshot"]
