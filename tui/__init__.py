"""The tree inspector: walk through runs, tasks, trees and splices in the terminal.

Layers, each knowing the ones before it only: ``marks`` and ``lines`` (text and style names, no
Textual), ``tree_order`` and ``tree_rows`` (which rows of a tree are in sight), ``documents``,
``side_by_side`` and ``plots`` (records to lines), ``states`` (taking trajectories again), the
widgets (``line_list`` and what is built on it), the screens, ``app``.
"""
