"""Plots as SVG, each with the table of its figures."""
