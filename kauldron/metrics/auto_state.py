"""`AutoState`: a metric state whose fields declare how they merge.

```python
@flax.struct.dataclass
class State(kd.metrics.AutoState):
    count: Any = kd.metrics.sum_field()
    peak: Any = auto_state.max_field()
    scores: Any = kd.metrics.concat_field()
```
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import flax.struct
import jax

from kauldron import kontext
from kauldron.ktyping import PyTree
from kauldron.metrics import base_state, exact_sums

_MetricT = TypeVar("_MetricT")
_KIND = "kauldron_merge"


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Empty:
    """Value of every field of `empty()`: merging with it changes nothing."""

    def __repr__(self) -> str:
        return "EMPTY"


EMPTY: Any = _Empty()


Kind: TypeAlias = "_Elementwise | _Concat | _Truncate | _Nested | _Static"
"""How a field merges."""


def sum_field(**kwargs: Any) -> Any:
    """A tree of arrays that is added up elementwise."""
    return _field(_Elementwise("sum", exact_sums.add), kwargs)


def min_field(**kwargs: Any) -> Any:
    """A tree of arrays of which the elementwise minimum is kept."""
    return _field(_Elementwise("take the minimum of", exact_sums.minimum), kwargs)


def max_field(**kwargs: Any) -> Any:
    """A tree of arrays of which the elementwise maximum is kept."""
    return _field(_Elementwise("take the maximum of", exact_sums.maximum), kwargs)


def concat_field(*, axis: int = 0, **kwargs: Any) -> Any:
    """A tree of arrays that is laid end to end along an axis, in host memory."""
    return _field(_Concat(axis), kwargs)


def truncate_field(*, num_field: str, axis: int = 0, **kwargs: Any) -> Any:
    """A tree of arrays of which the first entries along an axis are kept.

    Args:
      num_field: Path on the state to the number of entries, such as
        `'parent.num_images'`; where it is `None`, all are kept.
      axis: Axis of the entries.
      **kwargs: As in `dataclasses.field`: `default`, ...
    """
    return _field(_Truncate(axis, num_field), kwargs)


def state_field(**kwargs: Any) -> Any:
    """A state inside the state, merged as it says itself."""
    return _field(_Nested(), kwargs)


def static_field(default: object = dataclasses.MISSING, **kwargs: Any) -> Any:
    """Something that is not an array and must be equal in all merged states."""
    if default is not dataclasses.MISSING:
        kwargs["default"] = default
    return _field(_Static(), kwargs, pytree_node=False)


def _field(kind: Kind, kwargs: dict[str, Any], pytree_node: bool = True) -> Any:
    metadata = {**kwargs.pop("metadata", {}), _KIND: kind}
    return flax.struct.field(pytree_node=pytree_node, metadata=metadata, **kwargs)


@flax.struct.dataclass
class AutoState(base_state.State[_MetricT]):
    """Base of states that are described field by field.

    A field is one of `sum_field()`, `min_field()`, `max_field()`, `concat_field()`,
    `truncate_field()`, `state_field()`; any other field is static. A field that is `None`
    merges with `None` only.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, hint in inspect.get_annotations(cls).items():
            if hint is ClassVar or "ClassVar" in str(hint):
                continue
            setattr(cls, name, _as_field(cls, name, vars(cls).get(name)))

    @classmethod
    def empty(cls) -> Self:
        nothing: dict[str, Any] = dict.fromkeys(_kinds(cls), EMPTY)
        return cls(**nothing)

    def merge(self, other: Self) -> Self:
        if self._is_empty or other._is_empty:
            return other if self._is_empty else self
        # The parent that is known; `num_field` may point into it.
        owner = other if self.parent is base_state.EMPTY else self
        merged = {}
        for name, kind in _kinds(type(self)).items():
            a, b = getattr(self, name), getattr(other, name)
            try:
                merged[name] = _merge_field(kind, a, b, owner)
            except ValueError as e:
                e.add_note(f"In the field {name!r} of {type(self).__qualname__}.")
                raise
        return dataclasses.replace(self, **merged)

    def adds_up(self) -> bool:
        kinds = _kinds(type(self)).values()
        return all(kind.verb == "sum" or isinstance(kind, _Static) for kind in kinds)

    def finalize(self) -> Self:
        final = {}
        for name, kind in _kinds(type(self)).items():
            value = getattr(self, name)
            if value is not EMPTY and value is not None:
                value = kind.finalize(value, self)
            final[name] = value
        return dataclasses.replace(self, **final)

    def compute(self) -> Any:
        """Returns a namespace of the final fields; `None` for those never filled.

        States inside are computed.
        """
        state = self.finalize()
        values = {}
        for name, kind in _kinds(type(self)).items():
            value = getattr(state, name)
            if isinstance(kind, _Static):
                continue
            if isinstance(kind, _Nested) and isinstance(value, base_state.State):
                value = value.compute()
            values[name] = None if value is EMPTY else value
        return types.SimpleNamespace(**values)

    @property
    def _is_empty(self) -> bool:
        values = [
            getattr(self, name)
            for name, kind in _kinds(type(self)).items()
            if not isinstance(kind, _Static)
        ]
        return bool(values) and all(value is EMPTY for value in values)


def data_kinds(state: base_state.State) -> dict[str, Any]:
    """Returns how each field that holds data merges: `.verb` is `'sum'`, ..."""
    kinds = _kinds(type(state)).items()
    return {name: kind for name, kind in kinds if not isinstance(kind, _Static)}


def _as_field(cls: type, name: str, value: object) -> Any:
    """Returns the field that a class attribute stands for; plain ones are static."""
    if not isinstance(value, dataclasses.Field):
        has_default = name in vars(cls)
        return static_field(value) if has_default else static_field()
    if _KIND in value.metadata:
        return value
    if value.metadata.get("pytree_node"):
        raise TypeError(
            f"The field {name!r} of {cls.__qualname__} does not say how it merges: use "
            "`kd.metrics.sum_field()`, `concat_field()`, ... or `static_field()`."
        )
    metadata = {**value.metadata, _KIND: _Static(), "pytree_node": False}
    value.metadata = types.MappingProxyType(metadata)
    return value


def _kinds(cls: type) -> dict[str, Any]:
    return {
        f.name: f.metadata[_KIND]
        for f in dataclasses.fields(cls)
        if _KIND in f.metadata
    }


def _merge_field(kind: Kind, a: PyTree, b: PyTree, owner: AutoState) -> Any:
    if a is EMPTY or b is EMPTY:
        return b if a is EMPTY else a
    if (a is None) != (b is None):
        raise ValueError(f"Cannot {kind.verb} None and {b if a is None else a!r}.")
    return None if a is None else kind.merge(a, b, owner)


@dataclasses.dataclass(frozen=True)
class _Elementwise:
    verb: str
    func: Callable[[Any, Any], Any]

    def merge(self, a: PyTree, b: PyTree, owner: AutoState) -> Any:
        del owner
        return self.func(a, b)

    def finalize(self, value: PyTree, owner: AutoState) -> Any:
        del owner
        return exact_sums.to_host(value)


@dataclasses.dataclass(frozen=True)
class _Concat:
    axis: int
    verb: ClassVar[str] = "concatenate"

    def merge(self, a: PyTree, b: PyTree, owner: AutoState) -> _Chunks:
        del owner
        return _Chunks.of(_to_chunks(a), _to_chunks(b), axis=self.axis)

    def finalize(self, value: PyTree, owner: AutoState) -> Any:
        del owner
        chunks = [exact_sums.to_host(chunk) for chunk in _to_chunks(value)]
        return exact_sums.concatenate(chunks, axis=self.axis)


@jax.tree_util.register_pytree_node_class
class _Chunks:
    """What `merge` has collected, in order, not yet laid end to end."""

    def __init__(self, chunks: tuple[Any, ...]) -> None:
        self.chunks = chunks

    @classmethod
    def of(cls, a: tuple[Any, ...], b: tuple[Any, ...], *, axis: int) -> _Chunks:
        chunks = list(a)
        for chunk in b:
            chunks.append(exact_sums.to_host(chunk))
            # Chunks at least as long as the one before are joined with it: so there
            # are only ever log(n), and each entry is copied log(n) times.
            while len(chunks) > 1 and not exact_sums.is_traced(chunks[-2:]):
                sizes = [exact_sums.size(c, axis=axis) for c in chunks[-2:]]
                if sizes[0] > sizes[1]:
                    break
                last = [exact_sums.to_host(chunks.pop(-2)), chunks.pop()]
                chunks.append(exact_sums.concatenate(last, axis=axis))
        return cls(tuple(chunks))

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.chunks, None

    @classmethod
    def tree_unflatten(cls, aux: None, chunks: tuple[Any, ...]) -> _Chunks:
        return cls(tuple(chunks))


def _to_chunks(value: PyTree) -> tuple[Any, ...]:
    return value.chunks if isinstance(value, _Chunks) else (value,)


@dataclasses.dataclass(frozen=True)
class _Truncate:
    axis: int
    num_field: str
    verb: ClassVar[str] = "truncate"

    def merge(self, a: PyTree, b: PyTree, owner: AutoState) -> Any:
        missing = self._num(owner)
        if missing is not None:
            missing -= exact_sums.size(a, axis=self.axis)
            if missing <= 0:  # decided by shapes alone: nothing is fetched
                return a
        b = exact_sums.take_first(b, missing, axis=self.axis)
        both = [exact_sums.to_host(a), exact_sums.to_host(b)]
        return exact_sums.concatenate(both, axis=self.axis)

    def finalize(self, value: PyTree, owner: AutoState) -> Any:
        first = exact_sums.take_first(value, self._num(owner), axis=self.axis)
        return exact_sums.to_host(first)

    def _num(self, owner: AutoState) -> int | None:
        if owner.parent is base_state.EMPTY and self.num_field.startswith("parent"):
            raise ValueError(
                f"`num_field={self.num_field!r}` needs the metric of the state, but the "
                "state has no parent. Make it in the metric's `get_state`, or pass "
                "`parent=`."
            )
        return kontext.get_by_path(owner, self.num_field)


@dataclasses.dataclass(frozen=True)
class _Nested:
    verb: ClassVar[str] = "merge"

    def merge(self, a: PyTree, b: PyTree, owner: AutoState) -> Any:
        del owner
        return a.merge(b)

    def finalize(self, value: PyTree, owner: AutoState) -> Any:
        del owner
        return value.finalize()


@dataclasses.dataclass(frozen=True)
class _Static:
    verb: ClassVar[str] = "merge"

    def merge(self, a: PyTree, b: PyTree, owner: AutoState) -> Any:
        del owner
        if a != b:
            raise ValueError(f"Static fields must be equal: got {a!r} and {b!r}.")
        return a

    def finalize(self, value: PyTree, owner: AutoState) -> Any:
        del owner
        return value
