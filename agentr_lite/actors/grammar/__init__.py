"""Answers that follow a GBNF grammar, for every back end that sees the model's logits.

``lark`` converts a grammar for llguidance, ``matcher`` follows an answer token by token, ``draw``
draws another token where the first draw was refused. Servers follow grammars by themselves.
"""
