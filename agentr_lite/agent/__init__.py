"""From chat messages to environment steps and back: the one loop of the agent.

Search, recovery, replay and evaluation all take their steps here, so a revision turn and an answer
without an action mean the same in the training data as in the evaluation.
"""
