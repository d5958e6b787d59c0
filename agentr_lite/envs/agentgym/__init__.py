"""AgentGym: environments that run as HTTP servers."""

from agentr_lite.envs.agentgym.env import AgentGym, AgentGymSnapshot

__all__ = ["AgentGym", "AgentGymSnapshot"]
