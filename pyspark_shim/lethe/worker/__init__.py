"""A slot's worker for Python functions: an interpreter of its own that its executor starts, ends and
replaces.

It speaks the worker protocol as the native trainer does: `main` starts it, `exchange` is its connection,
`trial` runs one attempt, and `reporter`, `checkpoint` and `data` are what a function sees of its trial.
"""
