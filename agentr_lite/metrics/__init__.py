"""Measures of episodes, and the statistics that say how far a figure holds."""
