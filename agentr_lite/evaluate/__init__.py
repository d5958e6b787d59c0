"""Evaluation: which tasks are played, where each episode begins, and how episodes are played."""
