"""Kauldron: a JAX research codebase with a lazy config.

Use `from kauldron import kd`, or one room alone: `from kauldron import konfig`.
"""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str):
    # `import kauldron as kd` would give a module without any of the names of `kd`.
    raise AttributeError(
        f"module 'kauldron' has no attribute {name!r}. "
        "Write `from kauldron import kd` (not `import kauldron as kd`)."
    )
