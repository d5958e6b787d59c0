"""The cells of a study and the processes that work on them: order, reuse of stages, status."""
