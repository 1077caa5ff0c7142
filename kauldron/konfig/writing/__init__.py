"""Writing configs in Python: lazy imports, placeholders, references.

Owns the stand-ins for modules that `imports()` and `mock_modules()` bind, placeholders,
and the makers of references.
"""
