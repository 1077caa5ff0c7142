"""Qualified names of importable objects: `'package.module:Class.method'`."""

from __future__ import annotations

# The keys of a config node that hold a name: of what it calls, of what it is.
QUALNAME = "__qualname__"
CONST = "__const__"

# Module -> how it is shown; packages declare more.
aliases: dict[str, str] = {
    "flax.linen": "nn",
    "numpy": "np",
    "tensorflow_datasets": "tfds",
    "tensorflow": "tf",
}


def split(qualname: str) -> tuple[str, str]:
    """Returns module name and attribute path.

    Without a colon, the last component is the attribute; a single name is a module.
    """
    if ":" in qualname:
        module, _, attribute = qualname.partition(":")
        return module, attribute
    module, _, attribute = qualname.rpartition(".")
    return (module, attribute) if module else (attribute, "")


def shorten(qualname: str) -> str:
    """Returns the name as users write it: dots only, module aliases applied."""
    module, colon, attribute = qualname.partition(":")
    if not colon:
        for prefix in _prefixes(module):
            if prefix != module and prefix in aliases:
                return aliases[prefix] + module[len(prefix) :]
        return module
    for prefix in _prefixes(module):
        if prefix in aliases:
            module = aliases[prefix] + module[len(prefix) :]
            break
    return f"{module}.{attribute}" if attribute else module


def _prefixes(module: str) -> list[str]:
    """Returns `a.b.c`, `a.b`, `a`."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
