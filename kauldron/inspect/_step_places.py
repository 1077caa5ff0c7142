"""Which module of a model, or part of a step, an operation belongs to, by its scopes.

Flax opens a scope for each module, and JAX wraps those of gradients: the operations of
`encoder.head` are below `jvp(Model)/encoder/head` and `transpose(jvp(Model))/encoder/head`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from kauldron.inspect import _model_trace

# Scopes that a step opens itself.
_PARTS = ("losses", "optimizer", "metrics", "summaries")
_WRAPPED = re.compile(
    r"(?:jvp|transpose|vmap|remat|checkpoint|rematted_computation)\((.*)\)$"
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a step an operation is.

    Attributes:
      module: Path of the module; `()` is the model itself.
      part: `"model"`, `"losses"`, `"optimizer"`, `"metrics"`, `"summaries"`, or `"rest"`.
      is_backward: Whether it is part of a gradient.
    """

    module: tuple[str, ...]
    part: str
    is_backward: bool

    def name(self, depth: int | None = None) -> str:
        """Returns the path of the module, up to a depth; of others, the part."""
        if self.part != "model":
            return f"({self.part})"
        return ".".join(self.module[:depth]) or "(model)"


class Places:
    """Reads scopes, knowing the modules of a model."""

    def __init__(self, root: str, paths: set[tuple[str, ...]]) -> None:
        self._root = root
        self._paths = {p[:i] for p in paths for i in range(1, len(p) + 1)}

    @classmethod
    def of(cls, trainer: Any) -> Places:
        """Returns those of a run; its model is followed on shapes."""
        trace = _model_trace.trace_of(trainer)
        paths = {call.path for call in trace.calls}
        return cls(type(trainer.model).__name__, paths)

    def read(self, scope: str) -> Place:
        """Returns the place of what is inside of scopes, with slashes between them."""
        names = [_unwrapped(part) for part in _split(scope)]
        is_backward = "transpose(" in scope
        # A part may be inside of the model's scope: a loss of an inner value.
        for part in _PARTS:
            if part in names:
                return Place((), part, is_backward)
        if self._root not in names:
            return Place((), "rest", is_backward)
        module: tuple[str, ...] = ()
        for name in names[names.index(self._root) + 1 :]:
            # A method other than `__call__` is `module.method`.
            longer = (*module, name.split(".")[0])
            if longer in self._paths:
                module = longer
        return Place(module, "model", is_backward)


def _split(scope: str) -> list[str]:
    """Splits at the slashes that are not in parentheses."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(scope):
        depth += (character == "(") - (character == ")")
        if character == "/" and depth == 0:
            parts.append(scope[start:i])
            start = i + 1
    return [*parts, scope[start:]]


def _unwrapped(part: str) -> str:
    while match := _WRAPPED.match(part):
        part = match[1]
    return part.split("/")[-1]
