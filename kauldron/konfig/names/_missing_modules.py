"""Error hints for a missing module: a near name, or how to install it."""

from __future__ import annotations

from kauldron._base import errors
from kauldron.konfig.names import _declarations, _finder


def describe_missing(name: str) -> str:
    """Returns a sentence on why the module cannot be found, and what to do."""
    missing = _finder.find(name) or name
    parent, _, last = missing.rpartition(".")
    if not parent:
        near = errors.did_you_mean(missing, _finder.top_level_names())
        return f"there is no module {missing!r}.{near}{install_hint(missing)}"
    near = errors.did_you_mean(last, _finder.submodule_names(parent))
    return f"{parent!r} has no module {last!r}.{near}"


def install_hint(name: str) -> str:
    """Returns how to install what provides the module, if a known extra does."""
    requirement = _declarations.extra_of(name.partition(".")[0])
    if requirement is None:
        return ""
    return f" It comes with `pip install '{requirement}'`."
