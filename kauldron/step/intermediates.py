"""Which intermediates a step captures: those that some key reads.

Flax can record the output of every method of every module. Recording all costs tracing
time, and memory where the compiler cannot see that a value is unused (inside scans).
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kauldron import kontext, metrics
from kauldron.ktyping import PyTree

# What `flax.linen.Module.apply` takes as `capture_intermediates`.
Capture = bool | Callable[[Any, str], bool]

# Whether a key may point below `interms`, to parse only those that do.
_MAY_BE_READ = re.compile(r"[\s.]*(interms|\*|\[)").match

_capture_all: contextvars.ContextVar[Capture] = contextvars.ContextVar(
    "kauldron_capture_all", default=False
)


@contextlib.contextmanager
def capture_all() -> Iterator[list[tuple[str, ...]]]:
    """Makes steps inside the block record everything, whether or not keys read it.

    Private methods are left out, unless a key reads them: they return what a module
    needs itself, such as a layer that it makes, which a scan cannot carry.

    Yields:
      The list of what is recorded, filled as modules return: their path, then the
      method.
    """
    order: list[tuple[str, ...]] = []

    def record(module: Any, method_name: str) -> bool:
        if method_name == "setup":  # returns nothing
            return False
        if method_name.startswith("_") and method_name != "__call__":
            return False
        order.append((*module.path, method_name))
        return True

    token = _capture_all.set(record)
    try:
        yield order
    finally:
        _capture_all.reset(token)


def captured_by(*trees: Any, keys: Any = ()) -> Capture:
    """Returns what must be recorded for the keys of trees of metrics.

    Args:
      *trees: Nested dicts, lists and tuples of metrics (losses and summaries are).
      keys: Further keys, a tree.
    """
    everything = _capture_all.get()
    if everything is True:
        return True
    read = kontext.list_keys(keys) if keys else []
    for metric in list(iter_metrics(trees)):
        keys_of_metric = metric.context_keys()
        if keys_of_metric is None:
            return True
        read += keys_of_metric
    paths: list[tuple[Any, ...]] = []
    for key in read:
        if not _MAY_BE_READ(key):
            continue
        # Everything a glob may match lies below its part before the first wildcard.
        path = kontext.GlobPath.from_str(key)
        parts = path.first_non_glob_parent.parts
        if not parts and path.parts:
            return True
        if parts and parts[0] == "interms":
            paths.append(tuple(parts[1:]))
    if not paths:
        return everything

    def is_read(module: Any, method_name: str) -> bool:
        recorded = (*module.path, method_name)
        found = everything and everything(module, method_name)  # tells the order
        return found or any(_overlap(recorded, path) for path in paths)

    return is_read


def iter_metrics(tree: PyTree) -> Iterator[metrics.Metric]:
    """Yields the metrics of nested dicts, lists and tuples."""
    if isinstance(tree, metrics.Metric):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from iter_metrics(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from iter_metrics(value)


def _overlap(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether one is the beginning of the other: a key may name a whole module."""
    return all(x == y for x, y in zip(a, b, strict=False))
