"""Benchmarks of speed and memory; docs/performance.md has the figures.

A module with a command gives it in its docstring. The other modules are parts of these.
"""

import sys

from agentr_lite.console.interrupts import requests_held
from agentr_lite.console.large_pages import begin_with_large_pages

# As the program does: otherwise a benchmark would measure other memory than users have.
if any(word.startswith("benchmarks.") for word in sys.orig_argv[1:]):
    begin_with_large_pages()
    # The process that ended so may have let them wait; benchmarks have Python's own handlers.
    requests_held(held=False)
