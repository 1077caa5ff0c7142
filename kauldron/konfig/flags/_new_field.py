"""Overrides of fields that do not exist yet: added where the callable accepts them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors
from kauldron.konfig.building import _call_arguments
from kauldron.konfig.flags import _override
from kauldron.konfig.names import _qualname, _short_names
from kauldron.konfig.text import _literals
from kauldron.konfig.tree import _call_targets, _config_dict, _nodes, _values


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class NewField:
    """A field that a node does not have.

    Attributes:
      node: The node.
      key: Name of the field.
      where: The node, as the user writes it.
      override: What is to be set.
    """

    node: Any
    key: Any
    where: str
    override: _override.Override

    def check(self, tell: Callable[[str], None]) -> None:
        """Raises if the field cannot be meant.

        Args:
          tell: Gets a line if it is added where any name is possible.
        """
        node, key = self.node, self.key
        if _qualname.CONST in node:
            raise self.missing()
        if _qualname.QUALNAME not in node:
            self._check_entry_is_a_call()
            self._check_free_name(node, tell)
            return
        signature = _call_targets.signature_of(node)
        if signature is None or key in signature.named:
            return
        if not signature.takes_any_named:
            raise self.missing()
        self._check_free_name({*signature.named, *node}, tell)

    def _check_free_name(
        self, names: Iterable[Any], tell: Callable[[str], None]
    ) -> None:
        """Raises if a new name, where any is possible, looks like a slip of the pen."""
        key = self.key
        is_typo = isinstance(key, str) and errors.is_probable_typo(key, map(str, names))
        is_quoted = self.override.path.rstrip().endswith((f"[{key!r}]", f'["{key}"]'))
        if is_typo and not is_quoted:
            raise _errors.ConfigKeyError(
                f"`{self.where}` has no field {key!r}."
                f"{errors.did_you_mean(key, map(str, names))} "
                f"To add {key!r} nevertheless, quote it: "
                f"`--{self.where}[{key!r}]=...`."
            )
        if self.override.is_text:
            tell(f"{self.override.label} adds a new field.")

    def _check_entry_is_a_call(self) -> None:
        """Raises for `train_losses.new=3`: every other entry there is a call."""
        value = self.override.value
        others = [_nodes.peek(other) for other in self.node._fields.values()]
        if not others or not all(map(_values.is_call_or_const, others)):
            return
        if self.override.is_text:
            value = _literals.parse(value)
        if value is not None and not isinstance(value, dict | _config_dict.ConfigDict):
            names = [str(name) for name in self.node]
            raise _errors.ConfigTypeError(
                f"the entries of `{self.where}` are calls, got "
                f"{_errors.short(value)} ({type(value).__name__}). Give "
                "`py::module.Class(argument=1)`, or the name of an entry: "
                f"{_errors.list_names(names)}."
                f"{errors.did_you_mean(str(self.key), names)}"
            )

    def missing(self) -> _errors.ConfigError:
        """Returns the error for a field that cannot be added, or gone into."""
        node, key, where = self.node, self.key, self.where
        keys = [str(k) for k in node if k not in (_qualname.QUALNAME, _qualname.CONST)]
        if _qualname.QUALNAME in node:
            signature = _call_targets.signature_of(node)
            name = _qualname.shorten(str(node[_qualname.QUALNAME]))
            if signature is not None and key in signature.named:
                return _errors.ConfigKeyError(
                    f"`{where}.{key}` is not set, so that nothing in it can be changed. "
                    f"Set it as a whole: `--{where}.{key}=py::...`."
                )
            if signature is not None and not signature.takes_any_named:
                unknown = _call_arguments.unknown_argument(signature, name, key)
                return _errors.ConfigTypeError(
                    f"{unknown}{_call_targets.written_at(node)}"
                )
        return _errors.ConfigKeyError(
            f"`{where}` has no field {str(key)!r}."
            f"{_short_names.did_you_mean(str(key), keys)} Its fields: "
            f"{_errors.list_names(keys) or '(none)'}."
        )
