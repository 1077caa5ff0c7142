"""Copies of modules that are fields of others."""

from __future__ import annotations

import flax.linen as nn


def copy_of(module: nn.Module, owner: nn.Module, name: str | None) -> nn.Module:
    """Returns a copy with parameters of its own, `name` within `owner`.

    Flax makes a module that is a field a child of its owner, with the name of the field:
    asked for under that name, it is the child itself.
    """
    if name is not None and module.parent is owner and module.name == name:
        return module
    return module.copy(parent=owner, name=name)
