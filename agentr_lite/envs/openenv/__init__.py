"""OpenEnv: environments behind a server with sessions over WebSockets"""

from agentr_lite.envs.openenv.env import OpenEnv

__all__ = ["OpenEnv"]
