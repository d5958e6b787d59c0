"""Random faults over random small runs, for as long as you like: ``python -m tests.soak --help``.

A trial is a fault drawn from a seed. It fails where the program shows a traceback, ends with an
undocumented exit code, hangs, leaves a process behind, or stores something other than it would
have without the fault. ``kind`` says what a kind of fault is, ``driver`` goes through them.
"""
