"""Counts what llama-cpp-python's class evaluates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def counted_evaluations(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """From now on, count the class's tokens; the result gives their number."""
    from llama_cpp import Llama

    evaluated = 0
    evaluate = Llama.eval

    def counting(self: Any, tokens: Any) -> None:
        nonlocal evaluated
        evaluated += len(tokens)
        evaluate(self, tokens)

    monkeypatch.setattr(Llama, "eval", counting)
    return lambda: evaluated
