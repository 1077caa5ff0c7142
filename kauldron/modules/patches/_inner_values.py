"""What the modules inside of a model return, while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn

from kauldron._base import errors
from kauldron.modules.patches import tilings


@contextlib.contextmanager
def watch(inner: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields what modules inside return, by path, filled as they do.

    Raises:
      PatchError: If there is no such module, or it is not called.
    """
    seen: dict[str, Any] = {}
    called: set[str] = set()

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        output = next_fun(*args, **kwargs)
        path = ".".join(context.module.path[len(inner.path) :])
        if context.method_name == "__call__":
            called.add(path)
            if path in paths:
                seen[path] = output
        return output

    if not paths:
        yield seen
        return
    with nn.intercept_methods(intercept):
        yield seen
    for path in paths:
        if path not in seen:
            raise tilings.PatchError(
                f"`PatchWise.assemble` names {path!r}, which is not called in "
                f"{type(inner).__name__}.{errors.did_you_mean(path, called)}"
            )


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tree of dicts by paths with dots."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree
