"""The shared vocabulary: every package may import it, and it imports none of ours.

``messages``, ``steps``, ``tasks``, ``usage`` and ``verdicts`` hold the records that stages
exchange; ``errors``, ``seeds``, ``suggestions``, ``config`` and ``gbnf`` the rules that they share.
"""
