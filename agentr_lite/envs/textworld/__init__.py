"""TextWorld: text adventures that are made on the spot."""

from agentr_lite.envs.textworld.env import TextWorld

__all__ = ["TextWorld"]
