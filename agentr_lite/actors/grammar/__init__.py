"""Answers that follow a GBNF grammar, for the back ends that see the logits: llama.cpp and MLX.

``lark`` converts a grammar for llguidance, ``matcher`` follows an answer token by token, ``draw``
draws another token where the first draw was refused. Servers follow grammars by themselves.
"""
