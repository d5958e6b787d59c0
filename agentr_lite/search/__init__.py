"""Monte Carlo tree search over agent turns (Agent-R section 3.1).

``tree`` holds nodes, ``mcts`` the pure select / expand / backward steps, ``simulate`` one tree's
search as a coroutine that asks for completions, ``scheduler`` many trees in lockstep over one
actor, ``stage`` the whole stage with its commits.
"""
