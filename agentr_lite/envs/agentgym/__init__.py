"""AgentGym: environments that run as HTTP servers of their own."""

from agentr_lite.envs.agentgym.env import AgentGym, AgentGymSnapshot

__all__ = ["AgentGym", "AgentGymSnapshot"]
