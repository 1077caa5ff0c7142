"""Root references: fields whose default is taken from the root object.

A component such as a data pipeline says `seed: int = ROOT_CFG_REF.seed`. When it becomes
part of a root object (the `Trainer`), `update_from_root_cfg(root)` returns a copy in
which every field that the user left alone holds the root's value.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self, dataclass_transform

from kauldron._base import arguments, errors, frozen_dict, public


class RootCfgRef:
    """A path into the root object, built by attribute access on `ROOT_CFG_REF`."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self._names = names

    def __getattr__(self, name: str) -> RootCfgRef:
        if name.startswith("__"):  # protocols such as `__len__` are not root fields
            raise AttributeError(name)
        return RootCfgRef((*self._names, name))

    def __repr__(self) -> str:
        return ".".join(("ROOT_CFG_REF", *self._names))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RootCfgRef) and self._names == other._names

    def __hash__(self) -> int:
        return hash(self._names)

    def _resolve(self, root: object) -> Any:
        value = root
        for name in self._names:
            value = getattr(value, name)
        return value


ROOT_CFG_REF: Any = RootCfgRef()


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,)
)
class BaseConfig(arguments.NamesArguments):
    """Base that makes every subclass a frozen, keyword-only dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(
        cls, frozen: bool = True, kw_only: bool = True, **kwargs: Any
    ):
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=frozen, kw_only=kw_only)(cls)

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)


class _Declared:
    """Keeps a `dataclasses.field(...)` of a class for a second `@dataclass` on it.

    The first one leaves only its default in the class, so that the second would forget
    the rest.
    """

    def __init__(self, field: dataclasses.Field[Any]) -> None:
        self._field = field

    def __get__(self, instance: object, owner: object) -> Any:
        if instance is None:
            return self._field
        if self._field.default is dataclasses.MISSING:
            raise AttributeError(self._field.name)
        return self._field.default


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,)
)
class FrozenSubclasses(arguments.NamesArguments):
    """Base whose subclasses are frozen, keyword-only dataclasses without saying so.

    They are compared by identity. A subclass may still be decorated with
    `@dataclasses.dataclass(frozen=True, kw_only=True, ...)`.

    Example:

    ```python
    class Sampler(kd.evals.EvaluatorBase):
        num_samples: int = 8

        def evaluate(self, state, step): ...

    Sampler(run=kd.evals.Final(), num_samples=4)
    ```
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = {
            name: copy.copy(value)
            for name, value in vars(cls).items()
            if isinstance(value, dataclasses.Field)
        }
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
        # `@dataclass(frozen=True)` refuses a class that has them already.
        del cls.__setattr__, cls.__delattr__
        for name, field in declared.items():
            setattr(cls, name, _Declared(field))

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


# Defines no `__eq__`: subclasses that are compared by identity would inherit it, and
# all be equal.
@dataclasses.dataclass(frozen=True, eq=False)
class UpdateFromRootCfg(arguments.NamesArguments):
    """Base of components that take the fields the user left alone from the root.

    A value that the user set is never overwritten. A field that was inherited follows
    the root again when the component is bound to another root: also after
    `component.replace(...)` or `dataclasses.replace(component, ...)` of other fields.
    `dataclasses.replace` cannot tell "set to the very value that was inherited" from
    "left alone"; `component.replace` can.

    Example:

    ```python
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Shuffler(UpdateFromRootCfg):
        seed: int = ROOT_CFG_REF.seed

    Shuffler().update_from_root_cfg(trainer).seed  # trainer.seed
    ```
    """

    # Names of fields that hold a pytree of components to bind as well.
    __root_cfg_fields_to_recurse__: ClassVar[tuple[str, ...]] = ()

    # Field name -> (reference, value it had when inherited). It is a field so that
    # `dataclasses.replace` carries it over.
    _inherited_from_root: Mapping[str, tuple[RootCfgRef, Any]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False, kw_only=True
    )

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with the given fields set by the user."""
        kept = {k: v for k, v in self._inherited_from_root.items() if k not in changes}
        return dataclasses.replace(self, **{"_inherited_from_root": kept, **changes})

    def replace_inherited(self, **changes: Any) -> Self:
        """Returns a copy with other values in fields that may have been inherited.

        Like `replace`, but an inherited field keeps following the root: for a value
        derived from the root's.
        """
        inherited = {
            name: (ref, changes.get(name, value))
            for name, (ref, value) in self._inherited_from_root.items()
        }
        return dataclasses.replace(self, _inherited_from_root=inherited, **changes)

    def update_from_root_cfg(self, root_cfg: Any) -> Self:
        """Returns a copy whose untouched fields hold the values of the root.

        Args:
          root_cfg: The object the references point into, usually a `Trainer`.

        Raises:
          AttributeError: If the root has no such field.
        """
        changes: dict[str, Any] = {}
        inherited: dict[str, tuple[RootCfgRef, Any]] = {}
        for field in dataclasses.fields(self):
            if field.name == "_inherited_from_root" or not field.init:
                continue
            value = getattr(self, field.name)
            ref = self._reference_behind(field.name, value)
            if ref is not None:
                new_value = ref._resolve(root_cfg)
                if isinstance(new_value, RootCfgRef):  # the root itself is not bound
                    continue
                inherited[field.name] = (ref, new_value)
            elif isinstance(value, UpdateFromRootCfg):
                new_value = value.update_from_root_cfg(root_cfg)
            elif field.name in self.__root_cfg_fields_to_recurse__:
                new_value = bind_tree(value, root_cfg)
            else:
                continue
            if new_value is not value:
                changes[field.name] = new_value
        if not changes and inherited.keys() == self._inherited_from_root.keys():
            return self
        return dataclasses.replace(self, _inherited_from_root=inherited, **changes)

    def _reference_behind(self, name: str, value: object) -> RootCfgRef | None:
        if isinstance(value, RootCfgRef):
            return value
        if name in self._inherited_from_root:
            ref, inherited_value = self._inherited_from_root[name]
            if value is inherited_value:
                return ref
        return None

    def _assert_root_cfg_resolved(self) -> None:
        """Raises `ValueError` naming a field that still waits for a root object."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, RootCfgRef):
                raise UnboundFieldError(
                    f"`{type(self).__name__}.{field.name}` is not set. It is taken from "
                    f"the trainer ({value!r}) when the object is part of one; used "
                    f"alone, pass it: {type(self).__name__}({field.name}=...)."
                )


class UnboundFieldError(errors.UserError, ValueError):
    """A component was used alone although a field waits for a root object."""


def bind_tree(tree: Any, root: Any) -> Any:
    """Binds every `UpdateFromRootCfg` inside nested dicts, lists and tuples."""
    if isinstance(tree, UpdateFromRootCfg):
        return tree.update_from_root_cfg(root)
    if isinstance(tree, dict):
        bound = {k: bind_tree(v, root) for k, v in tree.items()}
        if all(bound[k] is tree[k] for k in tree):
            return tree
        frozen = isinstance(tree, frozen_dict.ImmutableDict)
        return frozen_dict.ImmutableDict(bound) if frozen else bound
    if type(tree) in (list, tuple):
        bound_items = [bind_tree(v, root) for v in tree]
        if all(a is b for a, b in zip(bound_items, tree, strict=True)):
            return tree
        return type(tree)(bound_items)
    return tree


for _public in (BaseConfig, UpdateFromRootCfg, UnboundFieldError):
    public.move(_public, "kauldron.utils.config_util")
