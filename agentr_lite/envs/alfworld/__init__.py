"""ALFWorld: household tasks in text; the games are the user's"""

from agentr_lite.envs.alfworld.env import AlfWorld

__all__ = ["AlfWorld"]
