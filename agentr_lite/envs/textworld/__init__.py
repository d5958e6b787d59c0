"""TextWorld: text adventures that are generated when they are needed."""

from agentr_lite.envs.textworld.env import TextWorld

__all__ = ["TextWorld"]
