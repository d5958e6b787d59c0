"""Evaluation: episodes in lockstep, where they begin, and their figures with intervals."""
