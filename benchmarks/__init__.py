"""Benchmarks of speed and memory; docs/performance.md has the figures.

A module with a command gives it in its docstring. The other modules are parts of these.
"""
