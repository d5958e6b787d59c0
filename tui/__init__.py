"""The inspector: walk through runs, tasks, trees and splices in the terminal.

Layers, each of which knows only those before it: ``layout`` (records to lines of styled text,
without Textual), ``widgets`` (draw the lines), ``state_reader`` (repeats trajectories in a
thread), ``navigation`` (destinations), ``screens`` (one a file), ``app`` (opens a screen for a
destination).
"""
