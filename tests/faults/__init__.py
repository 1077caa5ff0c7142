"""Runs that are killed at random instants, and what is left of them.

`pytest tests/faults` kills a few; `python -m tests.faults` kills hundreds and prints the
table of `docs/reliability.md`.
"""
