"""Evaluation: episodes in lockstep, what is counted in them, figures with intervals."""

from agentr_lite.evaluate.episodes import Episode, Start, run_episodes
from agentr_lite.evaluate.stage import eval_by_turns, eval_stage
from agentr_lite.evaluate.summary import compare, summarise

__all__ = [
    "Episode",
    "Start",
    "compare",
    "eval_by_turns",
    "eval_stage",
    "run_episodes",
    "summarise",
]
