"""ScienceWorld: science experiments in text, with the package's own simulator, which needs Java."""

from agentr_lite.envs.sciworld.env import SciWorld, SciWorldSnapshot

__all__ = ["SciWorld", "SciWorldSnapshot"]
