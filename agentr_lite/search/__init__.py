"""Monte Carlo tree search over agent turns (Agent-R section 3.1).

``tree`` holds the data, ``mcts`` the algorithm: select, expand, simulate, backward. ``context``
holds what all trees of a round share, and ``scheduler`` runs many trees in lockstep over one actor.
"""
