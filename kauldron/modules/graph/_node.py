"""`Node`: a module of a graph, and what it is called with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import flax.linen as nn

from kauldron import kontext
from kauldron._base import arguments, errors, frozen_dict

# Keys: one, or lists and dicts of them.
Inputs: TypeAlias = Any


class GraphError(errors.UserError, ValueError):
    """A graph of modules that cannot be run as it is written."""


@dataclasses.dataclass(frozen=True)
class Node(arguments.NamesArguments):
    """A module of a `Graph`, and where its inputs come from.

    A key names a value of the context (`batch.image`), the output of a node (`encoder`),
    or a part of one (`encoder.features[0]`).

    Attributes:
      module: A Flax module, a function, or the name of a module in `Graph.shared`.
      inputs: A key is the only argument; a list of keys, the positional arguments; a
        dict, the named ones. Lists and dicts inside of these become lists and dicts of
        values: `[["up", "skip"]]` is one argument, a list of two.
      when: `'train'`: left out of predictions and evaluations; `'eval'`: left out of
        training. Its parameters exist always.
      frozen: Whether gradients stop at the parameters of this use of the module; they go
        on to its inputs. Batch statistics and dropout follow the train property as ever.
        Weight decay asks for no gradient: see `Graph.trainable`.
    """

    module: nn.Module | Callable[..., Any] | str
    inputs: Inputs = kontext.REQUIRED
    when: Literal["always", "train", "eval"] = "always"
    frozen: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", frozen_tree(self.inputs))

    @property
    def shared(self) -> str | None:
        """Name of the module in `Graph.shared`."""
        return self.module if isinstance(self.module, str) else None

    @property
    def kind(self) -> str:
        """What is called, in a word: `Dense`, `relu`."""
        module: Any = self.module
        if isinstance(module, str):
            return module
        return name_of(module)


def name_of(module: Any) -> str:
    """Returns the name of a module's class, or of a function."""
    if isinstance(module, nn.Module):
        return type(module).__name__
    while hasattr(module, "func"):  # of `functools.partial`
        module = module.func
    return getattr(module, "__name__", type(module).__name__)


def frozen_tree(tree: Any) -> Any:
    """Returns the tree with tuples and immutable dicts."""
    if isinstance(tree, Mapping):
        return frozen_dict.ImmutableDict({k: frozen_tree(v) for k, v in tree.items()})
    if isinstance(tree, list | tuple):
        return tuple(map(frozen_tree, tree))
    return tree
