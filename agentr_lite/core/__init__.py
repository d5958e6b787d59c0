"""The project's small vocabulary: everything may import it, and it imports nothing of ours.

``messages``, ``steps``, ``tasks``, ``usage`` and ``verdicts`` hold the records that stages
exchange; ``errors``, ``seeds``, ``suggestions``, ``config`` and ``gbnf`` hold rules for all.
"""
