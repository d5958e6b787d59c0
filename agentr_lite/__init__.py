"""agentr-lite: a small local model teaches itself to notice its own mistakes and recover."""

__version__ = "0.1.0"
