"""An immutable, hashable, ordered dict with attribute access; a pytree under JAX."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from kauldron._base import errors, public

_T = TypeVar("_T")
_KT = TypeVar("_KT")
_VT = TypeVar("_VT")


class ImmutableDict(dict[_KT, _VT]):
    """A `dict` that cannot be changed, whose string keys are also attributes.

    What `konfig.resolve` makes of every dict of a config. Insertion order is kept, also
    through `jax.tree.map`; hashing needs hashable values.

    This module does not import JAX. The class is registered as a pytree by whichever
    comes first: a room of ours that imports JAX, or the first instance made after JAX
    was imported.
    """

    __slots__ = ("__dict__",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not _registered and "jax" in sys.modules:
            register_pytree()

    def __getattr__(self, name: Any) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"No key {name!r}; the keys are {list(self)}."
                + errors.did_you_mean(name, (str(k) for k in self)),
                name=name,
                obj=self,
            ) from None

    def __dir__(self) -> list[str]:
        keys = (k for k in self if isinstance(k, str) and k.isidentifier())
        return sorted({*super().__dir__(), *keys})

    # `dict` declares it as `None`, which a method could not override.
    __hash__: ClassVar[Any] = lambda self: hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"

    def __reduce__(self) -> tuple[Any, ...]:
        # By a function of this file: the class names another module as its home. Where
        # that was not imported, cloudpickle would take the class apart.
        make = _restored if type(self) is ImmutableDict else type(self)
        return make, (dict(self),)

    def __copy__(self) -> ImmutableDict[_KT, _VT]:
        return self

    def __or__(self, other: Any) -> ImmutableDict[Any, Any]:
        return type(self)(dict(self) | dict(other))

    def copy(self) -> ImmutableDict[_KT, _VT]:
        return self

    def unfreeze(self) -> dict[_KT, _VT]:
        """Returns a plain `dict`; nested `ImmutableDict`s become plain too."""
        return unfreeze(self)

    def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "ImmutableDict cannot be changed. "
            "Make a changed copy: `ImmutableDict({**old, 'key': value})`."
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    __setattr__ = __delattr__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def _restored(values: dict[Any, Any]) -> ImmutableDict[Any, Any]:
    return ImmutableDict(values)


def unfreeze(obj: Any) -> Any:
    """Returns `obj` with every `ImmutableDict` (at any depth) as a plain `dict`."""
    if isinstance(obj, ImmutableDict):
        return {k: unfreeze(v) for k, v in obj.items()}
    if type(obj) in (list, tuple):
        return type(obj)(unfreeze(v) for v in obj)
    if type(obj) is dict:
        return {k: unfreeze(v) for k, v in obj.items()}
    return obj


def freeze(obj: Any) -> Any:
    """Returns `obj` with every dict as `ImmutableDict` and every list as tuple."""
    if isinstance(obj, dict):
        return ImmutableDict({k: freeze(v) for k, v in obj.items()})
    if type(obj) in (list, tuple):
        return tuple(freeze(v) for v in obj)
    return obj


def freeze_dict_attrs(obj: object, names: Iterable[str]) -> None:
    """Freezes the dicts held by the given attributes of a frozen dataclass, in place.

    Attributes that are `None` stay `None`.
    """
    for name in names:
        value = getattr(obj, name)
        if isinstance(value, dict) and not isinstance(value, ImmutableDict):
            object.__setattr__(obj, name, freeze(value))


_registered = False


def register_pytree() -> None:
    """Makes `ImmutableDict` a JAX pytree node (with `DictKey` paths). Idempotent.

    Called by modules that have imported JAX.
    """
    global _registered
    if _registered:
        return
    jax = sys.modules["jax"]

    def flatten_with_keys(d: ImmutableDict) -> tuple[Any, Any]:
        keys = _sorted(d)
        children = [(jax.tree_util.DictKey(k), d[k]) for k in keys]
        return children, tuple(d)

    def flatten(d: ImmutableDict) -> tuple[Any, Any]:
        return [d[k] for k in _sorted(d)], tuple(d)

    def unflatten(original_order: tuple[Any, ...], children: Any) -> ImmutableDict:
        by_key = dict(zip(_sorted(original_order), children, strict=True))
        return ImmutableDict({k: by_key[k] for k in original_order})

    jax.tree_util.register_pytree_with_keys(
        ImmutableDict, flatten_with_keys, unflatten, flatten
    )
    _registered = True


def _sorted(keys: Iterable[Any]) -> list[Any]:
    keys = list(keys)
    try:
        return sorted(keys)
    except TypeError:  # keys of mixed types have no order
        return sorted(keys, key=lambda k: (type(k).__name__, repr(k)))


for _public in (ImmutableDict, freeze_dict_attrs):
    public.move(_public, "kauldron.utils.immutabledict")
