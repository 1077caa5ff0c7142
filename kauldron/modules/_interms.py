"""Intermediate values by name: what a module gives to others, and to keys.

Flax keeps them in the collection `intermediates`. Where that is not recorded (in `init`,
in an `apply` without `mutable`), values that a module stored itself can still be read in
the same pass.
"""

from __future__ import annotations

import weakref
from typing import Any

import flax.linen as nn
from flax.core import scope as scope_lib

from kauldron import kontext
from kauldron._base import errors
from kauldron.ktyping import PyTree

_COLLECTION = "intermediates"

# Root of a pass -> path of a module -> name -> values, where Flax records nothing.
_kept: weakref.WeakKeyDictionary[
    scope_lib.Scope, dict[tuple[str, ...], dict[str, tuple[Any, ...]]]
] = weakref.WeakKeyDictionary()


class IntermediateError(errors.UserError, KeyError):
    """There is no such intermediate value, or not yet."""


def interms_property() -> Any:
    """Declares a property of a Flax module: intermediate values, to write and to read.

    Assign it to an attribute without annotation (an annotated one becomes a field).
    `self.interms["x"] = value` stores a value, which keys find as `interms.<module>.x[0]`;
    `self.interms["x"]` is the last one stored; `self.interms.get_by_path(...)` reads those
    of other modules.

    Raises (when the property is read):
      ValueError: Outside `init`/`apply`.
      IntermediateError: When a value is read that nobody has stored.

    Example:

    ```python
    class Encoder(nn.Module):
        interms = kd.nn.interms_property()

        @nn.compact
        def __call__(self, x):
            self.interms["hidden"] = nn.relu(nn.Dense(8)(x))
            return nn.Dense(2)(self.interms["hidden"])
    ```
    """
    return property(Intermediates)


class Intermediates:
    """Intermediate values, as one module sees them; see `interms_property`."""

    def __init__(self, module: nn.Module) -> None:
        if module.scope is None:
            raise ValueError(
                f"The intermediates of {type(module).__name__} exist only inside `init` "
                "and `apply`."
            )
        self._module = module
        self._scope: scope_lib.Scope = module.scope

    def __setitem__(self, name: str, value: PyTree) -> None:
        if not self._module.sow(_COLLECTION, name, value):
            of_pass = _kept.setdefault(self._scope.root, {})
            values = of_pass.setdefault(self._scope.path, {})
            values[name] = (*values.get(name, ()), value)

    def __getitem__(self, name: str) -> Any:
        values = _below(self._tree(), self._scope.path)
        if name not in values or not isinstance(values[name], tuple):
            near = errors.did_you_mean(name, values)
            raise IntermediateError(
                f"`interms[{name!r}]` of {type(self._module).__name__} is read before it "
                f"is stored.{near} Stored are {sorted(values)}."
            )
        return values[name][-1]

    def get_by_path(self, path: str) -> Any:
        """Returns a value of any module, by its path.

        Args:
          path: From the root, such as `'encoder.hidden[0]'`; `'.block.hidden[0]'` begins
            at this module, with each further dot one module up. Outputs
            (`'encoder.__call__[0]'`) are there in runs, and in an `apply` with
            `capture_intermediates=True, mutable=True`.

        Raises:
          IntermediateError: If there is no such value; with near paths.
        """
        rest = path.lstrip(".")
        num_dots = len(path) - len(rest)
        prefix: tuple[str, ...] = ()
        if num_dots:
            depth = len(self._scope.path) - (num_dots - 1)
            if depth < 0:
                raise IntermediateError(
                    f"{path!r} leads out of the model: {type(self._module).__name__} is "
                    f"{len(self._scope.path)} modules deep."
                )
            prefix = self._scope.path[:depth]
        values = _below(self._tree(), prefix)
        try:
            return kontext.get_by_path(values, rest)
        except (KeyError, IndexError, TypeError, AttributeError) as e:
            raise IntermediateError(
                f"There is no intermediate value {path!r} (yet). {_hint(values, rest)}"
            ) from e

    def _tree(self) -> dict[str, Any]:
        root = self._scope.root
        tree = _copy(root.variables().get(_COLLECTION, {}))
        for path, values in _kept.get(root, {}).items():
            _below(tree, path, create=True).update(values)
        return tree


def _hint(values: dict[str, Any], path: str) -> str:
    known = [str(p) for p in kontext.flatten_with_path(values)]
    near = errors.did_you_mean(path, known)
    if "__call__" in path and "__call__" not in near:
        return (
            "Outputs of modules are recorded with `capture_intermediates=True`; what a "
            "module stores itself, `self.interms['name'] = x`, can always be read."
        )
    return f"{near} Stored are {known[:8]}{' ...' if len(known) > 8 else ''}.".lstrip()


def _copy(tree: PyTree) -> dict[str, Any]:
    return {k: _copy(v) if hasattr(v, "items") else v for k, v in tree.items()}


def _below(tree: PyTree, path: tuple[str, ...], *, create: bool = False) -> Any:
    for name in path:
        tree = tree.setdefault(name, {}) if create else tree.get(name, {})
    return tree
