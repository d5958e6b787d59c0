"""The tree inspector: walk through runs, tasks, trees and splices in the terminal.

Layers, each knowing the ones before it only: ``marks`` and ``lines`` (text and style names, no
Textual), ``tree_rows`` (which rows of a tree are in sight), ``documents`` and ``side_by_side``
(records to lines), the widgets (``line_list`` and what is built on it), the screens, ``app``.
"""
