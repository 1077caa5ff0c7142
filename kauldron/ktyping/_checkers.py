"""Compiling an annotation into a function that checks values.

A checker takes a value, the candidates (see `_match`) and the scope, and returns the
candidates that remain, extended: none means that the value does not fit.

Array types, and containers of them, are checked here. Everything else is a plain hint,
which knows nothing of dims, and is left to beartype.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import operator
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from kauldron.ktyping import _jaxtyping, _match, _structural_type, array_type_meta

Candidates = list[_match.Candidate]
Checker = Callable[[Any, Candidates, Any], Candidates]

_NoneType = type(None)
_UNIONS = (typing.Union, types.UnionType)
_WRAPPERS = (typing.ClassVar, typing.Final, typing.Required, typing.NotRequired)


def checker(hint: object, *, is_shallow: bool = False) -> Checker:
    """Returns the checker of an annotation.

    Args:
      hint: The annotation, evaluated.
      is_shallow: Whether to look at the first element of containers only.
    """
    try:
        return _cached_checker(hint, is_shallow)
    except TypeError:  # an annotation that cannot be hashed
        return _make_checker(hint, is_shallow)


def accept(value: object, candidates: Candidates, scope: object) -> Candidates:
    """The checker of `Any`."""
    return candidates


@functools.lru_cache(maxsize=8192)
def _cached_checker(hint: object, is_shallow: bool) -> Checker:
    return _make_checker(hint, is_shallow)


def _make_checker(hint: object, is_shallow: bool) -> Checker:
    if hint is None:
        hint = _NoneType
    if hint is Any or hint is inspect.Parameter.empty or isinstance(hint, str):
        return accept
    if isinstance(
        hint, array_type_meta.ArrayTypeMeta | _structural_type.StructuralType
    ):
        return hint.match
    if isinstance(hint, dataclasses.InitVar):
        return checker(hint.type, is_shallow=is_shallow)
    if isinstance(hint, typing.TypeVar):
        return checker(_bound(hint), is_shallow=is_shallow)
    if isinstance(hint, typing.NewType):
        return checker(hint.__supertype__, is_shallow=is_shallow)
    if _jaxtyping.is_annotation(hint):
        return _jaxtyping_checker(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated or origin in _WRAPPERS:
        return checker(args[0], is_shallow=is_shallow)
    if origin in _UNIONS:
        return _union_checker([checker(arg, is_shallow=is_shallow) for arg in args])
    if isinstance(hint, type) and origin is None:
        return _class_checker(hint)
    if origin is not None and may_hold_dims(hint):
        return _container_checker(origin, args, is_shallow)
    return _plain_checker(hint)


def _bound(variable: typing.TypeVar) -> Any:
    if variable.__constraints__:
        return functools.reduce(operator.or_, variable.__constraints__)
    return variable.__bound__ or Any


def holds_dims(hint: object) -> bool:
    """Returns whether a hint has parts that beartype cannot check."""
    if isinstance(
        hint, array_type_meta.ArrayTypeMeta | _structural_type.StructuralType
    ):
        return True
    if _jaxtyping.is_annotation(hint) or is_checked_class(hint):
        return True
    return any(map(holds_dims, typing.get_args(hint)))


def may_hold_dims(hint: object) -> bool:
    """Returns whether a hint holds dims, or dataclasses that may be looked into."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return True
    return holds_dims(hint) or any(map(may_hold_dims, typing.get_args(hint)))


def is_dataclass_object(value: object) -> bool:
    """Returns whether a value is an object, not a class, of a dataclass."""
    return hasattr(type(value), "__dataclass_fields__")


def is_checked_class(hint: object) -> bool:
    """Returns whether a class has fields that are checked in a scope of their own."""
    if not isinstance(hint, type):
        return False
    return typing.is_typeddict(hint) or "__ktyping_fields__" in vars(hint)


def _jaxtyping_checker(hint: object) -> Checker:
    converted = _jaxtyping.convert(hint)
    check = _plain_checker(hint) if converted is None else converted.match

    def check_by_policy(
        value: object, candidates: Candidates, scope: object
    ) -> Candidates:
        if not _jaxtyping.apply_policy(hint, scope):
            return candidates
        return check(value, candidates, scope)

    return check_by_policy


def _union_checker(members: list[Checker]) -> Checker:
    def check(value: object, candidates: Candidates, scope: object) -> Candidates:
        found: Candidates = []
        for member in members:
            remaining = member(value, candidates, scope)
            if remaining is candidates:
                return candidates  # fits and binds nothing: the others say no more
            found += remaining
        return _match.unique(found)

    return check


# As in PEP 484: an int will do where a float is asked for.
_TOWER = {float: (float, int), complex: (complex, float, int)}


def _class_checker(cls: type) -> Checker:
    if typing.is_typeddict(cls):
        return _typed_dict_checker(cls)
    if getattr(cls, "_is_protocol", False):
        return _plain_checker(cls)
    allowed = _TOWER.get(cls, cls)

    def check(value: Any, candidates: Candidates, scope: Any) -> Candidates:
        if not isinstance(value, allowed):
            return []
        if "__ktyping_fields__" in type(value).__dict__:
            return candidates if type(value).__ktyping_fields__(value) else []
        look_into = None if scope is None else scope.look_into
        if look_into is not None and is_dataclass_object(value):
            return candidates if look_into.fit(value) else []
        return candidates

    return check


def _typed_dict_checker(cls: Any) -> Checker:
    @functools.cache
    def fields() -> dict[str, Checker]:
        hints = typing.get_type_hints(cls, include_extras=True)
        return {name: checker(hint) for name, hint in hints.items()}

    def check(value: object, candidates: Candidates, scope: object) -> Candidates:
        if not isinstance(value, dict) or not cls.__required_keys__ <= value.keys():
            return []
        if not value.keys() <= fields().keys():
            return []
        isolated: Candidates = [{}]
        for name, item in value.items():
            isolated = fields()[name](item, isolated, scope)
            if not isolated:
                return []
        return candidates

    return check


def _container_checker(
    origin: object, args: Sequence[Any], is_shallow: bool
) -> Checker:
    checkers = [checker(a, is_shallow=is_shallow) for a in args if a is not ...]
    if origin is tuple and args[-1:] != (...,):
        return functools.partial(_check_fixed_tuple, checkers)
    if isinstance(origin, type):
        if issubclass(origin, collections.abc.Mapping):
            return functools.partial(_check_mapping, origin, checkers, is_shallow)
        if issubclass(origin, collections.abc.Collection):
            return functools.partial(_check_items, origin, checkers[0], is_shallow)
        if origin is collections.abc.Callable:
            return lambda value, candidates, scope: candidates * callable(value)
        if origin is type:
            return lambda value, candidates, scope: candidates * isinstance(value, type)
        if origin in (collections.abc.Iterable, collections.abc.Iterator):
            return functools.partial(_check_iterable, origin, checkers[0], is_shallow)
        return _class_checker(origin)
    return accept


def _check_fixed_tuple(
    checkers: list[Checker], value: object, candidates: Candidates, scope: object
) -> Candidates:
    if not isinstance(value, tuple) or len(value) != len(checkers):
        return []
    for item_checker, item in zip(checkers, value, strict=True):
        candidates = item_checker(item, candidates, scope)
    return candidates


def _check_items(
    origin: Any,
    item_checker: Checker,
    is_shallow: bool,
    value: Any,
    candidates: Candidates,
    scope: object,
) -> Candidates:
    if not isinstance(value, origin):
        return []
    for item in value:
        candidates = item_checker(item, candidates, scope)
        if not candidates or is_shallow:
            break
    return candidates


def _check_iterable(
    origin: Any,
    item_checker: Checker,
    is_shallow: bool,
    value: Any,
    candidates: Candidates,
    scope: object,
) -> Candidates:
    if not isinstance(value, origin):
        return []
    if not isinstance(value, collections.abc.Collection):
        return candidates  # looking at the items would consume them
    return _check_items(origin, item_checker, is_shallow, value, candidates, scope)


def _check_mapping(
    origin: Any,
    checkers: list[Checker],
    is_shallow: bool,
    value: Any,
    candidates: Candidates,
    scope: object,
) -> Candidates:
    if not isinstance(value, origin):
        return []
    check_key, check_value = checkers
    for key, item in value.items():
        candidates = check_key(key, candidates, scope)
        candidates = candidates and check_value(item, candidates, scope)
        if not candidates or is_shallow:
            break
    return candidates


def _plain_checker(hint: object) -> Checker:
    is_bearable: Callable[[Any], bool] | None = None

    def check(value: object, candidates: Candidates, scope: object) -> Candidates:
        nonlocal is_bearable
        if is_bearable is None:
            is_bearable = _compile(hint, value)
        return candidates if is_bearable(value) else []

    return check


def _compile(hint: Any, value: Any) -> Callable[[Any], bool]:
    """Returns beartype's test, or a weaker one for hints it does not know."""
    import beartype
    from beartype import door, roar

    conf = beartype.BeartypeConf(is_pep484_tower=True)
    with warnings.catch_warnings():
        # `typing.List` works as well as ever; that it is old is not our business.
        warnings.simplefilter("ignore")
        try:
            door.is_bearable(value, hint, conf=conf)
        except (roar.BeartypeException, NameError):
            origin = typing.get_origin(hint)
            if isinstance(origin, type):
                return lambda value: isinstance(value, origin)
            return lambda value: True
    return functools.partial(_is_bearable, door.is_bearable, hint, conf)


def _is_bearable(is_bearable: Any, hint: Any, conf: Any, value: Any) -> bool:
    return is_bearable(value, hint, conf=conf)
