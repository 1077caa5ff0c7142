"""What a config is written with, in Python.

Owns the stand-ins for modules that `imports()` and `mock_modules()` bind, placeholders,
and the makers of references.
"""
