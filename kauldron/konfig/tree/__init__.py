"""`ConfigDict`, and everything that can be inside one.

Owns nodes, references, values and default values; how a tree of them is walked, compared
and printed, and its JSON. Knows what a node calls, and what that accepts.
"""
