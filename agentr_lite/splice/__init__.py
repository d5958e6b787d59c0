"""From search trees to revision trajectories: pairs, critic, splice, verification, export."""
