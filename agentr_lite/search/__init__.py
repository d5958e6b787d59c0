"""Monte Carlo tree search: many trees in lockstep over one actor."""
