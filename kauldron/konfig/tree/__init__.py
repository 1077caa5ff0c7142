"""`ConfigDict` and what is in one: nodes, references, values, defaults; how a tree of them
is walked, compared, printed, and kept as JSON.
"""
