"""Warns of unexpected recompilation of a step, and says what caused it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import jax

from kauldron import kontext
from kauldron._base import console


class RecompilationWatch:
    """Compares the arguments of a jitted step between its compilations.

    Args:
      trainstep: The `TrainStep`. One that overrides `step` is not watched.
    """

    def __init__(self, trainstep: Any) -> None:
        self._jitted = getattr(trainstep, "_jitted_step", None)
        self._num_compiled = 0
        self._specs: dict[Hashable, dict[str, str]] = {}

    def is_new(self, kind: Hashable) -> bool:
        """Whether a kind of step has not been called yet."""
        return kind not in self._specs

    def called(self, kind: Hashable, **arguments: Any) -> None:
        """Records a call; prints a line if it recompiled unnecessarily.

        Args:
          kind: Each kind is compiled once.
          **arguments: What was passed; arrays may have been donated.
        """
        num_compiled = 0 if self._jitted is None else self._jitted._cache_size()
        if num_compiled == self._num_compiled and kind in self._specs:
            return
        self._num_compiled = num_compiled
        specs = _specs(arguments)
        before = self._specs.get(kind, specs)
        self._specs[kind] = specs
        changes = [
            f"{name}: {before.get(name, 'absent')} -> {specs.get(name, 'absent')}"
            for name in {**before, **specs}
            if before.get(name) != specs.get(name)
        ]
        if changes:
            more = f", and {len(changes) - 4} more" if len(changes) > 4 else ""
            console.warn(f"the step was compiled again: {', '.join(changes[:4])}{more}")


def _specs(arguments: Any) -> dict[str, str]:
    return {
        name: kontext.format_spec(x) + ("" if not _is_weak(x) else " (weak type)")
        for name, x in kontext.flatten_with_path(arguments).items()
    }


def _is_weak(x: Any) -> bool:
    return isinstance(x, jax.Array) and x.weak_type
