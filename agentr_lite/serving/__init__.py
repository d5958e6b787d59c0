"""Environments behind a server, for the clients of OpenEnv and AgentGym"""
